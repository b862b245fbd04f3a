"""Frames and Occupancies as a theatre would produce them, for tests."""

from datetime import UTC, datetime, timedelta

import numpy as np

from anesthesia.occupancy import Covariates, Occupancy, case_id_of
from anesthesia.reading import Bed, Frame, Numeric, Origin, Waveform

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = int(START.timestamp())
BED = Bed("site", "OR 1")
_rng = np.random.default_rng(1)
NOISE = np.round(_rng.normal(0, 200, 128)).astype(np.int16)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def occupancy(*, start: float = 0, end: float | None = None, name: str = "p1", bed: Bed = BED, age: int | None = 50, **rest) -> Occupancy:
    return Occupancy(
        bed,
        case_id_of(bed, name, at(start)),
        name,
        at(start),
        None if end is None else at(end),
        theatre=rest.pop("theatre", True),
        covariates=Covariates(age_years=age),
        **rest,
    )


def eeg(second: float, samples=None, channel: str = "eeg_1") -> Waveform:
    return Waveform(channel, at(second), 128.0, NOISE if samples is None else samples, 0.05)


def numeric(signal: str, value: float | None, second: float) -> Numeric:
    return Numeric(signal, value, at(second))


def frame(*readings, received: float, interval: float = 1.0, latency: float = 1.0, **rest) -> Frame:
    """One Frame; `received` in seconds after START."""
    origin = Origin("listener-1", "g", int(received * 1000), 0)
    bed, source = rest.pop("bed", BED), rest.pop("source", "monitor")
    return Frame(bed, source, readings, at(received), origin, interval_s=interval, latency_s=latency, **rest)
