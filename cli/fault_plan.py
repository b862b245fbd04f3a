"""When a check breaks what: `--fault NAME` as moments after the first message. No clock, no process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from anesthesia.errors import SoporError
from cli.check.sent import BLINDING
from cli.faults import KILL, NAMED, START_EHR, STOP_EHR, kind_of

KILL_EACH: Final = "kill_each"
APART_S: Final = 45.0  # also before the first, and after the last: what was broken is whole again by then
EHR_AWAY_S: Final = 60.0
BLIND_S: Final = 10.0
KILL_EACH_NEEDS_S: Final = 600.0
TRIED_S: Final = 20.0


class TooShort(SoporError):
    """So many faults do not fit into the time; the text says how long it must be."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One fault: seconds after the first message, its name, its room where it has one."""

    at_s: float
    fault: str
    room: str | None = None


def _named(names: Sequence[str]) -> list[str]:
    """Return the faults that are meant: `kill-each` is each process in turn."""
    each = [name for name in NAMED if name.startswith(KILL)]
    spelled = [name.replace("-", "_") for name in names]
    return [one for name in spelled for one in (each if name == KILL_EACH else [name])]


def _parts(fault: str, room: str | None) -> list[tuple[float, str]]:
    """Return a fault and what ends it, as (seconds after the first of them, fault)."""
    kind_of(fault, room)
    if fault == STOP_EHR:
        return [(0.0, fault), (EHR_AWAY_S, START_EHR)]
    if fault in BLINDING:
        return [(0.0, fault), (BLIND_S, BLINDING[fault])]
    return [(0.0, fault)]


def moments_of(names: Sequence[str], seconds: float, rooms: Sequence[str]) -> tuple[Moment, ...]:
    """Return what happens when, 45 s apart. Faults of a room take the rooms in turn. BadFault for an unknown one, TooShort."""
    moments: list[Moment] = []
    at_s, in_turn = APART_S, cycle(rooms)
    for fault in _named(names):
        room = next(in_turn) if fault in NAMED and NAMED[fault].in_room else None
        parts = _parts(fault, room)
        moments += [Moment(at_s + after_s, part, room) for after_s, part in parts]
        at_s += parts[-1][0] + APART_S
    needed_s = max([at_s if moments else 0.0, *(KILL_EACH_NEEDS_S for name in names if name.replace("-", "_") == KILL_EACH)])
    if seconds < needed_s:
        raise TooShort(f"these faults take {needed_s:g} s of sending: give --seconds {needed_s:g} or more")
    return tuple(moments)


class Schedule:
    """Lets each moment's fault happen when it is due; call `turn` often. One that cannot happen is tried again for a while."""

    def __init__(self, moments: Sequence[Moment], do: Callable[[str, str | None], str]) -> None:
        """Take the plan, and what lets a fault happen (SoporError: it could not)."""
        self._moments, self._do = list(moments), do
        self.not_made: list[str] = []

    def turn(self, since_s: float) -> str | None:
        """Do the next fault if it is due, so long after the first message; return what was done."""
        if not self._moments or since_s < self._moments[0].at_s:
            return None
        moment = self._moments[0]
        try:
            told = self._do(moment.fault, moment.room)
        except SoporError as fault:
            if since_s < moment.at_s + TRIED_S:
                return None
            told = f"{moment.fault}: not done, {fault}"
            self.not_made.append(told)
        del self._moments[0]
        return told

    def give_up(self) -> None:
        """Note what did not happen any more."""
        self.not_made += [f"{moment.fault}: not done, the sending ended before" for moment in self._moments]
        self._moments.clear()
