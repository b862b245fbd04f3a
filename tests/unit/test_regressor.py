"""The 14 numbers on signals whose spectra are known, and that no baseline is told of the case it speaks of."""

from dataclasses import replace

import numpy as np
import pytest

from training import baselines
from training.datasets import SAMPLES_PER_LABEL, Recording
from training.regressor import EPOCH, FEATURES, epochs_of, features_of, regressor_of


def sine(hertz: float, amplitude: float = 20.0) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(EPOCH) / 128)


def recording(case: str, seed: int, minutes: int = 6) -> Recording:
    """EEG whose 10 Hz part grows as the index falls from 95 to 40."""
    rng, samples = np.random.default_rng(seed), minutes * 7680
    index = np.linspace(95, 40, int(samples / SAMPLES_PER_LABEL)).astype(np.float32)
    ends = np.floor((np.arange(index.size) + 1) * SAMPLES_PER_LABEL).astype(np.int64)
    depth = np.interp(np.arange(samples), ends, index)
    wave = (100 - depth) / 4 * np.sin(2 * np.pi * 10 * np.arange(samples) / 128)
    return Recording(case, (wave + rng.normal(0, 4, samples)).astype(np.float32), ends, index, f"hash of {case}")


@pytest.fixture(scope="module")
def recordings() -> tuple[Recording, ...]:
    return tuple(recording(f"case{number:02d}", number) for number in range(1, 5))


def test_an_alpha_wave_is_a_peak_at_its_frequency_in_its_band():
    features = features_of((sine(10.0) + np.random.default_rng(1).normal(0, 1, EPOCH))[None])[0]

    assert features.shape == (FEATURES,)
    assert features[3] == pytest.approx(np.log10(20 / np.sqrt(2)), abs=0.02)  # amplitude of alpha
    assert features[6] == 10.0
    assert features[7] > 20
    assert features[9] == pytest.approx(10.0, abs=0.5)  # SEF50
    assert features[12] == 0.0


def test_half_an_epoch_of_silence_is_half_quiet():
    eeg = np.where(np.arange(EPOCH) < EPOCH // 2, 0.0, sine(8.0))

    assert features_of(eeg[None])[0, 12] == pytest.approx(0.5)


def test_the_slope_of_the_spectrum_is_found():
    spectrum = np.fft.rfft(np.random.default_rng(2).normal(size=20 * EPOCH))
    frequency = np.fft.rfftfreq(20 * EPOCH, 1 / 128)
    brown = np.fft.irfft(spectrum / np.maximum(frequency, 0.5), 20 * EPOCH).reshape(20, EPOCH)

    assert features_of(20 * brown / brown.std())[:, 8].mean() == pytest.approx(-2.0, abs=0.1)


def test_one_spike_moves_the_features_little():
    eeg = sine(10.0) + np.random.default_rng(3).normal(0, 2, EPOCH)
    spiked = eeg.copy()
    spiked[1000:1020] += 400

    assert np.abs(features_of(spiked[None]) - features_of(eeg[None])).max() < 0.6


def test_an_epoch_at_the_rail_is_left_out_and_labels_are_averaged(recordings):
    clean = recordings[0]
    clipped = replace(clean, eeg=np.clip(clean.eeg, -9.0, 9.0))

    assert epochs_of(clean).index.size == 12
    assert 0 < epochs_of(clipped).index.size < 12
    inside = (clean.ends > EPOCH) & (clean.ends <= 2 * EPOCH)
    assert epochs_of(clean).index[1] == pytest.approx(clean.index[inside].mean())


def test_the_regressor_learns_what_the_eeg_tells(recordings):
    fitted = regressor_of([epochs_of(one) for one in recordings[:3]], seed=1)

    said = fitted.at_labels(recordings[3])

    assert np.isnan(said).tolist() == (recordings[3].ends < EPOCH).tolist()
    assert np.nanmean(np.abs(said - recordings[3].index)) < 6


def test_no_baseline_learns_from_the_case_it_speaks_of(recordings):
    other = replace(recordings[0], index=(recordings[0].index[::-1] / 2).copy())

    before = baselines.baselines_of(recordings, recordings, seed=1)
    after = baselines.baselines_of((other, *recordings[1:]), (other, *recordings[1:]), seed=1)

    for name in ("constant", "regressor", "openibis"):
        assert np.array_equal(before[name].said[0].value, after[name].said[0].value, equal_nan=True), name
    assert not np.array_equal(before["constant"].said[1].value, after["constant"].said[1].value)


def test_a_copy_of_a_case_under_another_name_is_not_fitted_on(recordings):
    copy = replace(recordings[0], case="case99")

    alone = baselines.constant(recordings[:1], (copy,))

    assert np.isnan(alone.said[0].value).all()


def test_persistence_is_the_index_of_a_minute_ago(recordings):
    said = baselines.persistence(recordings).said[0]

    late = said.at_s >= 70
    ago = np.interp(said.at_s[late] - 60, said.at_s, said.reference)
    assert np.isnan(said.value[said.at_s < 60]).all()
    assert said.value[late] == pytest.approx(ago, abs=1.0)
    assert (said.value[late] >= ago - 1e-3).all()  # the index falls: what was known a minute ago is no lower


def test_without_drugs_there_is_no_surface(recordings):
    assert baselines.plainly(baselines.baselines_of(recordings, recordings, seed=1)["pkpd_surface"]) is None
