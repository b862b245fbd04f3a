"""What a demo ends with: was all acknowledged that was sent, was every expected second recorded, is every due minute in the EHR."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from backbone.supervisor.outbox import AUDIT, DEAD, HELD, SUMMARY, WITHHELD, Planned
from backbone.supervisor.records import Recorded

# A second without its evidence is recorded this long after its feed's latency (the scorer's grace).
GRACE_S: Final = 1.5


@dataclass(slots=True)
class Stay:
    """One room's account: which seconds are expected, and how late its feeds may be."""

    latency_s: float = 0.0
    opened_s: int | None = None
    discharged_s: int | None = None

    def expected_s(self) -> int | None:
        """Return the whole seconds of `[opened, discharged), opened by the first reading`; None while it is open."""
        if self.opened_s is None or self.discharged_s is None:
            return None
        return max(0, self.discharged_s - self.opened_s)

    def not_due_s(self, now_s: float) -> int:
        """Return how many of the expected seconds need no record yet: a slow feed may still send what they rest on."""
        return min(self.expected_s() or 0, max(0, math.ceil((self.discharged_s or 0) + self.latency_s + GRACE_S - now_s)))


@dataclass(frozen=True, slots=True)
class Expected:
    """One room's expected seconds (None: its end is not known), and how many of them need no record yet."""

    seconds: int | None
    not_due: int = 0

    def met_by(self, records: int) -> bool:
        """Tell whether so many records are right: each due second once, none twice."""
        return self.seconds is not None and self.seconds - self.not_due <= records <= self.seconds


@dataclass(frozen=True, slots=True)
class Sent:
    """The simulator's account."""

    sent: int
    acknowledged: int
    rooms: Mapping[str, Expected]

    @property
    def expected_s(self) -> int | None:
        """The expected seconds of all rooms; None when one room's end is not known."""
        seconds = [room.seconds for room in self.rooms.values()]
        return None if None in seconds else sum(one for one in seconds if one is not None)


def _instant_s(event: Mapping[str, Any], name: str) -> int | None:
    text = event.get(name)
    return None if text is None else int(datetime.fromisoformat(text).timestamp())


def _events(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the log's events; a line cut by a sudden end is none."""
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def sent_of(lines: Iterable[str], latency_of: Callable[[str], float], now_s: float) -> Sent:
    """Add up the simulator's log; `latency_of` tells how late the feed of a sending application may be. Pure."""
    sent = acknowledged = 0
    stays: defaultdict[str, Stay] = defaultdict(Stay)
    for event in _events(lines):
        match event.get("event"):
            case "message":
                sent += 1
                acknowledged += event["ack"] in {"AA", "CA"}
                stay = stays[event["room"]]
                stay.latency_s = max(stay.latency_s, latency_of(event["application"]))
            case "dropped":
                sent += event["deliveries"] > 0
            case "admitted" | "case":
                stay = stays[event["room"]]
                opened_s = _instant_s(event, "first_observation")
                stay.opened_s = _instant_s(event, "admitted") if opened_s is None else opened_s
                stay.discharged_s = _instant_s(event, "discharged")
    return Sent(sent, acknowledged, {room: Expected(stay.expected_s(), stay.not_due_s(now_s)) for room, stay in stays.items()})


@dataclass(frozen=True, slots=True)
class Written:
    """The outbox beside what a search finds in the EHR (id -> kind); None: who was asked did not answer."""

    planned: Planned | None
    found: Mapping[str, str] | None

    @property
    def agrees(self) -> bool:
        """Tell whether nothing waits, nothing was refused, and the EHR has exactly what the outbox calls done."""
        if self.planned is None or self.found is None:
            return False
        return self.planned.open == 0 and self.planned.count(HELD, DEAD) == 0 and self.found == self.planned.done

    def found_of(self, kind: str) -> int:
        """Return how many Observations of this kind the EHR has."""
        return Counter((self.found or {}).values())[kind]

    def lines(self) -> list[str]:
        """Return it for a person."""
        due, found = "not known: PostgreSQL did not answer", "not known: the EHR did not answer"
        planned = self.planned
        if planned is not None:
            waiting = f"{planned.open} waiting, {planned.count(HELD)} held, {planned.count(DEAD)} dead"
            due = f"{planned.minutes}, and {planned.audits} of {planned.cases} cases closed; {waiting}"
        if self.found is not None:
            kinds = f"{self.found_of(SUMMARY)} with a number, {self.found_of(WITHHELD)} withheld, {self.found_of(AUDIT)} audit summaries"
            found = f"{len(self.found)} Observations ({kinds})"
        return [f"minutes due         {due}", f"in the EHR          {found}"]

    def as_data(self) -> dict[str, Any]:
        """Return it for a script."""
        planned = self.planned
        return {
            "minutes_due": planned.minutes if planned else None,
            "audits_due": planned.audits if planned else None,
            "cases": planned.cases if planned else None,
            "done": len(planned.done) if planned else None,
            "waiting": planned.open if planned else None,
            "held": planned.count(HELD) if planned else None,
            "dead": planned.count(DEAD) if planned else None,
            "found": None if self.found is None else len(self.found),
            **{f"found_{name}": self.found_of(kind) for name, kind in (("scored", SUMMARY), ("withheld", WITHHELD), ("audit", AUDIT))},
            "agrees": self.agrees,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """All accounts beside each other."""

    sent: Sent
    recorded: Recorded | None
    written: Written | None = None  # None: there is no EHR in this run

    @property
    def wrong_rooms(self) -> list[str]:
        """The rooms whose due seconds are not all recorded, or that have records which nobody expects."""
        recorded = self.recorded.by_bed if self.recorded else {}
        rooms = self.sent.rooms
        wrong = {room for room, expected in rooms.items() if not expected.met_by(recorded.get(room, 0))}
        return sorted(wrong | (recorded.keys() - rooms.keys()))

    @property
    def records_agree(self) -> bool:
        """Tell whether no second is missing and none is doubled."""
        all_known = self.recorded is not None and self.sent.sent > 0
        return all_known and self.sent.sent == self.sent.acknowledged and not self.wrong_rooms

    @property
    def written_agrees(self) -> bool:
        """Tell whether the EHR agrees, and the writer knows who every recorded case is about; True without an EHR."""
        if self.written is None:
            return True
        planned, recorded = self.written.planned, self.recorded
        known = planned is not None and recorded is not None and planned.cases == recorded.cases
        return known and self.written.agrees

    @property
    def wrong(self) -> list[str]:
        """Where the accounts differ, in words."""
        return [*self.wrong_rooms, *([] if self.written_agrees else ["EHR"])]

    @property
    def agrees(self) -> bool:
        """Tell whether nothing is missing and nothing is doubled, neither in the records nor in the EHR."""
        return self.records_agree and self.written_agrees

    @property
    def open_s(self) -> int:
        """Expected seconds without a record: of slow feeds, when the accounts agree."""
        return max(0, (self.sent.expected_s or 0) - (self.recorded.records if self.recorded else 0))

    def lines(self) -> list[str]:
        """Return it for a person."""
        sent, recorded = self.sent, self.recorded
        counted = "not known: PostgreSQL did not answer"
        if recorded is not None:
            counted = (
                f"{recorded.records} (tier E {recorded.tier_e}, tier D {recorded.tier_d}, refused {recorded.refusals}) "
                f"in {recorded.cases} cases"
            )
        expected = "not known: a room was not discharged" if sent.expected_s is None else str(sent.expected_s)
        if self.records_agree and self.open_s:
            expected += f", {self.open_s} of them not due yet (slow feeds)"
        word = "they agree" if self.agrees else f"they DO NOT agree {', '.join(self.wrong)}".rstrip()
        return [
            f"messages sent       {sent.sent}",
            f"acknowledged        {sent.acknowledged}",
            f"expected seconds    {expected}",
            f"recorded            {counted}",
            *(self.written.lines() if self.written else ()),
            f"verdict: {word}",
        ]

    def as_data(self) -> dict[str, Any]:
        """Return it for a script."""
        recorded = self.recorded
        return {
            "sent": self.sent.sent,
            "acknowledged": self.sent.acknowledged,
            "expected_seconds": self.sent.expected_s,
            "open_seconds": self.open_s,
            "wrong_rooms": self.wrong_rooms,
            "recorded": recorded.records if recorded else None,
            "tier_e": recorded.tier_e if recorded else None,
            "tier_d": recorded.tier_d if recorded else None,
            "refused": recorded.refusals if recorded else None,
            "cases": recorded.cases if recorded else None,
            "ehr": self.written.as_data() if self.written else None,
            "agrees": self.agrees,
        }
