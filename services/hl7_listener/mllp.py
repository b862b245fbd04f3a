"""MLLP framing (HL7 v2 Transport Specification: MLLP, release 1): bytes in, blocks and faults out. Pure.

A block is `VT content FS CR`. Any cut of the same bytes gives the same blocks and faults. FS in the content is content, unless CR, LF
or VT follows it: some senders end with FS LF or with FS alone.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

VT: Final = b"\x0b"
FS: Final = b"\x1c"
CR: Final = b"\r"
LIMIT_BYTES: Final = 4 * 1024 * 1024
HEAD_BYTES: Final = 64 * 1024  # enough of a block that is too long for an answer with its MSA-2

# VT begins a block; FS with CR or LF ends one; FS before VT ends one whose sender leaves out the CR.
_MARK: Final = re.compile(rb"\x0b|\x1c(?:[\r\n]|(?=\x0b))")


class FaultCode(StrEnum):
    """What was wrong with the framing."""

    ABANDONED = "frame_abandoned"  # a new VT came before the end
    TOO_LONG = "frame_too_long"
    CUT_SHORT = "frame_cut_short"  # the connection ended, or the time for one frame ran out
    JUNK = "frame_junk"  # bytes outside of any block


FAULT_TEXTS: Final = {
    FaultCode.ABANDONED: "a new message began before the end of this one",
    FaultCode.TOO_LONG: "the message is longer than the limit",
    FaultCode.CUT_SHORT: "the message has no end",
    FaultCode.JUNK: "bytes outside of any message",
}


@dataclass(frozen=True, slots=True)
class Block:
    """The content of one block."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """Bytes that are no whole block: the head of what came (empty for junk), and how many there were."""

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
        self._inside = False
        self._passed = 0  # bytes of this block, or of this junk, that left the buffer
        self._head = b""  # of a block that is over the limit
        self._scan = 0

    @property
    def pending(self) -> bool:
        """Tell whether a block has begun and not ended."""
        return self._inside

    def feed(self, received: bytes) -> list[Block | Fault]:
        """Return the blocks and faults that these bytes complete, in order."""
        self._buffer += received
        found: list[Block | Fault] = []
        while mark := _MARK.search(self._buffer, self._scan):
            self._take(mark, found)
        self._shed()
        return found

    def end(self) -> list[Block | Fault]:
        """Return what the unfinished rest is, and begin anew: a block that ends with FS alone is whole."""
        found: list[Block | Fault] = []
        if self._inside:
            whole = self._buffer.endswith(FS)
            content = bytes(self._buffer[:-1] if whole else self._buffer)
            found.append(self._closed(content, None if whole else FaultCode.CUT_SHORT))
        elif junk := self._passed + len(self._buffer):
            found.append(Fault(FaultCode.JUNK, b"", junk))
        self._buffer.clear()
        self._inside, self._passed, self._head, self._scan = False, 0, b"", 0
        return found

    def _take(self, mark: re.Match[bytes], found: list[Block | Fault]) -> None:
        begins = mark[0] == VT
        content = bytes(self._buffer[: mark.start()])
        after = mark.end()
        if self._inside:
            found.append(self._closed(content, FaultCode.ABANDONED if begins else None))
            self._inside, self._passed, self._head = begins, 0, b""
        elif begins:
            if junk := self._passed + len(content):
                found.append(Fault(FaultCode.JUNK, b"", junk))
            self._inside, self._passed = True, 0
        else:
            self._passed += after
        del self._buffer[:after]
        self._scan = 0

    def _closed(self, content: bytes, fault: FaultCode | None) -> Block | Fault:
        size = self._passed + len(content)
        if size > self._limit:
            return Fault(FaultCode.TOO_LONG, self._head or content[: self._head_bytes], size)
        return Block(content) if fault is None else Fault(fault, content, size)

    def _shed(self) -> None:
        """Keep memory bounded: drop junk, and what of a block lies over the limit. An FS at the end waits for its CR."""
        kept = 1 if self._buffer.endswith(FS) else 0
        if self._inside and self._passed + len(self._buffer) - kept <= self._limit:
            self._scan = len(self._buffer) - kept
            return
        if self._inside and not self._head:
            self._head = bytes(self._buffer[: self._head_bytes])
        self._passed += len(self._buffer) - kept
        del self._buffer[: len(self._buffer) - kept]
        self._scan = 0


def block_of(content: bytes) -> bytes:
    """Return the content as one MLLP block."""
    return VT + content + FS + CR
