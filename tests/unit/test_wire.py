"""Vocabulary to bytes and back."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anesthesia.case import Phase
from anesthesia.errors import BadWire
from anesthesia.occupancy import Covariates, Occupancy
from anesthesia.prediction import (
    Caveat,
    DeviceIndex,
    Evidence,
    ExpectedSecond,
    ModelUsed,
    Prediction,
    Refusal,
    RefusalReason,
    Tier,
    state_of,
)
from anesthesia.reading import Bed, Frame, Numeric, Origin, Status, TimeSource, Waveform
from anesthesia.signal import SIGNALS, Kind
from backbone.wire import instant, microseconds, pack_entry, pack_record, unpack_entry, unpack_record

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BED = Bed("site", "OR 1")
CASE = UUID(int=7)

instants = st.datetimes(timezones=st.just(UTC)).filter(lambda at: 1990 < at.year < 2090)
fractions = st.floats(0, 1)


@st.composite
def numerics(draw):
    signal = draw(st.sampled_from([s for s in SIGNALS.values() if s.kind is Kind.NUMERIC]))
    status = draw(st.sampled_from(list(Status)))
    low, high = signal.believable
    value = low + draw(fractions) * (high - low) if status is not Status.UNAVAILABLE else None
    return Numeric(signal.name, value, draw(instants), status, draw(st.sampled_from(list(TimeSource))))


@st.composite
def frames(draw):
    count = draw(st.integers(0, 4))
    samples = np.array(draw(st.lists(st.integers(-32768, 32767), min_size=1, max_size=300)), np.int16)
    wave = Waveform("eeg_1", draw(instants), 128.0, samples, 0.05)
    readings = tuple(draw(numerics()) for _ in range(count))
    return Frame(BED, "monitor", (*readings, wave), draw(instants), Origin("l", "g", draw(st.integers(0, 2**50)), 0), "d", 1.5)


def same(a: Frame, b: Frame) -> bool:
    waves = [(x.samples.tolist(), x.start, x.scale, x.rate_hz) for x in a.readings if isinstance(x, Waveform)]
    others = [(x.samples.tolist(), x.start, x.scale, x.rate_hz) for x in b.readings if isinstance(x, Waveform)]
    plain = [x for x in a.readings if isinstance(x, Numeric)] == [x for x in b.readings if isinstance(x, Numeric)]
    return waves == others and plain and (a.bed, a.received_at, a.origin) == (b.bed, b.received_at, b.origin)


@given(frames())
def test_a_frame_comes_back_as_it_went(frame):
    assert same(unpack_entry(pack_entry(frame)), frame)


@given(instants)
def test_an_instant_keeps_its_microsecond(at):
    assert instant(microseconds(at)) == at


def test_an_occupancy_comes_back_as_it_went():
    occupancy = Occupancy(
        BED,
        CASE,
        "abc",
        NOON,
        NOON + timedelta(hours=1),
        theatre=True,
        covariates=Covariates(44, "F", None, 61.5),
        sealed_identity=b"\x00x",
    )

    assert unpack_entry(pack_entry(occupancy)) == occupancy


@pytest.mark.parametrize("reason", list(RefusalReason))
def test_every_refusal_comes_back_as_it_went(reason):
    evidence = Evidence(NOON, None, b"h" * 32, 1.0, 10.0)
    index = DeviceIndex("bis", 71.0, NOON)
    refusal = Refusal(ExpectedSecond(CASE, BED, 5, simulated=True), reason, evidence, None, index, 44.5, 12.0)

    assert unpack_record(pack_record(refusal)) == refusal


@pytest.mark.parametrize("tier", [Tier.E, Tier.D])
def test_a_prediction_comes_back_as_it_went(tier):
    evidence = Evidence(NOON, NOON, b"h" * 32, 1.0, 10.0)
    index = DeviceIndex("bis", 46.0, NOON)
    of = ExpectedSecond(CASE, BED, 5, phase=Phase.MAINTENANCE)
    reason = RefusalReason.NO_EEG if tier is Tier.D else None
    prediction = Prediction(
        of, tier, 46.0, 40.0, 55.0, evidence, state_of(46.0), (Caveat.ELDERLY,), ModelUsed("m@1.0.0", "ab"), reason, index, None, 0.4
    )

    assert unpack_record(pack_record(prediction)) == prediction


@given(st.binary(max_size=200))
def test_foreign_bytes_raise_nothing_but_bad_wire(data):
    for unpack in (unpack_entry, unpack_record):
        try:
            unpack(data)
        except BadWire:
            continue


def test_an_empty_entry_is_bad_wire():
    with pytest.raises(BadWire):
        unpack_entry(b"")
