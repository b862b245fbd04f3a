"""OpenIBIS: the depth index of Connor, Anesth Analg 2022;135:855, from raw EEG alone. Pure: one channel in, a score each 0.5 s.

A control and a source of features, never a reference: it was derived from one amplifier, and its 30 to 47 Hz terms read another one's
noise floor as brain. Nothing is fitted here; every constant is the paper's. Epoch n = 1, 2, ... counts strides of 0.5 s; its spectrum
stands on samples [(n + 4), (n + 8)) strides, its suppression flag on [(n + 6.5), (n + 8.5)). A missing sample (NaN) takes the epochs
that touch it out of every mean, and the high-pass starts anew behind it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.signal import butter, lfilter

from anesthesia.errors import BadValue

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

RATE_HZ = 128
STRIDE = 64  # 0.5 s
SECOND = 2 * STRIDE
FRAME = 4 * STRIDE  # 2 s of spectrum, bins of 0.5 Hz
SPECTRUM_AT, FLAG_AT = 4.0, 6.5  # strides from epoch to the first sample
LATER = 8.5  # strides from epoch to the end of all it needs
ROWS_30_S, FLAGS_63_S = 60, 126
CLEAR_FLAGS = 4  # no spectrum while one of the newest four epochs is suppressed
SUPPRESSED_UV = 5.0
HIGH_PASS_HZ = 0.65
SAW_RISE, SAW_LEAST_VARIANCE, SAW_MATCH = 5, 10.0, 0.63
LEAST_POWER = 1e-30  # keeps the logarithm finite where rounding leaves no power at all
_BLACKMAN = np.blackman(FRAME)
_SAW_GAIN = np.interp(np.arange(FRAME // 2) / 2, (0.0, 3.0, 6.0), (0.0, 0.25, 1.0)) ** 2


@dataclass(frozen=True, slots=True, eq=False)
class OpenIbis:
    """One row an epoch: `score` 0 to 100 and `components` [n, 3] in dB (NaN: no spectrum in 30 s), `bsr` in percent.

    `ends[k]` is the number of samples that row k needs: a causal reader at sample s takes the newest row with `ends <= s`.
    """

    score: Floats
    components: Floats
    bsr: Floats
    ends: NDArray[np.int64]


def bins(low_hz: float, high_hz: float) -> slice:
    """Return the 0.5 Hz bins from `low_hz` to `high_hz`, both inside."""
    return slice(round(2 * low_hz), round(2 * high_hz) + 1)


def without_line(segments: Floats) -> Floats:
    """Return segments [n, m] with each one's least-squares straight line taken out."""
    time = np.arange(segments.shape[1]) - (segments.shape[1] - 1) / 2
    slope = segments @ time / float(time @ time)
    return np.asarray(segments - segments.mean(axis=1, keepdims=True) - slope[:, None] * time, np.float64)


def suppressed(segments: Floats) -> Bools:
    """Tell which one-second segments [n, 128] nowhere leave their line by more than 5 uV."""
    return np.asarray(np.abs(without_line(segments)).max(axis=1) <= SUPPRESSED_UV)


def powers(segments: Floats) -> Floats:
    """Return powers [n, 128] in uV^2 of the 0.5 Hz bins of two-second segments [n, 256]: their sum is that of the signal."""
    spectrum = np.fft.rfft(_BLACKMAN * without_line(segments), axis=1)[:, : FRAME // 2]
    return np.asarray(2 * np.abs(spectrum) ** 2 / (FRAME * float(_BLACKMAN @ _BLACKMAN)), np.float64)


def _sawtooth() -> Floats:
    saw = np.concatenate([np.zeros(STRIDE - SAW_RISE), np.arange(1, SAW_RISE + 1)])
    return np.asarray((saw - saw.mean()) / saw.std(), np.float64)  # unit population variance


def _at_each_position(template: Floats) -> Floats:
    """Return [256, 192]: the template at each place in a two-second segment, so that one product gives all correlations."""
    places = np.zeros((FRAME, FRAME - STRIDE))
    for start in range(FRAME - STRIDE):
        places[start : start + STRIDE, start] = template
    return places


def has_sawtooth(segments: Floats) -> Bools:
    """Tell which two-second segments [n, 256] match the K-complex template, or its mirror, at any position."""
    centred = segments - segments.mean(axis=1, keepdims=True)
    ones = _at_each_position(np.full(STRIDE, 1 / STRIDE))
    variance = centred**2 @ ones - (centred @ ones) ** 2  # of the population, not of a sample
    matches = [(centred @ _at_each_position(template) / STRIDE) ** 2 for template in (_sawtooth(), _sawtooth()[::-1])]
    loud = variance > SAW_LEAST_VARIANCE
    return np.asarray((loud & (np.maximum(*matches) > SAW_MATCH * variance)).any(axis=1))


def trimmed_mean(rows: Floats) -> Floats:
    """Return the mean of each row [n, m] without its lowest and highest quarter; NaN is left out first, and is returned for nothing."""
    count = (~np.isnan(rows)).sum(axis=1)
    cut = np.ceil(count / 4 - 0.5).astype(np.int64)  # rounded, a half downwards
    place = np.arange(rows.shape[1])
    kept = (place >= cut[:, None]) & (place < (count - cut)[:, None])
    total = np.where(kept, np.sort(rows, axis=1), 0.0).sum(axis=1)
    return np.asarray(np.where(count > 0, total / np.maximum(kept.sum(axis=1), 1), np.nan), np.float64)


def _recent(rows: Floats, size: int) -> Floats:
    """Return [n, size, ...]: the newest `size` rows at each row, NaN before the first."""
    before = np.full((size - 1, *rows.shape[1:]), np.nan)
    return np.moveaxis(sliding_window_view(np.concatenate([before, rows]), size, axis=0), -1, 1)


def _recent_mean(rows: Floats, size: int) -> Floats:
    """Return the mean of the newest `size` rows at each row, per column [n, m], NaN left out; NaN where all are."""
    known = ~np.isnan(rows)
    sums = []
    for values in (np.where(known, rows, 0.0), known.astype(np.float64)):
        total = np.concatenate([np.zeros((size, rows.shape[1])), np.cumsum(values, axis=0)])
        sums.append(total[size:] - total[:-size])
    return np.asarray(np.where(sums[1] > 0.5, sums[0] / np.maximum(sums[1], 1.0), np.nan), np.float64)  # noqa: PLR2004  counts, rounded


def components_of(power: Floats) -> Floats:
    """Return C1, C2, C3 [n, 3] in dB from the powers of bins [n, 128]; a missing row is NaN throughout."""
    decibel = 10 * np.log10(np.maximum(power, LEAST_POWER))
    middle_bins = _recent_mean(decibel[:, bins(11, 20)], ROWS_30_S)
    median = np.median(middle_bins, axis=1, keepdims=True)
    upper = middle_bins >= median
    middle = np.where(upper, middle_bins, 0.0).sum(axis=1) / np.maximum(upper.sum(axis=1), 1)
    neighbours = power[:, :-1] * power[:, 1:]
    fast, whole = (np.sqrt(neighbours[:, band].mean(axis=1)) for band in (bins(39.5, 46.5), bins(0.5, 46.5)))
    ratio = 10 * np.log10(np.maximum(fast, LEAST_POWER) / np.maximum(whole, LEAST_POWER))
    c1 = _recent_mean(decibel[:, bins(30, 47)], ROWS_30_S).mean(axis=1) - middle
    c2 = trimmed_mean(_recent(ratio, ROWS_30_S))
    c3 = _recent_mean(decibel[:, bins(0.5, 4)], ROWS_30_S).mean(axis=1) - middle
    return np.stack([c1, c2, c3], axis=1)


def _s_curve(x: Floats, e0: float, e_max: float, x50: float, width: float) -> Floats:
    return np.asarray(e0 - e_max / (1 + np.exp((x - x50) / width)), np.float64)


def mixed(components: Floats, bsr: Floats) -> Floats:
    """Return scores [n], 0 to 100, from components [n, 3] in dB and suppression in percent [n].

    From 50 % suppression on the score needs no component; below it a missing component gives NaN.
    """
    c1, c2, c3 = components.T
    sedation = _s_curve(c1, 104.4, 49.4, -13.9, 5.29)
    general = np.interp(c2, (-60.89, -30.0), (-40.0, 43.1)) + np.where(c2 >= -30, _s_curve(c2, 61.3, 72.6, -24.0, 3.55), 0.0)  # noqa: PLR2004  where the line ends
    weight = np.where(general < sedation, np.interp(c3, (0.0, 5.0), (0.5, 1.0)), 0.0)
    awake = np.interp(sedation * (1 - weight) + general * weight, (-40.0, 10.0, 97.0, 110.0), (0.0, 10.0, 97.0, 100.0))
    of_suppression = np.interp(bsr, (10.0, 50.0), (0.0, 1.0))
    with_eeg = awake * (1 - of_suppression) + (50 - bsr / 2) * of_suppression
    return np.asarray(np.where(of_suppression >= 1, 50 - bsr / 2, with_eeg), np.float64)


def _high_passed(eeg: Floats) -> Floats:
    """Return the EEG above 0.65 Hz, causal; behind a gap the filter starts from rest."""
    numerator, denominator = butter(2, HIGH_PASS_HZ, "highpass", fs=RATE_HZ)
    known = np.isfinite(eeg)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], known, [False])).astype(np.int8)))
    out = np.full(eeg.size, np.nan)
    for start, end in edges.reshape(-1, 2):
        out[start:end] = lfilter(numerator, denominator, eeg[start:end])
    return out


def _segments(eeg: Floats, strides: float, size: int, epochs: int) -> Floats:
    """Return [epochs, size]: the samples of epoch 1, 2, ... that start `strides` behind it."""
    first = round((1 + strides) * STRIDE)
    return np.asarray(sliding_window_view(eeg, size)[first::STRIDE][:epochs], np.float64)


def _spectra(eeg: Floats, flags: Floats) -> Floats:
    """Return powers [n, 128]; a row is NaN in the first three epochs, near suppression, and where samples are missing."""
    raw, filtered = (_segments(signal, SPECTRUM_AT, FRAME, flags.size) for signal in (eeg, _high_passed(eeg)))
    near = np.nan_to_num(_recent(flags[:, None], CLEAR_FLAGS)[:, :, 0], nan=1.0).max(axis=1)
    clear = (near == 0) & np.isfinite(filtered).all(axis=1)
    power = np.full((flags.size, FRAME // 2), np.nan)
    rows = powers(filtered[clear])
    power[clear] = np.where(has_sawtooth(raw[clear])[:, None], rows * _SAW_GAIN, rows)
    return power


def openibis(eeg: Floats) -> OpenIbis:
    """Return the scores of one channel [samples] in microvolt at 128 Hz, NaN where a sample is missing; raise BadValue on other shapes."""
    values = np.asarray(eeg, np.float64)
    if values.ndim != 1:
        raise BadValue(f"openibis: needs EEG of one dimension, not {values.shape}")
    epochs = max(0, (values.size - SECOND) // STRIDE - 10)
    if epochs == 0:
        nothing = np.zeros(0)
        return OpenIbis(nothing, np.zeros((0, 3)), nothing, np.zeros(0, np.int64))
    seconds = _segments(values, FLAG_AT, SECOND, epochs)
    known = np.isfinite(seconds).all(axis=1)
    flags = np.full(epochs, np.nan)
    flags[known] = suppressed(seconds[known])
    bsr = 100 * np.nan_to_num(_recent_mean(flags[:, None], FLAGS_63_S)[:, 0], nan=0.0)
    components = components_of(_spectra(values, flags))
    ends = np.round((np.arange(1, epochs + 1) + LATER) * STRIDE).astype(np.int64)
    return OpenIbis(mixed(components, bsr), components, bsr, ends)
