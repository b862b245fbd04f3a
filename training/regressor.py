"""The bar for every network: ridge on random Fourier features of 14 numbers that describe 30 s of EEG.

The numbers: log amplitude of six bands, frequency and height of the alpha peak, slope of the spectrum, SEF50, SEF95, fast over middle
power, share of quiet half seconds, log amplitude of all. Each comes from the median over 2 s frames, which one artefact does not move.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from anesthesia.agreement import Floats
from training.datasets import Float32, Int64, Recording

RATE_HZ = 128
EPOCH_S = 30
EPOCH = EPOCH_S * RATE_HZ
FRAME, HOP = 256, 128
BANDS_HZ = ((0.5, 1.0), (1.0, 4.0), (4.0, 8.0), (8.0, 13.0), (13.0, 30.0), (30.0, 47.0))
SLOPE_HZ, PEAK_HZ, EDGE_HZ = (2.0, 40.0), (6.0, 16.0), (0.5, 47.0)
FAST_HZ, MIDDLE_HZ = (30.0, 47.0), (11.0, 20.0)
FLOOR_UV2 = 1e-3
FLOOR_DENSITY = 1e-4  # uV^2/Hz
FLOOR_UV = 0.1
QUIET_UV = 10.0  # peak to peak within half a second
CLIPPED_SHARE = 0.2  # an epoch with this share at the rail is left out
FEATURES = 14
FOURIER = 600
WIDTH, RIDGE = 0.2, 0.01
FARTHEST = 4.0  # standard deviations
BATCH = 256
_HZ = np.fft.rfftfreq(FRAME, 1 / RATE_HZ)
_HANN = np.hanning(FRAME + 1)[:-1]


def _within(band: tuple[float, float]) -> slice:
    return slice(int(np.searchsorted(_HZ, band[0])), int(np.searchsorted(_HZ, band[1])))


def _density(epochs: Floats) -> Floats:
    """Return [n, 129] uV^2/Hz: the median over the frames of each epoch."""
    frames = sliding_window_view(epochs, FRAME, axis=1)[:, ::HOP]
    centred = frames - frames.mean(axis=2, keepdims=True)
    power = np.abs(np.fft.rfft(centred * _HANN, axis=2)) ** 2 * 2 / (RATE_HZ * float(_HANN @ _HANN))
    return np.asarray(np.median(power, axis=1), np.float64)


def _edge(density: Floats, share: float) -> Floats:
    inside = _within(EDGE_HZ)
    total = np.cumsum(density[:, inside], axis=1)
    return np.asarray(_HZ[inside][(total >= share * total[:, -1:]).argmax(axis=1)], np.float64)


def features_of(epochs: Floats) -> Floats:
    """Return the 14 numbers [n, 14] of epochs [n, 3840] in microvolt at 128 Hz."""
    density = _density(epochs)
    power = {band: density[:, _within(band)].sum(axis=1) * _HZ[1] + FLOOR_UV2 for band in (*BANDS_HZ, MIDDLE_HZ)}
    logarithm = np.log10(density + FLOOR_DENSITY)
    sloped, peaked = _within(SLOPE_HZ), _within(PEAK_HZ)
    abscissa = np.log10(_HZ[sloped]) - np.log10(_HZ[sloped]).mean()
    slope = logarithm[:, sloped] @ abscissa / float(abscissa @ abscissa)
    level = logarithm[:, sloped].mean(axis=1) - slope * np.log10(_HZ[sloped]).mean()
    above = logarithm[:, peaked] - (slope[:, None] * np.log10(_HZ[peaked]) + level[:, None])
    halves = epochs.reshape(len(epochs), -1, RATE_HZ // 2)
    return np.column_stack(
        [
            *(0.5 * np.log10(power[band]) for band in BANDS_HZ),
            _HZ[peaked][above.argmax(axis=1)],
            10 * above.max(axis=1),
            slope,
            _edge(density, 0.5),
            _edge(density, 0.95),
            np.log10(power[FAST_HZ] / power[MIDDLE_HZ]),
            (np.ptp(halves, axis=2) < QUIET_UV).mean(axis=1),
            np.log10(np.median(np.abs(epochs), axis=1) + FLOOR_UV),
        ]
    )


@dataclass(frozen=True, slots=True, eq=False)
class Epochs:
    """Thirty-second pieces of one case that follow each other: features [n, 14] and the mean index of each."""

    features: Floats
    index: Floats


def _in_batches(eeg: Float32, ends: Int64) -> tuple[Floats, Floats]:
    """Return features [n, 14] and clipped share [n] of the 30 s before each end (each at least 3840)."""
    rail = float(np.abs(eeg).max(initial=0.0)) - 1e-3
    features, clipped = [np.zeros((0, FEATURES))], [np.zeros(0)]
    for start in range(0, ends.size, BATCH):
        epochs = eeg[ends[start : start + BATCH, None] + np.arange(-EPOCH, 0)].astype(np.float64)
        features.append(features_of(epochs))
        clipped.append((np.abs(epochs) >= rail).mean(axis=1))
    return np.concatenate(features), np.concatenate(clipped)


def epochs_of(recording: Recording) -> Epochs:
    """Return the epochs of a case that hold a label and less than 20 % clipped samples."""
    ends = np.arange(1, recording.eeg.size // EPOCH + 1) * EPOCH
    place = np.ceil(recording.ends / EPOCH).astype(np.int64) - 1
    known = place < ends.size
    count = np.bincount(place[known], minlength=ends.size)
    mean = np.bincount(place[known], recording.index[known], minlength=ends.size) / np.maximum(count, 1)
    features, clipped = _in_batches(recording.eeg, ends)
    kept = (count > 0) & (clipped < CLIPPED_SHARE)
    return Epochs(features[kept], mean[kept])


@dataclass(frozen=True, eq=False)
class Regressor:
    """A fitted ridge."""

    centre: Floats
    spread: Floats
    frequencies: Floats
    phases: Floats
    weights: Floats
    mean: float

    def lifted(self, features: Floats) -> Floats:
        """Return the random Fourier features [n, 600] of features [n, 14]."""
        scaled = np.clip((features - self.centre) / self.spread, -FARTHEST, FARTHEST)
        return np.asarray(np.cos(scaled @ self.frequencies + self.phases) * np.sqrt(2 / FOURIER), np.float64)

    def index(self, features: Floats) -> Floats:
        """Return the index [n], 0 to 100, of features [n, 14]."""
        return np.asarray(np.clip(self.lifted(features) @ self.weights + self.mean, 0, 100), np.float64)

    def at_labels(self, recording: Recording) -> Floats:
        """Return the index at each label time from the 30 s before it; NaN before 30 s and where 20 % or more is clipped."""
        said = np.full(recording.ends.size, np.nan)
        enough = recording.ends >= EPOCH
        features, clipped = _in_batches(recording.eeg, recording.ends[enough])
        said[enough] = np.where(clipped < CLIPPED_SHARE, self.index(features), np.nan)
        return said


def regressor_of(epochs: list[Epochs], seed: int) -> Regressor:
    """Fit on the epochs of these cases."""
    features, index = np.concatenate([one.features for one in epochs]), np.concatenate([one.index for one in epochs])
    rng = np.random.default_rng(seed)
    frequencies, phases = rng.normal(size=(FEATURES, FOURIER)) * WIDTH, rng.uniform(0, 2 * np.pi, FOURIER)
    bare = Regressor(features.mean(axis=0), features.std(axis=0) + 1e-9, frequencies, phases, np.zeros(FOURIER), float(index.mean()))
    lifted = bare.lifted(features)
    weights = np.linalg.solve(lifted.T @ lifted + RIDGE * np.eye(FOURIER), lifted.T @ (index - bare.mean))
    return Regressor(bare.centre, bare.spread, frequencies, phases, np.asarray(weights, np.float64), bare.mean)
