"""What a demo ends with: whether what was sent was acknowledged, and whether every expected second was recorded."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from backbone.supervisor.records import Recorded

# A second without its evidence is recorded this long after its feed's latency (the scorer's grace).
GRACE_S: Final = 1.5


@dataclass(slots=True)
class Stay:
    """One room's account: which seconds are expected, and how late its feeds may be."""

    latency_s: float = 0.0
    admitted_s: int | None = None
    discharged_s: int | None = None

    def expected_s(self) -> int | None:
        """Return the whole seconds of `[admitted, discharged)`; None while it is open."""
        if self.admitted_s is None or self.discharged_s is None:
            return None
        return max(0, self.discharged_s - self.admitted_s)

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
                stay.admitted_s, stay.discharged_s = _instant_s(event, "admitted"), _instant_s(event, "discharged")
    return Sent(sent, acknowledged, {room: Expected(stay.expected_s(), stay.not_due_s(now_s)) for room, stay in stays.items()})


@dataclass(frozen=True, slots=True)
class Verdict:
    """Both accounts beside each other."""

    sent: Sent
    recorded: Recorded | None

    @property
    def wrong_rooms(self) -> list[str]:
        """The rooms whose due seconds are not all recorded, or that have records which nobody expects."""
        recorded = self.recorded.by_bed if self.recorded else {}
        rooms = self.sent.rooms
        wrong = {room for room, expected in rooms.items() if not expected.met_by(recorded.get(room, 0))}
        return sorted(wrong | (recorded.keys() - rooms.keys()))

    @property
    def agrees(self) -> bool:
        """Tell whether nothing is missing and nothing is doubled."""
        all_known = self.recorded is not None and self.sent.sent > 0
        return all_known and self.sent.sent == self.sent.acknowledged and not self.wrong_rooms

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
        if self.agrees and self.open_s:
            expected += f", {self.open_s} of them not due yet (slow feeds)"
        word = "they agree" if self.agrees else f"they DO NOT agree {', '.join(self.wrong_rooms)}".rstrip()
        return [
            f"messages sent       {sent.sent}",
            f"acknowledged        {sent.acknowledged}",
            f"expected seconds    {expected}",
            f"recorded            {counted}",
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
            "agrees": self.agrees,
        }
