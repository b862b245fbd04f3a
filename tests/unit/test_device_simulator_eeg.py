"""The simulated EEG against the band table of the recordings, and its continuity, rails and reproducibility."""

import numpy as np
import pytest

from services.device_simulator.eeg import RAIL_MICROVOLT, EegGenerator, eeg_of, suppression_of

EPOCH_S, EPOCHS = 30, 24
BANDS_HZ = ((1.0, 4.0), (4.0, 8.0), (8.0, 13.0), (13.0, 30.0), (30.0, 47.0))
# Median band RMS in uV and median total RMS by BIS range: recordings of figshare 5589841 (24 patients, 30 s epochs).
TABLE = {
    25: ((9.3, 8.7, 5.7, 3.1, 0.9), 15.7),
    35: ((8.3, 7.1, 4.8, 2.9, 0.9), 14.1),
    45: ((5.4, 5.1, 5.3, 3.3, 0.9), 11.1),
    55: ((4.4, 4.4, 6.2, 4.2, 1.1), 11.8),
    65: ((3.1, 3.2, 4.5, 4.3, 1.3), 10.0),
    75: ((3.2, 2.8, 3.1, 3.7, 1.9), 9.3),
    92: ((5.9, 3.5, 2.6, 3.0, 2.3), 13.1),
}
# Each band's median over patients within a factor 1.45 (3.2 dB) of the table. The table's own inter-quartile range of total RMS
# spans a factor 1.3 to 2; the generator was fitted to the 16 of those patients that may be used, the table has all 24.
TOLERANCE = 1.45


def epochs_at(depth: float) -> np.ndarray:
    """Return one 30 s epoch of each of many patients, shape (patients, samples)."""
    found = []
    for seed in range(EPOCHS):
        generator = EegGenerator(np.random.default_rng([7, seed]))
        found.append(np.concatenate([generator.second(depth)[0] for _ in range(EPOCH_S)]))
    return np.array(found)


def band_rms(epochs: np.ndarray) -> np.ndarray:
    power = 2.0 * np.abs(np.fft.rfft(epochs - epochs.mean(axis=1, keepdims=True))) ** 2 / epochs.shape[1] ** 2
    frequencies = np.fft.rfftfreq(epochs.shape[1], 1 / 128)
    return np.sqrt(np.array([power[:, (frequencies >= low) & (frequencies < high)].sum(axis=1) for low, high in BANDS_HZ])).T


@pytest.mark.parametrize("depth", TABLE)
def test_thirty_seconds_have_the_band_powers_of_the_table(depth):
    bands, total = TABLE[depth]

    epochs = epochs_at(depth)

    ratio = np.median(band_rms(epochs), axis=0) / np.array(bands)
    assert ratio.max() < TOLERANCE
    assert ratio.min() > 1 / TOLERANCE
    assert np.median(epochs.std(axis=1)) / total == pytest.approx(1.0, abs=0.35)


def alpha_peak_hz(epoch: np.ndarray) -> float:
    """Return where an epoch stands highest above its own 1/f line, from 7 to 15 Hz."""
    density = (np.abs(np.fft.rfft(epoch.reshape(-1, 512) * np.hanning(512))) ** 2).mean(axis=0)[1:]
    frequencies = np.fft.rfftfreq(512, 1 / 128)[1:]
    outside = ((frequencies >= 2) & (frequencies <= 6)) | ((frequencies >= 16) & (frequencies <= 40))
    line = np.polyfit(np.log(frequencies[outside]), np.log(density[outside]), 1)
    near = (frequencies >= 7) & (frequencies <= 15)
    return float(frequencies[near][(np.log(density[near]) - np.polyval(line, np.log(frequencies[near]))).argmax()])


# The table has 8.0-8.5 Hz under 40, 10.3 Hz at 40-50 and 11.3 Hz at 50-60.
@pytest.mark.parametrize(("depth", "expected_hz"), [(27, 8.2), (45, 10.3), (55, 11.3)])
def test_the_alpha_peak_glides_to_lower_frequencies_with_depth(depth, expected_hz):
    epochs = epochs_at(depth)[:, : 29 * 128 - 128]

    peaks = [alpha_peak_hz(epoch) for epoch in epochs]

    assert np.median(peaks) == pytest.approx(expected_hz, abs=1.0)


def test_seconds_join_without_a_seam():
    generator = EegGenerator(np.random.default_rng(5))

    signal = np.concatenate([generator.second(45.0)[0] for _ in range(200)])

    steps = np.abs(np.diff(signal))
    assert np.median(steps[127::128]) == pytest.approx(np.median(steps), rel=0.3)


def test_two_channels_are_alike_but_not_the_same():
    signal = eeg_of(np.full(120, 45.0), np.random.default_rng(2))

    together = np.corrcoef(signal)[0, 1]
    assert 0.8 <= together <= 0.97


def test_the_same_seed_gives_the_same_eeg():
    depths = np.linspace(95.0, 40.0, 20)

    first, second = (eeg_of(depths, np.random.default_rng(11)) for _ in range(2))

    assert first.shape == (2, 20 * 128)
    assert np.array_equal(first, second)


def test_nothing_passes_the_rails():
    signal = eeg_of(np.full(600, 97.0), np.random.default_rng(4))

    assert np.abs(signal).max() <= RAIL_MICROVOLT
    assert np.isfinite(signal).all()


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.9])
def test_the_share_of_silence_is_the_suppression_ratio(ratio):
    generator = EegGenerator(np.random.default_rng(9))

    signal = np.concatenate([generator.second(20.0, ratio)[0] for _ in range(900)])

    runs = np.abs(signal).reshape(-1, 32).max(axis=1) < 5.0
    assert runs.mean() == pytest.approx(ratio, abs=0.12)


def test_muscle_adds_power_above_thirty_hertz():
    quiet, tense = (EegGenerator(np.random.default_rng(1), varied=False) for _ in range(2))

    without = np.concatenate([quiet.second(60.0)[0] for _ in range(30)])[None]
    with_muscle = np.concatenate([tense.second(60.0, 0.0, 55.0)[0] for _ in range(30)])[None]

    assert band_rms(with_muscle)[0, 4] > 1.5 * band_rms(without)[0, 4]
    assert band_rms(with_muscle)[0, 0] == pytest.approx(band_rms(without)[0, 0], rel=0.1)


def test_suppression_begins_under_thirty_and_is_total_at_zero():
    assert suppression_of(45.0) == 0.0
    assert 0.1 < suppression_of(25.0) < 0.4
    assert suppression_of(0.0) > 0.95


def test_no_depths_give_no_samples():
    assert eeg_of(np.zeros(0), np.random.default_rng(0)).shape == (2, 0)
