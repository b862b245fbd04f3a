"""What replays came to: of each second, and of all that were asked for. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from anesthesia.prediction import Record


class Outcome(StrEnum):
    """What a replay came to, in words."""

    EQUAL = "equal"
    DIFFERENT_INPUT = "different input"
    DIFFERENT_MODEL = "different model"
    DIFFERENT_VALUE = "different value"
    NOT_YET_ARCHIVED = "not yet archived"  # the ledger's next flush brings it: try again
    NOT_ARCHIVED = "not archived"
    ERASED = "erased"  # the case's key was erased: nobody can open its archive any more
    DAMAGED = "damaged"  # the case's archive, or the record, is not what was written


@dataclass(frozen=True, slots=True)
class Replay:
    """One recorded second, made again. `text` says what differs; it holds no patient data."""

    case_id: UUID
    second: int
    outcome: Outcome
    text: str = ""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What replays came to, by case and second."""

    replays: tuple[Replay, ...]

    @property
    def asked(self) -> int:
        """How many seconds were made again."""
        return len(self.replays)

    @property
    def equal(self) -> int:
        """How many came out as recorded."""
        return sum(one.outcome is Outcome.EQUAL for one in self.replays)

    @property
    def differing(self) -> tuple[Replay, ...]:
        """Those that did not."""
        return tuple(one for one in self.replays if one.outcome is not Outcome.EQUAL)

    @property
    def pending(self) -> int:
        """How many of these the ledger has not archived yet: try again after its next flush."""
        return sum(one.outcome is Outcome.NOT_YET_ARCHIVED for one in self.replays)


def replay_of(record: Record, outcome: Outcome, text: str = "") -> Replay:
    """Return what the replay of a record came to."""
    return Replay(record.of.case_id, record.of.second, outcome, text)
