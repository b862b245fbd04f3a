"""Which minutes of a case are due. Pure: instants are Unix seconds, a window is a whole UTC minute."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

WINDOW_S: Final = 60
# Beside the time by which a feed's seconds may be late (its latency in the site file):
LATEST_S: Final = 15  # after its end a minute is planned with the seconds that are there
GIVE_UP_S: Final = 120  # after its end a case is closed even if its last seconds were never recorded


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is recorded of a case: its first and last second; `end` is the second in which its Occupancy ended, None while it lasts."""

    first: int
    last: int
    end: int | None

    @property
    def stop(self) -> int:
        """The second after the last one that belongs to the case as it is recorded."""
        return self.last + 1 if self.end is None else min(self.end, self.last + 1)


@dataclass(frozen=True, slots=True)
class Minute:
    """One window `[start, start + 60)` and the part `[first, stop)` of it in which the case expects seconds."""

    start: int
    first: int
    stop: int

    @property
    def expected(self) -> int:
        """How many seconds the case expects in it."""
        return self.stop - self.first

    @property
    def whole(self) -> bool:
        """Tell whether the case lasts through all of it."""
        return self.expected == WINDOW_S


def minute_of(second: int) -> int:
    """Return the start of the minute that holds a second."""
    return second - second % WINDOW_S


def _is_ready(minute: Minute, case: Recorded, now: float, latency_s: float) -> bool:
    """Seconds are recorded in rising order: with the last one all are there that will ever be."""
    return case.last >= minute.stop - 1 or now >= minute.stop + latency_s + LATEST_S


def due_minutes(case: Recorded, planned_until: int | None, now: float, latency_s: float = 0.0) -> Iterator[Minute]:
    """Yield the minutes to plan now, rising. `planned_until` is the start of the newest minute that is planned already.

    `latency_s` is by how much the site's slowest feed may be late.

    A minute without any record is not planned before a later one has records: the scorer's successor may still write them.
    """
    start = minute_of(case.first) if planned_until is None else planned_until + WINDOW_S
    while start < case.stop:
        stop = start + WINDOW_S if case.end is None else min(start + WINDOW_S, case.end)
        minute = Minute(start, max(start, case.first), stop)
        if not _is_ready(minute, case, now, latency_s):
            return
        yield minute
        start += WINDOW_S


def is_closed(case: Recorded, planned_until: int | None, now: float, latency_s: float = 0.0) -> bool:
    """Tell whether the case has ended, all its minutes are planned, and no further second will come."""
    if case.end is None or case.stop <= case.first:
        return False
    all_planned = planned_until is not None and planned_until + WINDOW_S >= case.stop
    return all_planned and (case.last >= case.end - 1 or now >= case.end + latency_s + GIVE_UP_S)
