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
        try:
            self._child = Child(self.spec, self._state)
        except SupervisorError as fault:
            return self._lost(What.DIED, NOT_STARTED, str(fault))
        self._born = status.born(self._child.pid)
        self._to(Phase.STARTING)
        return self._event(What.STARTED)

    def step(self) -> Event | None:
        """Move it on: ready, died, late, or started again; None when nothing happened."""
        child = self._child
        if child is None:
            return self._start_again()
        exited = child.exited
        if exited is not None:
            return self._died(child, exited)
        if self.phase is not Phase.STARTING:
            return None
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

    def ask_to_stop(self) -> None:
        """Send it its stop signal; no start follows any more."""
        if self._child is None:
            self._to(Phase.STOPPED)
            return
        self._child.ask_to_stop()
        self._to(Phase.STOPPING)

    def stopped(self, *, now: bool, asked_s: float) -> Event | None:
        """Return the event of its end, once it has ended; kill it when its drain time since `asked_s` is over, or at once with `now`."""
        child = self._child
        if child is None:
            return None
        if child.exited is None:
            if not now and time.monotonic() - asked_s < self.spec.drain_s:
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
