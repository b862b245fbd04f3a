"""The file of one case in the input archive: its stream entries, in order, in sealed chunks.

A file is chunk after chunk: four bytes of length, then the seal (nonce, AES-GCM ciphertext, tag) of the packed entries under the case's
own key. Case and chunk number are bound to each seal, and a digest in the database chains the chunks: one that is changed, missing,
doubled, or of another place or case, is found without the key too.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, Final
from uuid import UUID

from anesthesia.errors import SoporError
from backbone.audit import StoredArchive
from backbone.redis.streams import FROM_START, Entry, moment_of
from backbone.vault import BadKey, Seal, new_key

LENGTH: Final = struct.Struct(">I")
# Entry id (milliseconds, count), journal sequence, place in it, length of the cursor's name, length of the payload.
HEAD: Final = struct.Struct(">QQqHBI")
FAST: Final = 1  # zlib's level: the highest one saves another hundredth
UNNUMBERED: Final = -1


class BadArchive(SoporError):
    """A case's archive is missing, cut, or changed; says which case and how."""


class Erased(BadArchive):
    """The case's key was erased: nobody can read its archive any more."""


@dataclass(frozen=True, slots=True)
class ArchivedEntry:
    """One entry of `{pNN}:frames`: its id, where in the journal it comes from (cursor, sequence, place), and its bytes."""

    entry_id: str
    cursor: str
    sequence: int
    place: int
    payload: bytes


def archived(entry: Entry) -> ArchivedEntry:
    """Return what the archive keeps of a stream entry."""
    fields = entry.fields
    sequence, place = int(fields.get(b"s", UNNUMBERED)), int(fields.get(b"i", 0))
    return ArchivedEntry(entry.entry_id, fields.get(b"l", b"").decode(), sequence, place, fields.get(b"f", b""))


def packed(entries: Iterable[ArchivedEntry]) -> bytes:
    """Return the clear bytes of a chunk."""
    parts: list[bytes] = []
    for one in entries:
        cursor = one.cursor.encode()
        parts += (HEAD.pack(*moment_of(one.entry_id), one.sequence, one.place, len(cursor), len(one.payload)), cursor, one.payload)
    return zlib.compress(b"".join(parts), FAST)


def unpacked(clear: bytes) -> Iterator[ArchivedEntry]:
    """Yield the entries of a chunk's clear bytes."""
    data, at = zlib.decompress(clear), 0
    while at < len(data):
        milliseconds, count, sequence, place, named, length = HEAD.unpack_from(data, at)
        cursor_at = at + HEAD.size
        payload_at = cursor_at + named
        at = payload_at + length
        yield ArchivedEntry(f"{milliseconds}-{count}", data[cursor_at:payload_at].decode(), sequence, place, data[payload_at:at])


def purpose(case_id: UUID, number: int) -> str:
    """Return what the seal of a chunk is bound to."""
    return f"archive|{case_id}|{number}"


def begun(case_id: UUID) -> bytes:
    """Return the digest of a file without chunks."""
    return hashlib.sha256(b"sopor-archive-v1" + case_id.bytes).digest()


def chained(digest: bytes, chunk: bytes) -> bytes:
    """Return the digest after one more chunk, with its length."""
    return hashlib.sha256(digest + chunk).digest()


def wrapped(archive: Seal, case_id: UUID, key: bytes) -> bytes:
    """Return a case's key, sealed by the vault."""
    return archive.close(key, f"archive-key|{case_id}")


def new_wrapped(archive: Seal, case_id: UUID) -> bytes:
    """Return a new key of a case, sealed by the vault."""
    return wrapped(archive, case_id, new_key())


def seal_of(archive: Seal, stored: StoredArchive) -> Seal:
    """Return the seal of a case's chunks; Erased when its key is gone, BadKey when the vault's is another."""
    if stored.wrapped_key is None:
        raise Erased(f"archive of case {stored.case_id}: its key was erased")
    return Seal(archive.open(stored.wrapped_key, f"archive-key|{stored.case_id}"))


def grown(stored: StoredArchive, entries: Sequence[ArchivedEntry], seal: Seal) -> tuple[StoredArchive, bytes]:
    """Return what the archive is after one more chunk, and the chunk's bytes; `entries` is not empty."""
    sealed = seal.close(packed(entries), purpose(stored.case_id, stored.chunks))
    chunk = LENGTH.pack(len(sealed)) + sealed
    after = replace(
        stored,
        chunks=stored.chunks + 1,
        size=stored.size + len(chunk),
        entries=stored.entries + len(entries),
        digest=chained(stored.digest, chunk),
        first_entry=stored.first_entry or next((one.entry_id for one in entries if one.entry_id != FROM_START), ""),
        last_entry=entries[-1].entry_id,
    )
    return after, chunk


def chunks_of(file: BinaryIO, stored: StoredArchive) -> Iterator[bytes]:
    """Yield the chunks, each with its length; BadArchive, before or at the end, when they are not those of the database.

    What lies behind them was never committed.
    """
    digest, size = begun(stored.case_id), 0
    for number in range(stored.chunks):
        head = file.read(LENGTH.size)
        length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0
        # A changed length must not make us read the whole disk.
        chunk = head + file.read(min(length, stored.size - size))
        size += len(chunk)
        if len(chunk) != LENGTH.size + length or size > stored.size:
            raise BadArchive(f"archive of case {stored.case_id}: cut at chunk {number} of {stored.chunks}")
        digest = chained(digest, chunk)
        yield chunk
    if (size, digest) != (stored.size, stored.digest):
        raise BadArchive(f"archive of case {stored.case_id}: not the bytes that the ledger wrote")


def entries_of(file: BinaryIO, stored: StoredArchive, seal: Seal) -> Iterator[ArchivedEntry]:
    """Yield the entries of a case's file, in order; BadArchive when it is not as the ledger wrote it."""
    for number, chunk in enumerate(chunks_of(file, stored)):
        try:
            yield from unpacked(seal.open(chunk[LENGTH.size :], purpose(stored.case_id, number)))
        except (BadKey, zlib.error, struct.error, UnicodeDecodeError) as fault:
            raise BadArchive(f"archive of case {stored.case_id}: chunk {number} is not the one sealed for this place") from fault
