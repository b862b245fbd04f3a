"""The loop: start the table in order, watch it, drain it in reverse. One thread, so that parent-death signals mean what they say."""

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Final, Protocol

from backbone.clock import Clock, SystemClock
from backbone.supervisor import events, leftovers, status
from backbone.supervisor.errors import SupervisorError
from backbone.supervisor.events import Event, What
from backbone.supervisor.spec import ProcessSpec
from backbone.supervisor.state import State
from backbone.supervisor.status import Status
from backbone.supervisor.watched import Phase, Watched

TICK_S: Final = 0.05
STATUS_EVERY_S: Final = 1.0
MOST_FAILED_STARTS: Final = 3  # while coming up: then it is no hiccup, and a person should look
EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 3
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Observer(Protocol):
    """Who is told: the command's screen. Called in the loop, so it answers fast."""

    def happened(self, event: Event) -> None:
        """Take an event."""
        ...

    def up(self) -> None:
        """Take note that all processes are ready."""
        ...

    def tick(self) -> None:
        """Do what is due, about twenty times a second, once all are up."""
        ...

    def holds_back(self, asked: int) -> bool:
        """Tell whether a stop, asked for so often by now, must wait: until this says no, all is watched as before."""
        ...

    def drained(self, up_to: str) -> None:
        """Take note that this process, and all after it in the table, ended; those before it still run."""
        ...


@dataclass(frozen=True, slots=True)
class About:
    """What the status file says beside the processes."""

    site: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)


class Supervisor:
    """Runs a table of processes. Call `run` once, in the main thread, with the state folder's lock held."""

    def __init__(self, state: State, table: Sequence[ProcessSpec], observer: Observer, about: About, clock: Clock | None = None) -> None:
        self._state = state
        self._observer = observer
        self._about = about
        self._clock = clock or SystemClock()
        self._table = [Watched(spec, state, self._clock) for spec in table]
        self._stops_asked = 0
        self._word = "starting"
        self._started_at = self._clock.now().isoformat(timespec="seconds")
        self._status_due_s = 0.0

    def run(self) -> int:
        """Bring all up, watch until a stop signal, drain. Returns the exit code: 0, 1 (one would not start), 3 (its configuration)."""
        with self._stop_signals():
            try:
                self._end_leftovers()
                code = self._bring_up()
                if code == EXIT_OK and not self._stops_asked:
                    self._word = "up"
                    self._write_status()
                    self._observer.up()
                    self._watch()
                return code
            finally:
                self._drain()

    def ask_to_stop(self) -> None:
        """Ask as a signal would."""
        self._stops_asked += 1

    # ---- for the observer, in its turn of the loop: none of these waits -----------------------------------------------------

    def phase_of(self, name: str) -> Phase:
        """Return where a process is in its life; SupervisorError when the table has no such row."""
        return self._watched(name).phase

    def hold(self, name: str) -> None:
        """Stop a process as the drain would, within its drain time, and leave it stopped (`Phase.HELD`) until `release`."""
        self._tell_if(self._watched(name).hold())

    def release(self, name: str) -> None:
        """Start a held process again: at once, or as soon as it has ended."""
        self._tell_if(self._watched(name).release())

    def kill(self, name: str) -> None:
        """End a process at once (SIGKILL): it is restarted with backoff, as after any death. SupervisorError when it does not run."""
        watched = self._watched(name)
        if not watched.kill():
            raise SupervisorError(f"{name} does not run now ({watched.phase}): nothing was killed")

    def _watched(self, name: str) -> Watched:
        for watched in self._table:
            if watched.spec.name == name:
                return watched
        raise SupervisorError(f"no process {name!r}; there are {', '.join(one.spec.name for one in self._table)}")

    def _tell_if(self, event: Event | None) -> None:
        if event is not None:
            self._tell(event)

    @contextmanager
    def _stop_signals(self) -> Iterator[None]:
        def asked(_number: int, _frame: FrameType | None) -> None:
            self._stops_asked += 1

        before = {number: signal.signal(number, asked) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end_leftovers(self) -> None:
        """End what an earlier supervisor left behind: two servers on one data folder would destroy it."""
        before = status.read(self._state)
        for name, pid in leftovers.end(before.processes if before else ()):
            self._tell(Event(self._clock.now(), What.LEFTOVER, name, pid, text="of an earlier run: ended"))

    def _bring_up(self) -> int:
        """Start each process once those that it needs are ready, until all are."""
        while not all(watched.phase in {Phase.READY, Phase.HELD} for watched in self._table):
            if self._stops_asked:
                return EXIT_OK
            if any(watched.phase is Phase.STOPPED for watched in self._table):
                return EXIT_CONFIG
            if any(watched.failed_starts >= MOST_FAILED_STARTS for watched in self._table):
                return EXIT_FAILED
            for watched in self._startable():
                self._tell(watched.start())
            self._step()
        return EXIT_OK

    def _startable(self) -> list[Watched]:
        """Return the processes that wait no longer: all that they need has been ready."""
        been_ready = {watched.spec.name for watched in self._table if watched.been_ready}
        above = [watched.spec.name for watched in self._table]
        return [
            watched
            for n, watched in enumerate(self._table)
            if watched.phase is Phase.WAITING and been_ready.issuperset(above[:n] if watched.spec.after is None else watched.spec.after)
        ]

    def _watch(self) -> None:
        while not self._stops_asked or self._observer.holds_back(self._stops_asked):
            self._step()
            self._observer.tick()

    def _step(self) -> None:
        """One turn: each process one step, the status file when due, then a short wait."""
        for watched in self._table:
            self._tell_if(watched.step())
        self._status_when_due()
        time.sleep(TICK_S)

    def _drain(self) -> None:
        """Stop all in reverse order, each with its time; a second stop signal kills what is left."""
        self._word = "stopping"
        patience = max(1, self._stops_asked)
        for watched in reversed(self._table):
            watched.ask_to_stop()
            while watched.phase is not Phase.STOPPED:
                event = watched.stopped(now=self._stops_asked > patience)
                if event is None:
                    self._status_when_due()
                    time.sleep(TICK_S / 2)
                else:
                    self._tell(event)
            self._observer.drained(watched.spec.name)
        self._word = "stopped"
        self._write_status()

    def _tell(self, event: Event) -> None:
        events.append(self._state.events, event)
        self._status_due_s = 0.0
        self._observer.happened(event)

    def _status_when_due(self) -> None:
        if time.monotonic() >= self._status_due_s:
            self._write_status()

    def _write_status(self) -> None:
        self._status_due_s = time.monotonic() + STATUS_EVERY_S
        of = Status(
            pid=os.getpid(),
            state=self._word,
            started_at=self._started_at,
            site=self._about.site,
            addresses=self._about.addresses,
            processes=tuple(watched.status() for watched in self._table),
        )
        status.write(self._state, of)
