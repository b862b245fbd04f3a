"""The text of a checkpoint: the head of the audit log as C2SP's `tlog-checkpoint` and `signed-note` spell it. Pure.

A checkpoint says origin, size and root, one a line; a note is that text, an empty line and signatures. Signing needs a library and lives
elsewhere; what is signed is `Checkpoint.text()`.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from anesthesia.errors import BadValue, SoporError
from anesthesia.merkle import HASH_BYTES

ED25519: Final = b"\x01"  # the algorithm byte of signed-note
KEY_BYTES: Final = 32
ID_BYTES: Final = 4
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE: Final = re.compile(r"— (?P<name>[^\s+]+) (?P<data>[A-Za-z0-9+/=]+)")
_VERIFIER: Final = re.compile(r"(?P<name>[^\s+]+)\+(?P<id>[0-9a-f]{8})\+(?P<data>[A-Za-z0-9+/=]+)")


class BadCheckpoint(SoporError):
    """A text that is no checkpoint, or whose signature does not hold."""


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as fault:
        raise BadCheckpoint("checkpoint: not base64") from fault


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: which log, how many leaves, which root."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        """Refuse what has no text."""
        if not self.origin or "\n" in self.origin or self.size < 0 or len(self.root) != HASH_BYTES:
            raise BadValue("checkpoint: needs an origin of one line, a size and a root of 32 bytes")

    def text(self) -> str:
        """Return what is signed: three lines, the last one ended too."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a log's key, under the name it signs with."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """Return the four bytes that stand before each signature."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:ID_BYTES]

    def text(self) -> str:
        """Return `name+id+base64`, as people keep it."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(ED25519 + self.public).decode()}"


def verifier_key_of(text: str) -> VerifierKey:
    """Return the key of `name+id+base64`; BadCheckpoint when it is none, or its parts do not fit each other."""
    match = _VERIFIER.fullmatch(text.strip())
    data = _decoded(match["data"]) if match else b""
    if match is None or len(data) != 1 + KEY_BYTES or data[:1] != ED25519:
        raise BadCheckpoint("public key: not the form name+id+base64 of an Ed25519 key")
    key = VerifierKey(match["name"], data[1:])
    if key.key_id.hex() != match["id"]:
        raise BadCheckpoint("public key: its id is another key's")
    return key


@dataclass(frozen=True, slots=True)
class Note:
    """A checkpoint with its signatures: (name, key id, signature)."""

    checkpoint: Checkpoint
    signatures: tuple[tuple[str, bytes, bytes], ...]

    def by(self, key: VerifierKey) -> bytes:
        """Return the signature made under this name and id; BadCheckpoint when there is none."""
        for name, key_id, signature in self.signatures:
            if (name, key_id) == (key.name, key.key_id):
                return signature
        raise BadCheckpoint("checkpoint: not signed by this key")


def note_text(checkpoint: Checkpoint, key: VerifierKey, signature: bytes) -> str:
    """Return the note with one signature."""
    return f"{checkpoint.text()}\n— {key.name} {base64.b64encode(key.key_id + signature).decode()}\n"


def note_of(text: str) -> Note:
    """Return the note of a text; BadCheckpoint says what is wrong. Lines after the root are refused: nobody here writes them."""
    body, separator, signed = text.partition("\n\n")
    lines = body.split("\n")
    if not separator or len(lines) != 3 or not _SIZE.fullmatch(lines[1]) or not signed.endswith("\n"):  # noqa: PLR2004  the three lines
        raise BadCheckpoint("checkpoint: needs origin, size, root, an empty line and a signature")
    try:
        checkpoint = Checkpoint(lines[0], int(lines[1]), _decoded(lines[2]))
    except BadValue as fault:
        raise BadCheckpoint(str(fault)) from fault
    if checkpoint.text() != body + "\n":
        raise BadCheckpoint("checkpoint: not in its one spelling")
    return Note(checkpoint, tuple(_signature_of(line) for line in signed[:-1].split("\n")))


def _signature_of(line: str) -> tuple[str, bytes, bytes]:
    match = _SIGNATURE.fullmatch(line)
    if match is None:
        raise BadCheckpoint("checkpoint: a signature line of another form")
    data = _decoded(match["data"])
    return match["name"], data[:ID_BYTES], data[ID_BYTES:]
