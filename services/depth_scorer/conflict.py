"""How long the model and the device have disagreed: explicit state, part of the input hash. Pure.

It is a fold over the case's records and nothing else, so a restarted scorer and a replay find it again.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from anesthesia.limits import Limits
from anesthesia.prediction import DeviceIndex, Prediction, Record, Refusal, RefusalReason, Tier

# The model gave no answer, so nothing was learned of a disagreement.
SAYS_NOTHING = frozenset({RefusalReason.MODEL_LATE, RefusalReason.MODEL_UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class Conflict:
    """The second since which a valid device index has been more than the limit away without a break; None: it is not."""

    since: int | None = None

    def after(self, second: int, value: float, index: DeviceIndex | None, limits: Limits) -> "Conflict":
        """Return the state after one more second."""
        if index is None or abs(index.value - value) <= limits.conflict_points:
            return Conflict()
        return self if self.since is not None else Conflict(second)

    def after_record(self, record: Record, limits: Limits) -> "Conflict":
        """Return the state after the next record of the case: as `verdict` left it when it made that record."""
        second, index = record.of.second, record.device_index
        match record:
            case Prediction(tier=Tier.E):
                return self.after(second, record.value, index, limits)
            case Refusal(reason=RefusalReason.CONFLICT_WITH_DEVICE, withheld_value=float(value)):
                return self.after(second, value, index, limits)
            case _ if says_nothing(record):
                return self
        return Conflict()

    def lasts(self, second: int, limits: Limits) -> bool:
        """Tell whether the disagreement has lasted as long as the rule says."""
        return self.since is not None and second + 1 - self.since >= limits.conflict_s

    def state(self, second: int, limits: Limits) -> bytes:
        """Return the bytes that enter the input hash of a second: for how many seconds, at most as many as the rule asks for.

        Longer changes nothing any more; so the records of that many seconds are enough to find the state again.
        """
        return b"" if self.since is None else f"conflict:{min(second - self.since, limits.conflict_s)}".encode()


def says_nothing(record: Record) -> bool:
    """Tell whether a record leaves the state as it was."""
    return isinstance(record, Refusal) and record.reason in SAYS_NOTHING


def conflict_after(records: Iterable[Record], limits: Limits) -> Conflict:
    """Return the state after a case's records, in their order; those of the last `conflict_s` seconds are enough."""
    state = Conflict()
    for record in records:
        state = state.after_record(record, limits)
    return state
