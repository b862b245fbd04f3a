"""MLLP framing (HL7 v2 Transport Specification: MLLP, release 1): bytes in, blocks and faults out. Pure.

A block is `VT content FS CR`. Any cut of the same bytes gives the same blocks and faults. FS in the content is content, unless CR, LF
or VT follows it: some senders end with FS LF or with FS alone. A message that comes without VT is a fault, and the fault holds it:
whether such a sender is understood is a choice of the site file.
"""

import re
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final

from services.hl7_listener.deviation import Deviation

VT: Final = b"\x0b"
FS: Final = b"\x1c"
CR: Final = b"\r"
LINE_ENDS: Final = (b"\r", b"\n")
LIMIT_BYTES: Final = 4 * 1024 * 1024
HEAD_BYTES: Final = 64 * 1024  # enough of a block that is too long for an answer with its MSA-2

_HEADER: Final = rb"MSH[^A-Za-z0-9\x0b\x1c\r\n]"
_LONGEST_HEADER: Final = 4
_PADDING: Final = b"\r\n\0 \t"
_ENDS: Final = {b"\x1c": Deviation.END_WITHOUT_CR, b"\x1c\n": Deviation.END_BY_LF}


class _At(Enum):
    """Where in the stream of bytes the decoder is."""

    OUTSIDE = auto()
    FRAMED = auto()  # after VT
    BARE = auto()  # after a header without VT


# FS with CR or LF ends a block; FS before VT ends one whose sender leaves out the CR; a second VT begins the next one.
_FRAME_END: Final = rb"\x0b|\x1c(?:[\r\n]|(?=\x0b))"
_MARKS: Final = {
    _At.OUTSIDE: re.compile(rb"\x0b|" + _HEADER),
    _At.FRAMED: re.compile(_FRAME_END),
    _At.BARE: re.compile(_FRAME_END + rb"|(?<=[\r\n])" + _HEADER),
}
# So many bytes at the end may be the beginning of a mark, and are looked at again.
_UNDECIDED: Final = {_At.OUTSIDE: _LONGEST_HEADER - 1, _At.FRAMED: 1, _At.BARE: _LONGEST_HEADER}


class FaultCode(StrEnum):
    """What was wrong with the framing."""

    ABANDONED = "frame_abandoned"  # a new VT came before the end
    TOO_LONG = "frame_too_long"
    CUT_SHORT = "frame_cut_short"  # the connection ended, or the time for one frame ran out
    UNFRAMED = "frame_missing"  # a message without VT
    JUNK = "frame_junk"  # bytes outside of any block
    PADDING = "frame_padding"  # line ends, blanks or NULs outside of any block


FAULT_TEXTS: Final = {
    FaultCode.ABANDONED: "a new message began before the end of this one",
    FaultCode.TOO_LONG: "the message is longer than the limit",
    FaultCode.CUT_SHORT: "the message has no end",
    FaultCode.UNFRAMED: "a message without the VT that begins a block; the site file may tolerate no_mllp",
    FaultCode.JUNK: "bytes outside of any message",
    FaultCode.PADDING: "line ends, blanks or NULs outside of any message",
}


@dataclass(frozen=True, slots=True)
class Block:
    """The content of one block, and how its frame departs from the standard."""

    content: bytes
    deviations: frozenset[Deviation] = frozenset()


@dataclass(frozen=True, slots=True)
class Fault:
    """Bytes that are no block: their head (all that came of a message within the limit, nothing of junk), and how many there were."""

    code: FaultCode
    head: bytes
    size: int

    @property
    def answered(self) -> bool:
        """Tell whether its sender waits for an answer. One that gave up, or hung up, would take a late one for the next message's."""
        return self.code is FaultCode.TOO_LONG


class Decoder:
    """One connection's bytes as blocks and faults."""

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        """Take blocks of at most `limit` bytes of content."""
        self._limit, self._head_bytes = limit, min(HEAD_BYTES, limit)
        self._buffer = bytearray()
        self._begin(_At.OUTSIDE)

    @property
    def pending(self) -> bool:
        """Tell whether a message has begun and not ended."""
        return self._at is not _At.OUTSIDE

    @property
    def ending(self) -> Block | Fault | None:
        """What a message is that is whole if nothing follows: it ends with FS alone, or has no frame. None when more must come."""
        at_rest = self._buffer.endswith(FS if self._at is _At.FRAMED else LINE_ENDS)
        if not self.pending or self._passed or not at_rest:
            return None
        return self._closed(bytes(self._buffer), b"")

    def feed(self, received: bytes) -> list[Block | Fault]:
        """Return the blocks and faults that these bytes complete, in order."""
        self._buffer += received
        found: list[Block | Fault] = []
        while mark := _MARKS[self._at].search(self._buffer, self._scan):
            self._take(mark, found)
        self._shed()
        return found

    def end(self) -> list[Block | Fault]:
        """Return what the unfinished rest is, and begin anew: a block that ends with FS alone is whole."""
        found: list[Block | Fault] = []
        self._close(bytes(self._buffer), b"", found)
        self._buffer.clear()
        self._begin(_At.OUTSIDE)
        return found

    def _begin(self, at: _At) -> None:
        self._at, self._scan = at, 0
        self._passed = 0  # bytes of this message, or of this junk, that left the buffer
        self._head = b""  # of a message that is over the limit
        self._doubled = self._soiled = False

    def _take(self, mark: re.Match[bytes], found: list[Block | Fault]) -> None:
        what, place = mark[0], mark.start()
        doubled = what == VT and self._at is _At.FRAMED and not place and not self._passed
        bare = what.startswith(b"M")
        if not doubled:
            self._close(bytes(self._buffer[:place]), what, found)
            self._begin(_At.FRAMED if what == VT else _At.BARE if bare else _At.OUTSIDE)
        self._doubled = doubled
        del self._buffer[: place if bare else mark.end()]

    def _close(self, content: bytes, mark: bytes, found: list[Block | Fault]) -> None:
        if self.pending:
            found.append(self._closed(content, mark))
        elif size := self._passed + len(content):
            soiled = self._soiled or content.strip(_PADDING)
            found.append(Fault(FaultCode.JUNK if soiled else FaultCode.PADDING, b"", size))

    def _closed(self, content: bytes, mark: bytes) -> Block | Fault:
        """Return what a message is that ends at this mark; without one at the end of all bytes."""
        if not mark and self._at is _At.FRAMED and content.endswith(FS):
            content, mark = content[:-1], FS
        size = self._passed + len(content)
        if size > self._limit:
            return Fault(FaultCode.TOO_LONG, self._head or content[: self._head_bytes], size)
        ended = mark.startswith(FS)
        if self._at is _At.BARE and (ended or content.endswith(LINE_ENDS)):
            return Fault(FaultCode.UNFRAMED, content, size)
        if not ended:
            return Fault(FaultCode.ABANDONED if mark else FaultCode.CUT_SHORT, content, size)
        return Block(content, self._deviations(content, mark))

    def _deviations(self, content: bytes, mark: bytes) -> frozenset[Deviation]:
        found = {_ENDS[mark]} if mark in _ENDS else set()
        if self._doubled:
            found.add(Deviation.DOUBLE_START)
        if FS in content:
            found.add(Deviation.FS_IN_CONTENT)
        return frozenset(found)

    def _shed(self) -> None:
        """Keep memory bounded: drop junk, and what of a message lies over the limit. What may begin a mark stays."""
        decided = max(0, len(self._buffer) - _UNDECIDED[self._at])
        if self.pending and self._passed + decided <= self._limit:
            self._scan = decided
            return
        if self.pending and not self._head:
            self._head = bytes(self._buffer[: self._head_bytes])
        elif not self.pending:
            self._soiled = self._soiled or bool(self._buffer[:decided].strip(_PADDING))
        self._passed += decided
        del self._buffer[:decided]
        self._scan = 0


def block_of(content: bytes) -> bytes:
    """Return the content as one MLLP block."""
    return VT + content + FS + CR
