"""The end of a demo: the devices fall silent, all patients are discharged, the last seconds come in, everyone is asked.

All other processes are watched meanwhile as before: one that dies now is started again.
"""

import time
from collections.abc import Callable
from typing import Final, Protocol

from backbone.supervisor.watched import Phase
from cli.check.accounts import Course
from cli.check.verdict import Verdict
from cli.talk import say

DEVICES: Final = "device_simulator"
DRAIN_S: Final = 90.0  # a feed of 60 s closes its last second 61.5 s after the discharge
COMES_BACK_S: Final = 20.0
LOOK_EVERY_S: Final = 1.0
SAY_EVERY_S: Final = 10.0


class Processes(Protocol):
    """The supervisor, as far as a closing needs it."""

    def phase_of(self, name: str) -> Phase:
        """Return where a process is in its life."""
        ...

    def hold(self, name: str) -> None:
        """Stop it and leave it stopped."""
        ...

    def release(self, name: str) -> None:
        """Start it again."""
        ...


class Reading(Protocol):
    """Who makes verdicts."""

    def counts(self, course: Course) -> Verdict:
        """Return the verdict of what changes while the last seconds come in."""
        ...

    def whole(self, course: Course) -> Verdict:
        """Return the whole verdict."""
        ...


class Closing:
    """Begins when it is made; call `step` in each turn of the supervisor's loop until it returns the verdict."""

    def __init__(self, processes: Processes, names: tuple[str, ...], reading: Reading, course: Callable[[], Course]) -> None:
        """Take all processes' names: what a visitor stopped is started again, since it is to be asked."""
        self._processes, self._reading, self._course = processes, reading, course
        self._silent_s: float | None = None
        self._begun_s = time.monotonic()
        self._look_s = self._say_s = 0.0
        for name in names:
            if name != DEVICES and processes.phase_of(name) is Phase.HELD:
                processes.release(name)

    def step(self) -> Verdict | None:
        """Return the verdict once everything agrees, or the time is over."""
        now_s = time.monotonic()
        if self._silent_s is None:
            if not self._silenced():
                return None
            self._silent_s = now_s
            say(f"  devices silent, patients discharged; the last seconds have up to {DRAIN_S:g} s to be recorded and written")
        if now_s < self._look_s:
            return None
        self._look_s = now_s + LOOK_EVERY_S
        left_s = self._silent_s + DRAIN_S - now_s
        verdict = self._reading.counts(self._course())
        if verdict.agrees or left_s <= 0:
            verdict = self._reading.whole(self._course())
            if verdict.agrees or left_s <= 0:
                return verdict
        self._tell(verdict, left_s)
        return None

    def _silenced(self) -> bool:
        """Stop the devices, and tell whether they have ended. A simulator that was just killed must come back first, to discharge."""
        phase = self._processes.phase_of(DEVICES)
        back_soon = phase in {Phase.BACKING_OFF, Phase.STARTING} and time.monotonic() < self._begun_s + COMES_BACK_S
        if not back_soon:
            self._processes.hold(DEVICES)
        return phase is Phase.HELD

    def _tell(self, verdict: Verdict, left_s: float) -> None:
        """Say now and then what is waited for."""
        if time.monotonic() >= self._say_s:
            self._say_s = time.monotonic() + SAY_EVERY_S
            say(f"  {left_s:3.0f} s left, waiting for {verdict.failures[0]}")
