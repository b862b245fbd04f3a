"""Sealed identity: pseudonyms by keyed HMAC, and AES-GCM for journal bytes, identities and the input archive.

Keys are made once, at the first `up`, in `<state>/keys` (folder 0700, files 0600). Whoever holds the identity key can open identities:
only the EHR writer and the page do, by role.
"""

import contextlib
import hashlib
import hmac
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from anesthesia.errors import SoporError

KEY_BYTES = 32
NONCE_BYTES = 12
PSEUDONYM_CHARACTERS = 24  # 96 bit: no collision among all patients of a country


class BadKey(SoporError):
    """A key file that is missing, of the wrong size, or readable by others; or a seal that this key does not open."""


def make_key(path: Path) -> None:
    """Make a key file (0600) unless it is there; its folder is made 0700. Nobody ever sees half a key, whoever else makes it too."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        return
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:  # made 0600
        file.write(new_key())
        file.flush()
        os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)


def read_key(path: Path) -> bytes:
    """Return the key's bytes; BadKey says what is wrong with the file and what to do."""
    try:
        mode = path.stat().st_mode
        key = path.read_bytes()
    except OSError as fault:
        raise BadKey(f"key {path.name}: {fault.strerror}; `sopor up` makes it in the state folder") from fault
    if mode & 0o077:
        raise BadKey(f"key {path.name}: others may read it; chmod 600")
    if len(key) != KEY_BYTES:
        raise BadKey(f"key {path.name}: {len(key)} bytes instead of {KEY_BYTES}; restore it from your backup")
    return key


@dataclass(frozen=True, slots=True)
class Seal:
    """Authenticated encryption under one key. `purpose` is bound to the text: a journal row never opens as an identity."""

    key: bytes

    def close(self, clear: bytes, purpose: str) -> bytes:
        """Return nonce + ciphertext + tag."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self.key).encrypt(nonce, clear, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Return the clear bytes; BadKey when the key or the purpose is another, or a bit was changed."""
        nonce, text = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return AESGCM(self.key).decrypt(nonce, text, purpose.encode())
        except InvalidTag as fault:
            raise BadKey(f"{purpose}: the seal does not open with this key") from fault


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Patient identifiers to pseudonyms: the same for the same (site, authority, identifier), never back."""

    key: bytes

    def of(self, site: str, authority: str, identifier: str) -> str:
        """Return the pseudonym as hex; fields are length-prefixed so that no two of them can be confused."""
        fields = b"".join(len(part := field.encode()).to_bytes(4, "big") + part for field in (site, authority, identifier))
        return hmac.new(self.key, fields, hashlib.sha256).hexdigest()[:PSEUDONYM_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Vault:
    """The keys of the processes that meet patients."""

    pseudonyms: Pseudonyms
    journal: Seal
    identity: Seal


OPENED = ("pseudonym", "journal", "identity")
ARCHIVE = "archive"  # wraps the data key of each case in the input archive; the ledger's and the replay's
KEY_NAMES = (*OPENED, ARCHIVE)


def make_keys(folder: Path) -> None:
    """Make the keys that are not there yet."""
    for name in KEY_NAMES:
        make_key(folder / f"{name}.key")


def open_vault(folder: Path) -> Vault:
    """Return the vault of a key folder."""
    pseudonym, journal, identity = (read_key(folder / f"{name}.key") for name in OPENED)
    return Vault(Pseudonyms(pseudonym), Seal(journal), Seal(identity))


def archive_seal(folder: Path) -> Seal:
    """Return the seal of the input archive's data keys."""
    return Seal(read_key(folder / f"{ARCHIVE}.key"))


def new_key() -> bytes:
    """Return the bytes of a new key, for data that has one of its own."""
    return os.urandom(KEY_BYTES)
