"""How long to wait before a dead process is started again. Pure."""

from dataclasses import dataclass
from typing import Final

FIRST_S: Final = 1.0
CAP_S: Final = 10.0
STEADY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait before the next start."""

    wait_s: float = FIRST_S

    def after_life_of(self, lived_s: float) -> "Backoff":
        """Return the wait that holds after a life: a steady one forgives what was before."""
        return Backoff() if lived_s >= STEADY_S else self

    def next(self) -> "Backoff":
        """Return the wait after this one: twice as long, up to the cap."""
        return Backoff(min(2 * self.wait_s, CAP_S))
