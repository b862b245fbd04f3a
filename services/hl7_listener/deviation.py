"""How messages depart from the standard and are understood all the same: each way has a name that is counted. Pure."""

import re
from enum import StrEnum
from typing import Final

# A check sum over a serial line (Mindray A-series) stands as a line of its own before FS. Which polynomial it has is not published.
_CRC_LINE: Final = re.compile(rb"(?<=[\r\n])[0-9A-Fa-f]{4}[\r\n]?\Z")
_LONGEST_CRC_LINE: Final = 6


class Deviation(StrEnum):
    """A departure that costs the sender nothing."""

    DOUBLE_START = "double_start"  # VT twice
    END_BY_LF = "end_by_lf"  # FS LF
    END_WITHOUT_CR = "end_without_cr"  # FS alone
    FS_IN_CONTENT = "fs_in_content"
    BEFORE_HEADER = "before_header"  # a byte order mark, blanks or line ends between VT and MSH
    LF_IN_CONTENT = "lf_in_content"  # segments that end with LF, or LF in a text
    CRC_BEFORE_END = "crc_before_end"  # only where the site file tolerates it
    NO_FRAME = "no_frame"  # likewise


def deviations_of(content: bytes) -> frozenset[Deviation]:
    """Return those of a message's own bytes."""
    found = set()
    if not content.startswith((b"MSH", b"FHS", b"BHS")):
        found.add(Deviation.BEFORE_HEADER)
    if b"\n" in content:
        found.add(Deviation.LF_IN_CONTENT)
    return frozenset(found)


def without_crc(content: bytes) -> bytes:
    """Return the message without the check sum before its end; itself when there is none."""
    place = _CRC_LINE.search(content, max(0, len(content) - _LONGEST_CRC_LINE))
    return content[: place.start()] if place else content
