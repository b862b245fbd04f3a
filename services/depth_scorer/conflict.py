"""How long the model and the device have disagreed: explicit state, part of the input hash. Pure."""

from dataclasses import dataclass

from anesthesia.limits import Limits
from anesthesia.prediction import DeviceIndex


@dataclass(frozen=True, slots=True)
class Conflict:
    """The second since which a valid device index has been more than the limit away without a break; None: it is not."""

    since: int | None = None

    def after(self, second: int, value: float, index: DeviceIndex | None, limits: Limits) -> "Conflict":
        """Return the state after one more second."""
        if index is None or abs(index.value - value) <= limits.conflict_points:
            return Conflict()
        return self if self.since is not None else Conflict(second)

    def lasts(self, second: int, limits: Limits) -> bool:
        """Tell whether the disagreement has lasted as long as the rule says."""
        return self.since is not None and second + 1 - self.since >= limits.conflict_s

    def state(self) -> bytes:
        """Return the bytes that enter the input hash."""
        return b"" if self.since is None else f"conflict:{self.since}".encode()
