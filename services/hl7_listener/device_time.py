"""Device time: HL7 timestamps, and by how much each source's clock is off. Pure.

A stable offset is corrected however large, and frozen for one segment; a step of more than 2 s begins a new segment; a clock that
steps again within a minute drifts faster than 2 s a minute and is not trusted.
"""

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final
from zoneinfo import ZoneInfo

from anesthesia.errors import SoporError

STEP_S: Final = 2.0  # a smaller difference is transport, not a clock
UNSTABLE_WITHIN_S: Final = 60.0
STEADY_FOR_S: Final = 60.0
# A difference that grows may be a late message: it is a step only when it stays.
CONFIRM_MESSAGES: Final = 3
CONFIRM_OVER_S: Final = 5.0
CONFIRM_SPREAD_S: Final = 1.0

_STAMP: Final = re.compile(r"(\d{12})(\d{2})?(?:\.?(\d{1,4}))?([+-]\d{4})?", re.ASCII)
# A timestamp may end after any of its parts (HL7 v2.6 ch. 2.A.22); these end before the minute.
_COARSE: Final = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?([+-]\d{4})?", re.ASCII)
TO_THE_SECOND: Final = 14
TO_THE_MINUTE: Final = 12
_ZONE_MINUTES: Final = 14 * 60


class BadTime(SoporError):
    """A timestamp that is none; holds no value."""


def _zone(text: str) -> timezone:
    minutes = int(text[1:3]) * 60 + int(text[3:5])
    if minutes > _ZONE_MINUTES:
        raise BadTime("the zone is no zone")
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def instant_of(text: str, zone: ZoneInfo, near: datetime) -> datetime:
    """Return an HL7 timestamp (12 or 14 digits, `.S` to `.SSSS`, milliseconds without a dot) as an instant in UTC.

    Without a zone in the text it is local time of `zone`; the hour that a clock change repeats is the one nearer to `near`.
    """
    found = _STAMP.fullmatch(text)
    if found is None:
        raise BadTime("not a timestamp of 12 or 14 digits")
    minute, second, fraction, offset = found.groups()
    if fraction and not second:
        raise BadTime("a fraction without seconds")
    try:
        local = datetime(  # noqa: DTZ001  the zone follows
            int(minute[:4]),
            int(minute[4:6]),
            int(minute[6:8]),
            int(minute[8:10]),
            int(minute[10:12]),
            int(second or 0),
            int((fraction or "0").ljust(6, "0")),
        )
    except ValueError as fault:
        raise BadTime("no such day or time of day") from fault
    if offset:
        return local.replace(tzinfo=_zone(offset)).astimezone(UTC)
    candidates = [local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    return min(candidates, key=lambda instant: abs(instant - near))


def told_to_the_second(text: str) -> bool:
    """Tell whether a timestamp has seconds: a coarser one is no clock, and no name of its message."""
    found = _STAMP.fullmatch(text)
    return found is not None and found[2] is not None


def instant_told(text: str, zone: ZoneInfo, near: datetime, *, digits: int) -> datetime | None:
    """Return a timestamp of at least so many digits as an instant in UTC; None where there is none, or a coarser one.

    BadTime when the text is no timestamp, or of a day that there is not.
    """
    if not text:
        return None
    coarse = _COARSE.fullmatch(text)
    if coarse is None:
        at = instant_of(text, zone, near)
        return at if digits == TO_THE_MINUTE or told_to_the_second(text) else None
    year, month, day, hour, offset = coarse.groups()
    instant_of(f"{year}{month or '01'}{day or '01'}{hour or '00'}00{offset or ''}", zone, near)
    return None


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of one source's time with one offset: corrected time = device time + offset."""

    offset_s: float
    since: datetime  # receipt of the message that began it


@dataclass(frozen=True, slots=True)
class Reckoning:
    """What is known of a source's clock after a message."""

    offset_s: float
    trusted: bool = True
    stepped: bool = False  # a new segment began with this message

    @property
    def offset(self) -> timedelta:
        """The offset as a duration."""
        return timedelta(seconds=self.offset_s)


def _rounded(difference_s: float) -> float:
    """Return the offset that a difference means: none below the step."""
    return 0.0 if abs(difference_s) < STEP_S else round(difference_s, 3)


class SourceClock:
    """The clock of one source, learned from creation (MSH-7) and receipt of its messages."""

    def __init__(self, segment: Segment | None = None) -> None:
        """Begin with the segment that the journal holds, if it holds one."""
        self.segment = segment
        self._unstable_since: datetime | None = None
        self._candidates: deque[tuple[datetime, float]] = deque(maxlen=32)

    def hear(self, created_at: datetime | None, received_at: datetime) -> Reckoning:
        """Take one message's creation time (None: it has none) and return the offset that its readings get."""
        if created_at is None:
            return Reckoning(self.segment.offset_s if self.segment else 0.0, trusted=self._unstable_since is None)
        difference_s = (received_at - created_at).total_seconds()
        if self.segment is None:
            self.segment = Segment(_rounded(difference_s), received_at)
            return Reckoning(self.segment.offset_s)
        ahead = difference_s - self.segment.offset_s < -STEP_S
        stepped = self._steps(difference_s, received_at)
        if stepped:
            self._begin(difference_s, received_at)
        self._settle(received_at)
        # No message arrives before it is made: one from ahead of its clock is wrong itself, and moves nothing until others say the same.
        trusted = self._unstable_since is None and (stepped or not ahead)
        return Reckoning(self.segment.offset_s, trusted=trusted, stepped=stepped)

    def _steps(self, difference_s: float, received_at: datetime) -> bool:
        """Tell whether the clock stepped: when several messages over some seconds agree, so that one stray message moves nothing."""
        assert self.segment is not None
        if abs(difference_s - self.segment.offset_s) <= STEP_S:
            self._candidates.clear()
            return False
        while self._candidates and abs(self._candidates[0][1] - difference_s) > CONFIRM_SPREAD_S:
            self._candidates.popleft()
        self._candidates.append((received_at, difference_s))
        over_s = (received_at - self._candidates[0][0]).total_seconds()
        return len(self._candidates) >= CONFIRM_MESSAGES and over_s >= CONFIRM_OVER_S

    def _begin(self, difference_s: float, received_at: datetime) -> None:
        assert self.segment is not None
        if (received_at - self.segment.since).total_seconds() < UNSTABLE_WITHIN_S:
            self._unstable_since = received_at
        self.segment = Segment(_rounded(difference_s), received_at)
        self._candidates.clear()

    def _settle(self, received_at: datetime) -> None:
        """Trust again after a minute without a step."""
        if self._unstable_since is not None and (received_at - self._unstable_since).total_seconds() >= STEADY_FOR_S:
            self._unstable_since = None


class Clocks:
    """The clocks of all sources."""

    def __init__(self, segments: Mapping[str, Segment]) -> None:
        """Begin with the segments that the journal holds."""
        self._clocks = {source: SourceClock(segment) for source, segment in segments.items()}

    def of(self, source: str) -> SourceClock:
        """Return a source's clock."""
        return self._clocks.setdefault(source, SourceClock())
