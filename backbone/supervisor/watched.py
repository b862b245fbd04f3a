"""One process under watch: its child while it lives, its wait while it is dead."""

import time
from enum import StrEnum

from backbone.clock import Clock
from backbone.supervisor import status
from backbone.supervisor.backoff import Backoff
from backbone.supervisor.child import Child, Exit
from backbone.supervisor.errors import SupervisorError
from backbone.supervisor.events import Event, What
from backbone.supervisor.spec import ProcessSpec
from backbone.supervisor.state import State
from backbone.supervisor.status import ProcessStatus

EXIT_CONFIG = 3
NOT_STARTED = Exit(127)


class Phase(StrEnum):
    """Where a process is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    BACKING_OFF = "backing-off"
    STOPPING = "stopping"
    STOPPED = "stopped"
    HELD = "held"  # on purpose: it starts again when it is released


class Watched:
    """A process of the table. `step` moves it on and returns what happened; nothing here waits."""

    def __init__(self, spec: ProcessSpec, state: State, clock: Clock) -> None:
        self.spec = spec
        self.phase = Phase.WAITING
        self.restarts = 0
        self.failed_starts = 0
        self.been_ready = False
        self._state, self._clock = state, clock
        self._child: Child | None = None
        self._backoff = Backoff()
        self._next_start_s = 0.0
        self._asked_s = 0.0
        self._held = self._begun = False
        self._since = clock.now()
        self._born: float | None = None
        self._last_exit: Exit | None = None

    def _to(self, phase: Phase) -> None:
        self.phase = phase
        self._since = self._clock.now()

    def _event(self, what: What, *, backoff_s: float | None = None, text: str = "") -> Event:
        child = self._child
        return Event(
            at=self._clock.now(),
            what=what,
            process=self.spec.name,
            pid=child.pid if child else None,
            exit=self._last_exit if what in {What.DIED, What.REFUSED, What.LATE} else None,
            backoff_s=backoff_s,
            elapsed_s=child.lived_s if child else None,
            text=text,
            restarts=self.restarts,
        )

    def start(self) -> Event:
        """Start it."""
        self._begun = True
        try:
            self._child = Child(self.spec, self._state)
        except SupervisorError as fault:
            return self._lost(What.DIED, NOT_STARTED, str(fault))
        self._born = status.born(self._child.pid)
        self._to(Phase.STARTING)
        return self._event(What.STARTED)

    def step(self) -> Event | None:
        """Move it on: ready, died, late, ended as asked, or started again; None when nothing happened."""
        child = self._child
        if child is None:
            return self._start_again()
        if self.phase is Phase.STOPPING:
            return self._ended()
        exited = child.exited
        if exited is not None:
            return self._died(child, exited)
        return self._starting(child) if self.phase is Phase.STARTING else None

    def _starting(self, child: Child) -> Event | None:
        if child.ready():
            self._to(Phase.READY)
            self.failed_starts, self.been_ready = 0, True
            return self._event(What.READY, text=child.status_text)
        if child.lived_s > self.spec.ready_within_s:
            child.kill()
            return self._lost(What.LATE, child.exited, f"not ready within {self.spec.ready_within_s:g} s\n{child.tail()}")
        return None

    def _start_again(self) -> Event | None:
        if self.phase is not Phase.BACKING_OFF or time.monotonic() < self._next_start_s:
            return None
        self.restarts += 1
        return self.start()

    def _died(self, child: Child, exited: Exit) -> Event:
        first_start = self.phase is Phase.STARTING and self.restarts == 0
        if first_start and exited.code == EXIT_CONFIG:
            self._last_exit = exited
            self._to(Phase.STOPPED)
            event = self._event(What.REFUSED, text=child.tail())
            self._release()
            return event
        return self._lost(What.DIED, exited, child.tail())

    def _lost(self, what: What, exited: Exit | None, text: str) -> Event:
        """Note a death and when the next start is due."""
        if self.phase is not Phase.READY:
            self.failed_starts += 1
        backoff = self._backoff.after_life_of(self._child.lived_s if self._child else 0.0)
        self._backoff = backoff.next()
        self._next_start_s = time.monotonic() + backoff.wait_s
        self._last_exit = exited
        event = self._event(what, backoff_s=backoff.wait_s, text=text)
        self._release()
        self._to(Phase.BACKING_OFF)
        return event

    def _release(self) -> None:
        if self._child is not None:
            self._child.close()
        self._child = None

    def hold(self) -> Event | None:
        """Stop it as in the drain, and do not start it until `release`; None when it is held already."""
        if self._held:
            return None
        self._held = True
        event = self._event(What.HELD)
        if self.phase is not Phase.STOPPING:
            self.ask_to_stop()
        if self._child is None:
            self._to(Phase.HELD)
        return event

    def release(self) -> Event | None:
        """Let it start again, once it has ended; None when it is not held."""
        if not self._held:
            return None
        self._held = False
        self._backoff, self._next_start_s = Backoff(), 0.0
        if self._child is None:
            self._to(Phase.BACKING_OFF if self._begun else Phase.WAITING)
        return self._event(What.RELEASED)

    def kill(self) -> bool:
        """End it at once, as a crash would: `step` then tells its death and starts it again. False when it does not run."""
        if self._child is None or self._child.exited is not None:
            return False
        self._child.kill()
        return True

    def _ended(self) -> Event | None:
        """Return the event of an end that `hold` asked for."""
        event = self.stopped(now=False)
        if event is not None:
            self._to(Phase.HELD if self._held else Phase.BACKING_OFF)
        return event

    def ask_to_stop(self) -> None:
        """Send it its stop signal, once; no start follows any more."""
        if self._child is None:
            self._to(Phase.STOPPED)
        elif self.phase is not Phase.STOPPING:
            self._asked_s = time.monotonic()
            self._child.ask_to_stop()
            self._to(Phase.STOPPING)

    def stopped(self, *, now: bool) -> Event | None:
        """Return the event of its end, once it has ended; kill it when its drain time since it was asked is over, or at once with `now`."""
        child = self._child
        if child is None:
            return None
        if child.exited is None:
            if not now and time.monotonic() - self._asked_s < self.spec.drain_s:
                return None
            child.kill()
            what, text = What.KILLED, "at once, as asked" if now else f"still there {self.spec.drain_s:g} s after its stop signal"
        else:
            what, text = What.STOPPED, ""
        self._last_exit = child.exited
        event = self._event(what, text=text)
        self._release()
        self._to(Phase.STOPPED)
        return event

    def status(self) -> ProcessStatus:
        """Return its entry for the status file."""
        child = self._child
        return ProcessStatus(
            name=self.spec.name,
            state=self.phase.value,
            pid=child.pid if child else None,
            born=self._born if child else None,
            since=self._since.isoformat(timespec="seconds"),
            restarts=self.restarts,
            status=child.status_text if child else "",
            last_exit=str(self._last_exit or ""),
        )
