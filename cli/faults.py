"""What may be broken on purpose while a demo runs: the closed list, and the hand that does it. `sopor up` has no such hand."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from anesthesia.errors import SoporError
from backbone.clock import Clock, SystemClock
from backbone.supervisor.state import State
from backbone.supervisor.table import simulator_socket
from backbone.supervisor.tamper import tamper
from backbone.supervisor.watched import Phase
from cli.control import LateAnswer, ask
from services.device_simulator.faults import Fault

EHR: Final = "ehr"
KILL: Final = "kill_"
STOP_EHR, START_EHR, TAMPER_AUDIT = "stop_ehr", "start_ehr", "tamper_audit"
SIMULATOR_WITHIN_S: Final = 0.1  # the supervisor's loop waits for it


class BadFault(SoporError):
    """No such fault, or a room too many or too few; the text says which there are."""


class NotDone(SoporError):
    """The fault was not let happen; the text says why."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One fault: what it is, what to say once it is done (`{room}` stands for the room), and what to watch then."""

    name: str
    does: str
    done: str
    watch: str
    in_room: bool = False

    def told(self, room: str | None, *, done: str = "") -> str:
        """Return what was done and what to watch; `done` says it more closely than the list can."""
        return f"{done or self.done.format(room=room)}; watch: {self.watch.format(room=room)}"


def _in_room(fault: Fault, does: str, done: str, watch: str) -> Kind:
    return Kind(fault.value, does, done, watch, in_room=True)


def _kill(process: str, watch: str) -> Kind:
    return Kind(f"{KILL}{process}", f"kill {process} (SIGKILL); it is started again", f"{process} was killed", watch)


KINDS: Final = (
    _in_room(
        Fault.UNPLUG_EEG,
        "pull a room's EEG plug: neither EEG nor device index",
        "{room}: the EEG plug is pulled",
        "{room} says `no usable EEG` within 3 s and shows no number; a minute with fewer than 30 scored seconds is withheld",
    ),
    _in_room(
        Fault.REPLUG_EEG,
        "put the EEG plug back",
        "{room}: the EEG plug is back",
        "{room} is scored again, after a long gap once its window holds 20 s of EEG; until then its device's own index is shown",
    ),
    _in_room(
        Fault.LEAD_OFF,
        "an EEG electrode comes off: a flat line, and the monitor says so",
        "{room}: an EEG electrode is off",
        "{room} says `EEG lead off` within 3 s: a flat line is never a score",
    ),
    _in_room(Fault.LEAD_ON, "put the electrode back", "{room}: the electrode is on again", "{room} is scored again within half a minute"),
    _in_room(
        Fault.BOLUS,
        "give 100 mg of propofol at once",
        "{room}: 100 mg of propofol are given",
        "where {room} shows an index, it falls by ten points and more within a minute",
    ),
    _in_room(
        Fault.DOUBLE_SEND,
        "send the next monitor message twice",
        "{room}: the next monitor message goes out twice",
        "both are acknowledged, and the verdict counts no second twice",
    ),
    _in_room(
        Fault.CONFLICT,
        "shift the device's own index away from its EEG",
        "{room}: the device's index no longer fits its EEG",
        "after 60 s {room} says `disagrees with the device's index`, and nothing of it goes to the EHR",
    ),
    _in_room(Fault.AGREE, "end the conflict", "{room}: the device's index fits its EEG again", "{room} shows its number again"),
    Kind(
        STOP_EHR,
        "stop the EHR, and leave it stopped",
        "the EHR is told to stop",
        "minutes become due and wait in the outbox; the wall takes no notice",
    ),
    Kind(START_EHR, "start the EHR again", "the EHR is started", "what waited is written within seconds, each minute once"),
    Kind(
        TAMPER_AUDIT,
        "change a recorded value in PostgreSQL, behind the ledger's back",
        "the audit log was tampered with",
        "`sopor audit verify` names that leaf (code 7, the verdict too); from that minute on nothing of the case goes to the EHR",
    ),
    _kill("valkey", "devices stay acknowledged from the journal; the seconds in between are recorded when it is back"),
    _kill("postgres", "the wall goes on; records and trend follow when it is back"),
    _kill("model_server", "rooms with EEG say `model not available`, and no old number stays"),
    _kill("ledger", "the wall goes on; the records follow when it is back"),
    _kill("depth_scorer", "numbers age, none stays too long; its successor records every second in between"),
    _kill("hl7_listener", "devices repeat what was not acknowledged; no second is lost"),
    _kill("web", "the page says that nobody answers and shows no number; it comes back by itself"),
    _kill(EHR, "minutes wait in the outbox; what it had taken is there when it is back"),
    _kill("ehr_writer", "minutes are planned and what it had in hand is written when it is back, none twice"),
    _kill("device_simulator", "rooms fall silent, and no number outlives its bound; then other devices admit the same patients again"),
)
NAMED: Final = {kind.name: kind for kind in KINDS}


def kind_of(name: str, room: str | None = None) -> Kind:
    """Return the fault of that name, for that room or for none; BadFault when it is not so."""
    kind = NAMED.get(name)
    if kind is None:
        raise BadFault(f"no fault {name!r}; there are {', '.join(NAMED)}")
    if kind.in_room and room is None:
        raise BadFault(f"{name} happens in a room: say which, as in --room 'OR 1'")
    if not kind.in_room and room is not None:
        raise BadFault(f"{name} happens to the whole demo, not in a room")
    return kind


class Processes(Protocol):
    """What is done to processes: the supervisor."""

    def phase_of(self, name: str) -> Phase:
        """Return where a process is in its life."""
        ...

    def hold(self, name: str) -> None:
        """Stop it and leave it stopped."""
        ...

    def release(self, name: str) -> None:
        """Start it again."""
        ...

    def kill(self, name: str) -> None:
        """End it at once."""
        ...


@dataclass(frozen=True, slots=True)
class Done:
    """A fault that was let happen, in words; `leaf` is that of a record that was tampered with."""

    at: datetime
    name: str
    room: str | None
    text: str
    leaf: int | None = None

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%SZ} {self.text}"


class Faults:
    """Lets faults happen, in the turn of the supervisor's loop: nothing here waits longer than a tenth of a second."""

    def __init__(self, processes: Processes, state: State, database_url: str, clock: Clock | None = None) -> None:
        self.done: list[Done] = []
        self._processes, self._state, self._database_url = processes, state, database_url
        self._clock = clock or SystemClock()

    def names(self) -> tuple[str, ...]:
        """Return all faults there are."""
        return tuple(NAMED)

    def do(self, name: str, room: str | None = None) -> str:
        """Let a fault happen; return what was done and what to watch. BadFault, NotDone or SupervisorError say why it did not."""
        kind = kind_of(name, room)
        done, leaf = kind.done.format(room=room), None
        if room is not None:
            self._tell_simulator(name, room)
        elif name == TAMPER_AUDIT:
            done, leaf = self._tamper()
        elif name in {STOP_EHR, START_EHR}:
            self._switch_ehr(on=name == START_EHR)
        else:
            self._processes.kill(name.removeprefix(KILL))
        self.done.append(Done(self._clock.now(), name, room, done, leaf))
        return kind.told(room, done=done)

    def _tell_simulator(self, name: str, room: str) -> None:
        try:
            answer = ask(simulator_socket(self._state), {"fault": name, "room": room}, SIMULATOR_WITHIN_S)
        except LateAnswer:
            return  # it was told: it does it in its own next turn
        if not answer.get("ok"):
            raise NotDone(str(answer.get("error", "the simulator refused")))

    def _switch_ehr(self, *, on: bool) -> None:
        is_on = self._processes.phase_of(EHR) not in {Phase.HELD, Phase.STOPPING}
        if is_on == on:
            raise NotDone(f"the EHR is {'not stopped' if on else 'stopped already'}")
        if on:
            self._processes.release(EHR)
        else:
            self._processes.hold(EHR)

    def _tamper(self) -> tuple[str, int]:
        """Change a record that was not changed before: a second change could undo the first. Returns what was done, and the leaf."""
        before = max((one.leaf for one in self.done if one.leaf is not None), default=-1)
        found = tamper(self._database_url, before)
        change = f"the depth of {found.bed} at {found.at:%H:%M:%SZ} is now {found.after:.1f}, was {found.before:.1f}"
        return f"{NAMED[TAMPER_AUDIT].done}: {change} (leaf {found.leaf})", found.leaf
