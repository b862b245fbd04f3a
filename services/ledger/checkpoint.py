"""The key of the audit log: signs checkpoints, and tells whether a checkpoint is signed by it."""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from anesthesia.checkpoint import BadCheckpoint, Checkpoint, Note, VerifierKey, note_of, note_text, verifier_key_of
from backbone.vault import make_key, read_key

PRIVATE: Final = "audit.key"
PUBLIC: Final = "audit.pub"
# The newest checkpoint, outside the database: a database from an older backup does not hold it.
KEPT: Final = "audit.checkpoint"


class Signer:
    """Signs tree heads with the cell's Ed25519 key; the origin is named after the key, so that no two logs share one."""

    def __init__(self, seed: bytes) -> None:
        """Take the 32 secret bytes."""
        self._secret = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._secret.public_key().public_bytes_raw()
        self.key = VerifierKey(f"sopor/audit/{hashlib.sha256(public).hexdigest()[:8]}", public)

    def sign(self, size: int, root: bytes) -> str:
        """Return the signed note of a tree head."""
        checkpoint = Checkpoint(self.key.name, size, root)
        return note_text(checkpoint, self.key, self._secret.sign(checkpoint.text().encode()))


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


class Keep:
    """What of the audit log lies in the key folder: the key, its public half, and the newest checkpoint."""

    def __init__(self, folder: Path) -> None:
        """Read the key, made at the first start; BadKey when it is not as it must be."""
        make_key(folder / PRIVATE)
        self.signer = Signer(read_key(folder / PRIVATE))
        self._folder = folder
        text = self.signer.key.text() + "\n"
        if not (folder / PUBLIC).exists():
            _replace(folder / PUBLIC, text)

    def newest(self) -> Note | None:
        """Return the checkpoint that was kept last, None when there is none; BadCheckpoint when it is not this key's."""
        try:
            text = (self._folder / KEPT).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return checked(text, self.signer.key)

    def keep(self, note: str) -> None:
        """Keep a checkpoint instead of the one before; a folder that cannot be written keeps none."""
        with contextlib.suppress(OSError):  # the key folder may be mounted read-only; the database holds the checkpoint too
            _replace(self._folder / KEPT, note)


def checked(text: str, key: VerifierKey) -> Note:
    """Return a note that this key signed, under its own origin; else BadCheckpoint."""
    note = note_of(text)
    if note.checkpoint.origin != key.name:
        raise BadCheckpoint(f"checkpoint: of another log, {note.checkpoint.origin}")
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(note.by(key), note.checkpoint.text().encode())
    except InvalidSignature as fault:
        raise BadCheckpoint("checkpoint: the signature does not hold") from fault
    return note


def public_key(path: Path) -> VerifierKey:
    """Return the key of a file such as `audit.pub`; BadCheckpoint when it cannot be read."""
    try:
        return verifier_key_of(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as fault:
        raise BadCheckpoint(f"{path}: no public key of an audit log can be read; give --key FILE") from fault
