"""EEG measures on signals whose answers are known."""

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from anesthesia import eeg
from anesthesia.errors import BadValue

RATE_HZ = 128.0
TIME_S = np.arange(int(63 * RATE_HZ)) / RATE_HZ
ALL = np.ones(TIME_S.size, bool)
RNG = np.random.default_rng(5)
NOISE = np.random.default_rng(6).normal(0, 10, TIME_S.size)


def test_a_sine_of_ten_hertz_is_alpha_power_of_half_its_squared_amplitude():
    powers = eeg.band_powers(20 * np.sin(2 * np.pi * 10 * TIME_S), ALL, RATE_HZ)

    assert powers["alpha"] == pytest.approx(200, rel=0.01)
    assert sum(powers.values()) - powers["alpha"] < 1


def test_the_spectral_edge_of_white_noise_is_95_percent_of_the_way():
    edge = eeg.spectral_edge_hz(NOISE, ALL, RATE_HZ)

    assert edge == pytest.approx(0.5 + 0.95 * 46.5, abs=1.0)


def test_without_a_whole_frame_there_is_no_spectrum():
    mask = np.zeros(TIME_S.size, bool)
    mask[:200] = True

    assert eeg.band_powers(NOISE, mask, RATE_HZ) == {}
    assert eeg.spectral_edge_hz(NOISE, mask, RATE_HZ) is None
    assert eeg.emg_db(NOISE, mask, RATE_HZ) is None


def test_masked_samples_change_nothing():
    mask = (TIME_S < 20) | (TIME_S >= 30)
    spoiled = np.where(mask, NOISE, 3000.0)

    for measure in (eeg.band_powers, eeg.spectral_edge_hz, eeg.suppression_ratio, eeg.is_flat, eeg.cautery_share, eeg.emg_db):
        assert measure(spoiled, mask, RATE_HZ) == measure(np.where(mask, NOISE, 0.0), mask, RATE_HZ)
    assert eeg.clipped_share(spoiled, mask) == eeg.clipped_share(np.where(mask, NOISE, 0.0), mask)


def test_suppression_is_the_share_of_quiet_runs():
    bursts = np.where((TIME_S % 3) < 1, 40 * np.sin(2 * np.pi * 9 * TIME_S), 1.0 * np.sin(2 * np.pi * 9 * TIME_S))

    assert eeg.suppression_ratio(bursts, ALL, RATE_HZ) == pytest.approx(66.7, abs=1.5)


def test_an_electrode_offset_does_not_hide_suppression():
    quiet = np.sin(2 * np.pi * 9 * TIME_S) + 60.0

    assert eeg.suppression_ratio(quiet, ALL, RATE_HZ) == pytest.approx(100)


def test_a_silence_shorter_than_half_a_second_is_no_suppression():
    bursts = np.where((TIME_S % 1) < 0.6, 40 * np.sin(2 * np.pi * 10 * TIME_S), 0.0)

    assert eeg.suppression_ratio(bursts, ALL, RATE_HZ) == 0


def test_a_flat_line_is_flat_and_one_live_second_is_not():
    assert eeg.is_flat(np.full(TIME_S.size, 17.0), ALL, RATE_HZ)
    assert not eeg.is_flat(np.where(TIME_S < 1, NOISE, 0.0), ALL, RATE_HZ)


def test_without_a_real_sample_nothing_is_claimed():
    none = np.zeros(TIME_S.size, bool)

    claims = (eeg.is_flat(NOISE, none, RATE_HZ), eeg.clipped_share(NOISE, none), eeg.cautery_share(NOISE, none, RATE_HZ))

    assert claims == (False, 0.0, 0.0)


def test_samples_at_the_rail_are_counted_and_a_single_peak_is_not():
    wide = 100 * np.sin(2 * np.pi * 0.9 * TIME_S)
    clipped = np.clip(wide, -62.5, 62.5)

    share = eeg.clipped_share(clipped, ALL)

    assert share == pytest.approx(float((np.abs(clipped) == 62.5).mean()), abs=0.01)
    assert eeg.clipped_share(NOISE, ALL) == 0
    assert eeg.clipped_share(np.zeros(TIME_S.size), ALL) == 0


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_cautery_is_found_by_its_share_of_seconds(share):
    brain = 15 * np.sin(2 * np.pi * 9 * TIME_S) + RNG.normal(0, 2, TIME_S.size)
    burning = (TIME_S >= 1) & (1 + round(63 * share) > TIME_S)

    found = eeg.cautery_share(brain + burning * RNG.normal(0, 60, TIME_S.size), ALL, RATE_HZ)

    assert found == pytest.approx(round(63 * share) / 63, abs=0.05)


def test_muscle_is_not_cautery():
    muscle = 15 * np.sin(2 * np.pi * 2 * TIME_S) + RNG.normal(0, 8, TIME_S.size)

    assert eeg.cautery_share(muscle, ALL, RATE_HZ) == 0


def test_more_muscle_reads_as_more_decibel():
    quiet, loud = (eeg.emg_db(RNG.normal(0, sigma, TIME_S.size), ALL, RATE_HZ) for sigma in (1.0, 10.0))

    assert loud - quiet == pytest.approx(20, abs=0.5)


@pytest.mark.parametrize(("seconds", "rate_hz"), [(63.0, 128.0), (62.99, 128.0), (1.0, 128.0), (20.0, 250.0), (2.0, 1000.0), (1.0, 64.0)])
def test_what_lies_above_20_hz_is_what_scipys_filter_passes(seconds, rate_hz):
    drifting = np.cumsum(np.random.default_rng(7).normal(0, 30, round(seconds * rate_hz))) + 500.0

    passed = eeg._fast(drifting, rate_hz)

    assert passed == pytest.approx(sosfiltfilt(butter(4, 20.0, "highpass", fs=rate_hz, output="sos"), drifting), abs=1e-9)


def test_a_rate_that_cannot_hold_a_burst_is_refused():
    with pytest.raises(BadValue, match="40 Hz"):
        eeg.cautery_share(NOISE, ALL, 40.0)


def test_another_shape_of_mask_is_refused():
    with pytest.raises(BadValue):
        eeg.band_powers(NOISE, ALL[:-1], RATE_HZ)
