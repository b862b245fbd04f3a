"""A Case is one anesthetic of one patient, not a bed stay.

It is the part of an Occupancy of a theatre bed that has live data: its first expected second is the whole UTC second of the first
reading inside the Occupancy, its last the one before the Occupancy ends.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from math import ceil
from uuid import UUID

from anesthesia.occupancy import Occupancy
from anesthesia.reading import Bed


class Phase(StrEnum):
    """Where an anesthetic stands. Until it can be told from drugs or a person, it is unknown."""

    PRE_INDUCTION = "pre-induction"
    INDUCTION = "induction"
    MAINTENANCE = "maintenance"
    EMERGENCE = "emergence"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Case:
    """One anesthetic: an Occupancy and the instant of its first reading."""

    occupancy: Occupancy
    opened_at: datetime

    @property
    def case_id(self) -> UUID:
        """The id of its Occupancy."""
        return self.occupancy.case_id

    @property
    def bed(self) -> Bed:
        """The bed it takes place in."""
        return self.occupancy.bed

    @property
    def first_second(self) -> int:
        """The first expected second (Unix time): the whole second that holds the first reading, wholly inside the Occupancy."""
        return max(int(self.opened_at.timestamp()), ceil(self.occupancy.start.timestamp()))

    def expects(self, second: int) -> bool:
        """Tell whether `[second, second + 1)` (Unix time) lies wholly inside the open case."""
        if second < self.first_second:
            return False
        end = self.occupancy.end
        return end is None or second + 1 <= end.timestamp()


def instant_of(second: int) -> datetime:
    """Return the instant of a Unix second."""
    return datetime.fromtimestamp(second, UTC)
