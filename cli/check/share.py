"""How much of what rooms with EEG could be scored was scored. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import ceil, floor
from typing import Final

from cli.check.sent import Sent, SentRoom

AFTER_FAULT_S: Final = 30


@dataclass(frozen=True, slots=True)
class Share:
    """Seconds of rooms with EEG after their warm-up: scored (tier E), expected, and left out because of a fault."""

    scored: int
    expected: int
    excluded: int

    @property
    def value(self) -> float:
        """The share, 0 to 1; 0 where nothing was expected."""
        return self.scored / self.expected if self.expected else 0.0


@dataclass(frozen=True, slots=True)
class MadeFault:
    """Something that was broken on purpose: when (Unix seconds), and in which room (None: everywhere)."""

    at_s: float
    room: str | None = None


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What a room needs before its first score: the model's least EEG, and how late each sending application's may be."""

    minimum_coverage_s: float
    latency_s: Mapping[str, float]

    def over_s(self, room: SentRoom) -> float | None:
        """Return the instant from which the room should be scored; None without EEG."""
        if room.first_eeg_s is None:
            return None
        return room.first_eeg_s + self.minimum_coverage_s + self.latency_s.get(room.eeg_application, 0.0)


def _left_out(room: SentRoom, faults: Iterable[MadeFault], seconds: Collection[int]) -> set[int]:
    """Return the seconds that a fault spoils: until 30 s after it, and for a pulled plug until 30 s after it is in again."""
    spans: list[tuple[float, float | None]] = [*((fault.at_s, fault.at_s) for fault in faults), *room.blind]
    spoilt: set[int] = set()
    for begun_s, ended_s in spans:
        until_s = float("inf") if ended_s is None else ended_s + AFTER_FAULT_S
        spoilt |= {second for second in seconds if floor(begun_s) <= second < until_s}
    return spoilt


def share_of(sent: Sent, scored: Mapping[str, Collection[int]], warm_up: WarmUp, faults: Collection[MadeFault]) -> Share:
    """Return the share; `scored` are each room's tier E seconds."""
    scored_s = expected_s = excluded_s = 0
    for name, room in sent.rooms.items():
        expected, from_s = room.expected(), warm_up.over_s(room)
        if expected is None or from_s is None:
            continue
        warm = {second for second in expected if second >= ceil(from_s)}
        spoilt = _left_out(room, [fault for fault in faults if fault.room in {None, name}], warm)
        counted = warm - spoilt
        scored_s += len(counted.intersection(scored.get(name, ())))
        expected_s += len(counted)
        excluded_s += len(spoilt)
    return Share(scored_s, expected_s, excluded_s)
