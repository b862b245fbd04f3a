"""EEG on its grid, with masks, inside one Occupancy, without a look ahead."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anesthesia.errors import BadValue
from anesthesia.occupancy import Covariates
from anesthesia.reading import Numeric, Waveform
from anesthesia.window import EEG_RATE_HZ, SPAN_S, SPAN_SAMPLES, Window, eeg_grid

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = int(START.timestamp())


def packet(second: float, *, value: int = 100, rate: float = 128.0, n: int | None = None) -> Waveform:
    samples = np.full(n or int(rate), value, np.int16)
    return Waveform("eeg_1", START + timedelta(seconds=second), rate, samples, 0.1)


def window(**changes) -> Window:
    fields = {
        "case_id": UUID(int=1),
        "second": SECOND,
        "eeg_microvolt": np.zeros((2, SPAN_SAMPLES), np.float32),
        "mask": np.zeros((2, SPAN_SAMPLES), np.bool_),
        "numerics": {},
        "covariates": Covariates(),
    }
    return Window(**(fields | changes))


def test_a_second_of_eeg_fills_exactly_its_part_of_the_grid():
    eeg, mask = eeg_grid({"eeg_1": [packet(0)]}, SECOND, not_before=0.0)

    assert mask[0].sum() == EEG_RATE_HZ
    assert mask[0, -EEG_RATE_HZ:].all()
    assert eeg[0, -1] == pytest.approx(10.0)
    assert not mask[1].any()


def test_a_window_never_looks_past_its_second():
    _, mask = eeg_grid({"eeg_1": [packet(1), packet(2)]}, SECOND, not_before=0.0)

    assert not mask.any()


def test_a_gap_is_masked_never_filled():
    eeg, mask = eeg_grid({"eeg_1": [packet(-2), packet(0)]}, SECOND, not_before=0.0)

    gap = slice(-2 * EEG_RATE_HZ, -EEG_RATE_HZ)
    assert not mask[0, gap].any()
    assert (eeg[0, gap] == 0).all()


def test_eeg_of_the_patient_before_never_enters():
    _, mask = eeg_grid({"eeg_1": [packet(-1), packet(0)]}, SECOND, not_before=SECOND + 0.5)

    assert mask[0].sum() == EEG_RATE_HZ // 2


def test_another_rate_is_resampled_to_the_grid():
    rate = 250.0
    t = np.arange(int(rate * 10)) / rate
    wave = np.round(500 * np.sin(2 * np.pi * 10 * t)).astype(np.int16)
    packets = [Waveform("eeg_1", START + timedelta(seconds=k - 9), rate, wave[k * 250 : (k + 1) * 250], 0.1) for k in range(10)]

    eeg, mask = eeg_grid({"eeg_1": packets}, SECOND, not_before=0.0)

    inside = eeg[0, -5 * EEG_RATE_HZ : -EEG_RATE_HZ]
    expected = 50 * np.sin(2 * np.pi * 10 * (np.arange(inside.size) / EEG_RATE_HZ + 5))
    assert mask[0].sum() == 10 * EEG_RATE_HZ
    assert np.abs(inside - expected).max() < 1.0


@given(st.lists(st.floats(-70, 5), max_size=30))
def test_any_set_of_packets_keeps_shape_and_mask_in_step(starts):
    eeg, mask = eeg_grid({"eeg_1": [packet(s) for s in starts]}, SECOND, not_before=SECOND - 20.0)

    assert eeg.shape == mask.shape == (2, SPAN_SAMPLES)
    assert (eeg[~mask] == 0).all()
    assert not mask[:, : (SPAN_S - 21) * EEG_RATE_HZ].any()


def test_coverage_counts_the_better_channel():
    mask = np.zeros((2, SPAN_SAMPLES), np.bool_)
    mask[1, -64:] = True

    assert window(mask=mask).covered_s(1) == pytest.approx(0.5)


def test_every_input_changes_the_hash():
    plain = window()
    eeg = plain.eeg_microvolt.copy()
    eeg[0, 5] = 1e-3
    mask = plain.mask.copy()
    mask[1, 7] = True
    numeric = Numeric("bis", 44.0, START)

    hashes = {
        w.input_hash
        for w in (
            plain,
            window(eeg_microvolt=eeg),
            window(mask=mask),
            window(numerics={"bis": numeric}),
            window(covariates=Covariates(age_years=40)),
            window(adaptation_state=b"x"),
            window(second=SECOND + 1),
            window(case_id=UUID(int=2)),
        )
    }

    assert len(hashes) == 8


def test_a_wrong_shape_is_refused():
    with pytest.raises(BadValue, match="shape"):
        window(mask=np.zeros((1, 5), np.bool_))
