"""Frontal EEG of a patient at a given depth, second by second. Pure: the generator of randomness is an argument.

A spectral state model (not a neural mass): every second a Gaussian frame is shaped by the spectrum of the depth, with band powers that
wander as those of patients do, and added to its neighbours with overlapping sine windows, so that the signal has no seams. On top come
burst suppression (Ellerkmann 2004 for its share), the muscle activity of the forehead, and the blinks of the awake.
"""

import numpy as np
from numpy.typing import NDArray

from services.device_simulator.spectrum import (
    BANDS_HZ,
    FAST_SD,
    FAST_TIES,
    PATIENT_SD,
    PATIENT_TIES,
    SLOW_SD,
    SLOW_TIES,
    SpectralTable,
    interpolated,
)

Floats = NDArray[np.float64]

RAIL_MICROVOLT = 125.0
SLOW_S = 45.0  # how long band powers stay where they drifted
FAST_S = 1.2  # waxing and waning, as of spindles
BURST_S = 1.6  # mean length of a burst
LEAST_SUPPRESSION_S = 0.5  # a shorter silence is not counted as suppression
SUPPRESSED_GAIN = 0.06  # leaves less than 5 uV
EMG_REFERENCE_MICROVOLT2 = 1e-4  # the decibel of the BIS monitor counts from 0.0001 uV^2 in 70-110 Hz
EMG_BAND_HZ = 40.0
QUIET_EMG_DB = 34.0  # up to here the muscle is part of the usual spectrum
ALPHA_SHIFT_SD = 0.08


def suppression_of(depth: float) -> float:
    """Return the suppression ratio, 0 to 1, of an index: none from 30 up, then up to BIS = 44.1 - SR% / 2.25 (Ellerkmann 2004)."""
    ellerkmann = (44.1 - depth) * 2.25 / 100.0
    onset = max(0.0, (30.0 - depth) / 8.0) ** 2 * 0.5
    return float(np.clip(min(onset, ellerkmann), 0.0, 1.0))


def _correlated(ties: tuple[float, ...]) -> Floats:
    """Return the Cholesky factor of bands tied to their neighbours by these correlations."""
    chain = np.concatenate([[0.0], np.cumsum(np.log(ties))])
    return np.asarray(np.linalg.cholesky(np.exp(-np.abs(np.subtract.outer(chain, chain)))), dtype=np.float64)


class _Wander:
    """First-order Gaussian walks of unit variance, one a band, correlated between bands."""

    def __init__(self, rng: np.random.Generator, time_constant_s: float, ties: tuple[float, ...]) -> None:
        self._rng = rng
        self._keep = float(np.exp(-1.0 / time_constant_s))
        self._mix = _correlated(ties)
        self.value = self._mix @ rng.standard_normal(len(BANDS_HZ))

    def step(self) -> Floats:
        news = self._mix @ self._rng.standard_normal(len(BANDS_HZ))
        self.value = self._keep * self.value + (1.0 - self._keep**2) ** 0.5 * news
        return self.value


class _Suppression:
    """Alternation of bursts and silences whose share of silence is the suppression ratio."""

    def __init__(self, rng: np.random.Generator, rate_hz: float) -> None:
        self._rng = rng
        self._rate_hz = rate_hz
        self._left = 0
        self._silent = False

    def envelope(self, samples: int, ratio: float) -> Floats:
        """Return the gain of the next samples: 1 in a burst, almost 0 in a silence."""
        if ratio <= 0.0:
            self._left, self._silent = 0, False
            return np.ones(samples)
        gain = np.empty(samples)
        at = 0
        while at < samples:
            if self._left == 0:
                self._turn(ratio)
            run = min(self._left, samples - at)
            gain[at : at + run] = SUPPRESSED_GAIN if self._silent else 1.0
            at += run
            self._left -= run
        return gain

    def _turn(self, ratio: float) -> None:
        self._silent = not self._silent
        odds = ratio / max(1.0 - ratio, 1e-3)
        # Both means grow together where a silence would be shorter than what counts as one.
        stretch = max(1.0, LEAST_SUPPRESSION_S * 1.5 / (BURST_S * odds))
        mean_s = BURST_S * stretch * (odds if self._silent else 1.0)
        seconds = mean_s * (0.35 + 0.65 * self._rng.exponential())
        self._left = max(1, round(min(seconds, 600.0) * self._rate_hz))


class EegGenerator:
    """An endless EEG of one patient in microvolt; ask it for one second after the other."""

    def __init__(self, rng: np.random.Generator, rate_hz: float = 128.0, channels: int = 2, *, varied: bool = True) -> None:
        """Draw a patient. With `varied=False` the patient is the median one and band powers stand still."""
        self._rng = rng
        self._samples = round(rate_hz)
        self._channels = channels
        self._varied = 1.0 if varied else 0.0
        self._frequencies = np.fft.rfftfreq(2 * self._samples, 1.0 / rate_hz).astype(np.float64)
        self._window = np.sin(np.pi * (np.arange(2 * self._samples) + 0.5) / (2 * self._samples))
        self._table = SpectralTable(self._frequencies, alpha_shift=self._varied * ALPHA_SHIFT_SD * float(rng.standard_normal()))
        self._patient = PATIENT_SD * (_correlated(PATIENT_TIES) @ rng.standard_normal(len(BANDS_HZ)))
        self._channel_gain = np.exp(self._varied * 0.08 * rng.standard_normal(channels))
        self._channel_gain[0] = 1.0
        self._slow, self._fast = _Wander(rng, SLOW_S, SLOW_TIES), _Wander(rng, FAST_S, FAST_TIES)
        self._suppression = _Suppression(rng, rate_hz)
        # Two frontal electrodes see the same slow waves and alpha, and each its own muscle and noise.
        shared = np.interp(self._frequencies, (0.0, 13.0, 30.0, 64.0), (0.95, 0.93, 0.6, 0.45))
        self._shared, self._own = np.sqrt(shared), np.sqrt(1.0 - shared)
        self._tail = np.zeros((channels, self._samples))
        self._blink: Floats = np.zeros(0)
        self._started = False

    def second(self, depth: float, suppression_ratio: float = 0.0, emg_db: float | None = None) -> Floats:
        """Return the next second, shape (channels, rate), in microvolt within the rails.

        `depth` is 0 to 100, `suppression_ratio` 0 to 1, `emg_db` the monitor's EMG; None leaves the muscle activity usual at that depth.
        """
        if not self._started:
            self._tail = self._frame(depth, emg_db)[:, self._samples :]
            self._started = True
        frame = self._frame(depth, emg_db)
        signal = self._tail + frame[:, : self._samples]
        self._tail = frame[:, self._samples :]
        signal = signal * self._suppression.envelope(self._samples, suppression_ratio)
        signal = (signal + self._blinks(depth)) * self._channel_gain[:, None]
        return np.asarray(np.clip(signal, -RAIL_MICROVOLT, RAIL_MICROVOLT), dtype=np.float64)

    def _frame(self, depth: float, emg_db: float | None) -> Floats:
        """Return two seconds under the sine window, to be added half over half."""
        size = 2 * self._samples
        slow = interpolated(depth, SLOW_SD) * self._slow.step()
        fast = interpolated(depth, FAST_SD) * self._fast.step()
        density = self._table.density(depth, self._varied * (self._patient + slow + fast))
        amplitude = np.sqrt(self._with_muscle(density, emg_db) * self._samples * size / 2.0)
        noise = self._rng.standard_normal((self._channels + 1, 2, len(self._frequencies)))
        coefficients = (noise[:, 0] + 1j * noise[:, 1]) / np.sqrt(2.0)
        coefficients = self._shared * coefficients[:1] + self._own * coefficients[1:]
        return np.asarray(np.fft.irfft(coefficients * amplitude, n=size, axis=-1) * self._window, dtype=np.float64)

    def _with_muscle(self, density: Floats, emg_db: float | None) -> Floats:
        """Return the density with the muscle activity that the monitor's EMG reports above 34 dB."""
        if emg_db is None or emg_db <= QUIET_EMG_DB:
            return density
        level = EMG_REFERENCE_MICROVOLT2 * 10.0 ** (emg_db / 10.0) / EMG_BAND_HZ
        return np.asarray(density + level * np.clip((self._frequencies - 12.0) / 25.0, 0.0, 1.0), dtype=np.float64)

    def _blinks(self, depth: float) -> Floats:
        """Return the blinks of this second: one in about ten seconds fully awake, none under 80."""
        out = np.zeros(self._samples)
        chance = 0.1 * self._varied * np.clip((depth - 80.0) / 15.0, 0.0, 1.0)
        if self._blink.size == 0 and self._rng.random() < chance:
            width = 0.09 + 0.05 * self._rng.random()
            at = np.arange(round(0.8 * self._samples)) / self._samples - 0.35
            height = 30.0 + 50.0 * self._rng.random()
            shape = np.exp(-0.5 * (at / width) ** 2) - 0.35 * np.exp(-0.5 * ((at - 0.2) / (1.5 * width)) ** 2)
            self._blink = height * shape
        taken = self._blink[: self._samples]
        out[: taken.size] = taken
        self._blink = self._blink[taken.size :]
        return out


def eeg_of(depths: NDArray[np.float64], rng: np.random.Generator, *, rate_hz: float = 128.0, channels: int = 2) -> Floats:
    """Return the EEG of a whole course, one depth a second, as microvolt of shape (channels, rate x seconds).

    Suppression follows the depth (`suppression_of`); one call is one patient.
    """
    generator = EegGenerator(rng, rate_hz, channels)
    seconds = [generator.second(float(depth), suppression_of(float(depth))) for depth in depths]
    return np.concatenate(seconds, axis=1) if seconds else np.zeros((channels, 0))
