"""The readings of one bed: what arrived, when, and whether it is enough for a second. Pure."""

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from typing import Generic, TypeVar

from anesthesia.case import instant_of
from anesthesia.limits import Limits
from anesthesia.occupancy import Occupancy
from anesthesia.reading import Frame, Numeric, Waveform
from anesthesia.signal import DEVICE_INDICES, SIGNALS
from anesthesia.window import SPAN_S, Bool, Float32, eeg_grid

KEPT_S = SPAN_S + 30  # behind the oldest second that has no record yet; of each Signal the newest before that stays, however old
FUTURE_S = 2.0  # a reading from further ahead than this comes from a clock that cannot be trusted

R = TypeVar("R", Numeric, Waveform)


def begin_of(reading: Numeric | Waveform) -> datetime:
    """Return the corrected instant of a Numeric, or of a Waveform's first sample."""
    return reading.observed_at if isinstance(reading, Numeric) else reading.start


def end_of(reading: Numeric | Waveform) -> datetime:
    """Return the corrected instant of a Numeric, or the end of a Waveform."""
    return reading.observed_at if isinstance(reading, Numeric) else reading.end


@dataclass(frozen=True, slots=True)
class Timed(Generic[R]):
    """A Reading with what its feed promised and when the journal had it."""

    reading: R
    received_at: datetime
    interval_s: float
    latency_s: float


def _begin(timed: "Timed[Numeric] | Timed[Waveform]") -> datetime:
    return begin_of(timed.reading)


@dataclass(frozen=True, slots=True)
class Leading:
    """The feed that a second waits for: EEG while it lives, else the device index, else the fastest numerics."""

    interval_s: float
    latency_s: float
    complete_at: datetime | None  # receipt of the reading that covered the second; None: not covered
    eeg: bool = False
    dead: bool = False  # no feed of this bed lives any more


@dataclass
class BedReadings:
    """Buffers of one bed, each sorted by observation time; bounded by `forget_before`."""

    numerics: dict[str, list[Timed[Numeric]]] = field(default_factory=dict)
    waveforms: dict[str, list[Timed[Waveform]]] = field(default_factory=dict)
    clock_doubt_at: datetime | None = None
    simulated_sources: dict[str, bool] = field(default_factory=dict)

    @property
    def simulated(self) -> bool:
        """Tell whether any feed of the bed sends simulated data."""
        return any(self.simulated_sources.values())

    def add(self, frame: Frame) -> None:
        """Take the readings of one Frame."""
        self.simulated_sources[frame.source] = frame.simulated
        for reading in frame.readings:
            if (end_of(reading) - frame.received_at).total_seconds() > FUTURE_S:
                self.clock_doubt_at = frame.received_at
                continue
            match reading:
                case Numeric():
                    timed = Timed(reading, frame.received_at, frame.interval_s, frame.latency_s)
                    insort(self.numerics.setdefault(reading.signal, []), timed, key=_begin)
                case Waveform():
                    packet = Timed(reading, frame.received_at, frame.interval_s, frame.latency_s)
                    insort(self.waveforms.setdefault(reading.signal, []), packet, key=_begin)

    def forget_before(self, second: int) -> None:
        """Drop what no window at or after `second` can need, so that no answer about such a second changes.

        The newest Reading of each Signal stays: it says since when the others are missing.
        """
        horizon = instant_of(second - KEPT_S)
        for packets in self.waveforms.values():
            while len(packets) > 1 and packets[1].reading.start < horizon:
                del packets[0]
        for series in self.numerics.values():
            while len(series) > 1 and series[1].reading.observed_at < horizon:
                del series[0]

    def first_in(self, occupancy: Occupancy) -> datetime | None:
        """Return the instant of the earliest kept reading inside the Occupancy."""
        return min((at for at in self._begins() if occupancy.covers(at)), default=None)

    def eeg_end(self, before: datetime) -> datetime | None:
        """Return where the newest EEG ends that began before an instant."""
        ends = [next((t.reading.end for t in reversed(packets) if t.reading.start < before), None) for packets in self.waveforms.values()]
        return max((end for end in ends if end is not None), default=None)

    def fresh_numerics(self, occupancy: Occupancy, second: int, limits: Limits) -> dict[str, Timed[Numeric]]:
        """Return the newest usable Numeric of each Signal inside the Occupancy, before the second's end and not stale then."""
        end = instant_of(second + 1)
        found = {}
        for name, series in self.numerics.items():
            newest = next((t for t in reversed(series) if t.reading.observed_at < end), None)
            # The newest word counts: when it is "no value", an older value must not stand in for it.
            if newest is None or not newest.reading.usable or not occupancy.covers(newest.reading.observed_at):
                continue
            slowest_s = max(newest.interval_s, SIGNALS[name].usual_interval_s)
            if (end - newest.reading.observed_at).total_seconds() <= limits.intervals_until_stale * slowest_s:
                found[name] = newest
        return found

    def eeg(self, occupancy: Occupancy, second: int) -> tuple[Float32, Bool]:
        """Return EEG and mask of the window, from readings inside the Occupancy (see `eeg_grid`)."""
        packets = {name: [t.reading for t in series] for name, series in self.waveforms.items()}
        return eeg_grid(packets, second, not_before=occupancy.start.timestamp())

    def leading(self, second: int, limits: Limits) -> Leading | None:
        """Return the feed that this second waits for, and whether it has covered the second; None: no reading at all."""
        end = instant_of(second + 1)
        eeg = [packets[-1] for packets in self.waveforms.values() if packets]
        if any((end - t.reading.end).total_seconds() <= limits.waveform_dead_after_s for t in eeg):
            packet = max(eeg, key=_begin)
            return Leading(packet.interval_s, packet.latency_s, self._eeg_covering(end), eeg=True)
        for names in (DEVICE_INDICES, tuple(self.numerics)):
            alive = [t for name in names for t in self.numerics.get(name, ())[-1:] if self._lives(t, end, limits)]
            if alive:
                fastest = min(alive, key=lambda t: t.interval_s)
                return Leading(fastest.interval_s, fastest.latency_s, self._numeric_covering(names, instant_of(second)))
        newest: list[Timed[Numeric] | Timed[Waveform]] = [*eeg, *(series[-1] for series in self.numerics.values() if series)]
        last = max(newest, key=lambda t: t.received_at, default=None)
        return None if last is None else Leading(last.interval_s, last.latency_s, None, dead=True)

    @staticmethod
    def _lives(timed: Timed[Numeric], end: datetime, limits: Limits) -> bool:
        return (end - timed.reading.observed_at).total_seconds() <= limits.intervals_until_stale * timed.interval_s

    def _eeg_covering(self, end: datetime) -> datetime | None:
        """Return the receipt of the first packet that reached `end`, or None."""
        covering = [
            t.received_at
            for packets in self.waveforms.values()
            for t in takewhile(lambda timed: timed.reading.end >= end, reversed(packets))
        ]
        return min(covering, default=None)

    def _numeric_covering(self, names: tuple[str, ...], start: datetime) -> datetime | None:
        """Return the receipt of the first numeric observed at or after `start`: in order, nothing earlier is to come."""
        covering = [
            t.received_at
            for name in names
            for t in takewhile(lambda timed: timed.reading.observed_at >= start, reversed(self.numerics.get(name, ())))
        ]
        return min(covering, default=None)

    def _begins(self) -> Iterator[datetime]:
        for packets in self.waveforms.values():
            for packet in packets:
                yield packet.reading.start
        for series in self.numerics.values():
            for timed in series:
                yield timed.reading.observed_at
