"""The simulator's own log: what was sent and acknowledged, and which seconds are expected of each room. Pure."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

POSITIVE: Final = frozenset({"AA", "CA"})
EEG_KINDS: Final = frozenset({"monitor", "eeg"})  # messages of a room with EEG that carry it
# Faults of a room after which its EEG cannot, or must not, be scored, and those that end them.
BLINDING: Final[Mapping[str, str]] = {"unplug_eeg": "replug_eeg", "lead_off": "lead_on", "conflict": "agree"}


@dataclass(slots=True)
class Stay:
    """A patient's stay: Unix seconds, from the first reading (before it: the admission) to the A03 (None: not discharged)."""

    opened_s: int | None = None
    discharged_s: int | None = None
    admitted_s: int | None = None

    def expected(self) -> range | None:
        """Return the whole seconds of `[opened, discharged)`; None while it is open."""
        opened_s = self.admitted_s if self.opened_s is None else self.opened_s
        if opened_s is None or self.discharged_s is None:
            return None
        return range(opened_s, max(opened_s, self.discharged_s))


@dataclass(slots=True)
class SentRoom:
    """One room: its stays, its first EEG reading and who sent it, and when its EEG was spoilt on purpose (open end: None)."""

    stays: list[Stay] = field(default_factory=list)
    first_eeg_s: float | None = None
    eeg_application: str = ""
    blind: list[tuple[float, float | None]] = field(default_factory=list)

    def expected(self) -> frozenset[int] | None:
        """Return the expected seconds; None while a stay is open."""
        ranges = [stay.expected() for stay in self.stays]
        if not ranges or None in ranges:
            return None
        return frozenset(second for one in ranges if one is not None for second in one)


@dataclass(slots=True)
class Sent:
    """The whole account. Control ids are `RUN-NUMBER`: each start of the simulator is a run of its own."""

    ids: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    rooms: dict[str, SentRoom] = field(default_factory=lambda: defaultdict(SentRoom))
    first_sent_s: float | None = None
    runs: set[str] = field(default_factory=set)
    killed_runs: set[str] = field(default_factory=set)  # ended without their last line: what was under way is not in the log

    @property
    def expected(self) -> int | None:
        """How many seconds are expected of all rooms; None while one is open, or there is none."""
        seconds = [room.expected() for room in self.rooms.values()]
        if not seconds or None in seconds:
            return None
        return sum(len(one) for one in seconds if one is not None)


def run_of(control_id: str) -> str:
    """Return the run that a control id belongs to."""
    return control_id.rpartition("-")[0]


def _instant_s(event: Mapping[str, Any], name: str) -> float | None:
    text = event.get(name)
    return None if text is None else datetime.fromisoformat(text).timestamp()


def _second(event: Mapping[str, Any], name: str) -> int | None:
    at_s = _instant_s(event, name)
    return None if at_s is None else int(at_s)


def _earlier(known: int | None, told: int | None) -> int | None:
    return min((one for one in (known, told) if one is not None), default=None)


def _events(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the log's events; a line cut by a sudden end is none."""
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def sent_of(lines: Iterable[str], eeg_rooms: Iterable[str] = ()) -> Sent:
    """Return the account of a log. `eeg_rooms` are the rooms whose monitors send EEG."""
    sent, with_eeg, running = Sent(), frozenset(eeg_rooms), ""
    for event in _events(lines):
        match event.get("event"):
            case "message" | "dropped":
                running = _take_message(sent, event, running, with_eeg)
            case "admitted" | "first_observation" | "case":
                _take_stay(sent.rooms[event["room"]], event)
            case "fault":
                _take_fault(sent.rooms[event["room"]], event)
            case "end":
                running = ""
    return sent


def _take_message(sent: Sent, event: Mapping[str, Any], running: str, with_eeg: frozenset[str]) -> str:
    """Take a message that was settled or given up; return the run it belongs to."""
    control_id, run = event["control_id"], run_of(event["control_id"])
    if running and run != running:
        sent.killed_runs.add(running)
    sent.runs.add(run)
    if not event["deliveries"]:
        return run
    sent.ids.add(control_id)
    if event.get("ack") in POSITIVE:
        sent.acknowledged.add(control_id)
    first_s = _instant_s(event, "first_sent")
    if first_s is not None:
        sent.first_sent_s = first_s if sent.first_sent_s is None else min(first_s, sent.first_sent_s)
    room = sent.rooms[event["room"]]
    if room.first_eeg_s is None and event["room"] in with_eeg and event["kind"] in EEG_KINDS:
        room.first_eeg_s, room.eeg_application = _instant_s(event, "observed"), event["application"]
    return run


def _take_stay(room: SentRoom, event: Mapping[str, Any]) -> None:
    """Take what is said of a stay. A simulator that was killed admits its patients again: the stay goes on."""
    if not room.stays or (event["event"] == "admitted" and room.stays[-1].discharged_s is not None):
        room.stays.append(Stay())
    stay = room.stays[-1]
    stay.admitted_s = _earlier(stay.admitted_s, _second(event, "admitted"))
    stay.opened_s = _earlier(stay.opened_s, _second(event, "first_observation"))
    stay.discharged_s = _second(event, "discharged")


def _take_fault(room: SentRoom, event: Mapping[str, Any]) -> None:
    at_s, name = _instant_s(event, "at"), event["fault"]
    if at_s is None:
        return
    if name in BLINDING:
        room.blind.append((at_s, None))
    elif name in BLINDING.values():
        room.blind = [(begun_s, at_s if ended_s is None else ended_s) for begun_s, ended_s in room.blind]
