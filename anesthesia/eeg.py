"""What EEG itself tells of its quality and of suppression. Pure: arrays in microvolt in, numbers out.

Every function takes one channel `eeg` [samples] in microvolt with its `mask` [samples], True where a sample is real; samples under a
False mask are never used, and nothing is bridged over a gap.
"""

from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from anesthesia.errors import BadValue

Samples = NDArray[np.floating]
Mask = NDArray[np.bool_]

BANDS_HZ = {"slow": (0.5, 1.0), "delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0), "gamma": (30.0, 47.0)}
TOTAL_HZ = (0.5, 47.0)
SUPPRESSED_UV = 5.0  # Rampil, Anesthesiology 1998;89:980: at least 0.5 s within 5 uV either side
SUPPRESSED_S = 0.5
FLAT_PEAK_TO_PEAK_UV = 1.0  # less than any amplifier's noise with a head at its input
FRAME_S = 2.0
BURST_HZ = 20.0  # above it cautery outweighs EEG by far
SETTLED_S = 1.0  # what a high-pass from 20 Hz of order 4 still says of a second ago is below the rounding of a float
EDGE_SAMPLES = 15  # of odd reflection before and after, as SciPy's sosfiltfilt has it at this order
FFT_SAMPLES = 1024  # lengths that are its multiples transform fast
BURST_TIMES = 6.0  # a burst's amplitude above 20 Hz is this many times the usual one
BURST_LEAST_UV = 15.0  # and at least this: far above muscle and floor (EEG above 20 Hz is 2 to 5 uV)
BURST_PEAK_UV = 40.0  # and the raw signal swings
RAIL_RUN = 2  # the same extreme twice in a row is a rail, once is a peak
EMG_HZ = (30.0, 47.0)
EMG_REFERENCE_UV2 = 1e-4  # the monitors' decibel counts from 0.0001 uV^2


def _checked(eeg: Samples, mask: Mask) -> tuple[NDArray[np.float64], Mask]:
    values, real = np.asarray(eeg, np.float64), np.asarray(mask, np.bool_)
    if values.ndim != 1 or values.shape != real.shape:
        raise BadValue(f"EEG and mask must be of one dimension and one length, not {values.shape} and {real.shape}")
    return values, real


def runs_of(flags: Mask) -> list[tuple[int, int]]:
    """Return `[start, end)` of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def spectrum(eeg: Samples, mask: Mask, rate_hz: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return frequencies in Hz and power density in uV^2/Hz: the mean over whole 2 s Hann frames without a masked sample.

    Empty arrays when no such frame exists.
    """
    values, real = _checked(eeg, mask)
    size = round(FRAME_S * rate_hz)
    stretches = [values[start:end] for start, end in runs_of(real) if end - start >= size]
    if not stretches:
        return np.zeros(0), np.zeros(0)
    from scipy.signal import welch  # 60 MB that the gate can do without

    densities = [welch(stretch, rate_hz, window="hann", nperseg=size, detrend="constant") for stretch in stretches]
    weights = [stretch.size for stretch in stretches]
    density = np.average([power for _, power in densities], axis=0, weights=weights)
    return np.asarray(densities[0][0], np.float64), np.asarray(density, np.float64)


def _between(frequency: NDArray[np.float64], density: NDArray[np.float64], band: tuple[float, float]) -> float:
    inside = (frequency >= band[0]) & (frequency < band[1])
    return float(density[inside].sum() * (frequency[1] - frequency[0]))


def band_powers(eeg: Samples, mask: Mask, rate_hz: float) -> dict[str, float]:
    """Return power in uV^2 of slow, delta, theta, alpha, beta and gamma (30-47 Hz); empty without a whole 2 s frame."""
    frequency, density = spectrum(eeg, mask, rate_hz)
    if frequency.size == 0:
        return {}
    return {name: _between(frequency, density, band) for name, band in BANDS_HZ.items()}


def spectral_edge_hz(eeg: Samples, mask: Mask, rate_hz: float, *, share: float = 0.95) -> float | None:
    """Return the frequency below which `share` of the power between 0.5 and 47 Hz lies (SEF95), or None without power or a frame."""
    frequency, density = spectrum(eeg, mask, rate_hz)
    inside = (frequency >= TOTAL_HZ[0]) & (frequency < TOTAL_HZ[1])
    cumulated = np.cumsum(density[inside]) if frequency.size else np.zeros(0)
    if cumulated.size == 0 or cumulated[-1] <= 0:
        return None
    return float(frequency[inside][np.searchsorted(cumulated, share * cumulated[-1])])


def suppression_ratio(eeg: Samples, mask: Mask, rate_hz: float) -> float:
    """Return the share in percent of real samples in runs of at least 0.5 s within 5 uV either side of the run's middle; 0 without EEG.

    Give 63 s, the span of the monitors' own ratio. The slow drift of an electrode is taken out by a running median over 2 s, without
    which an offset would hide suppression.
    """
    values, real = _checked(eeg, mask)
    if not real.any():
        return 0.0
    least, suppressed = round(SUPPRESSED_S * rate_hz), 0
    for start, end in runs_of(real):
        centred = values[start:end] - _drift(values[start:end], round(FRAME_S * rate_hz))
        suppressed += sum(stop - begin for begin, stop in runs_of(np.abs(centred) <= SUPPRESSED_UV) if stop - begin >= least)
    return 100.0 * suppressed / int(real.sum())


def _drift(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return a running median over `size` samples in coarse steps: it follows an offset and ignores waves."""
    if values.size <= size:
        return np.full(values.size, float(np.median(values)))
    starts = np.arange(0, values.size - size + 1, max(1, size // 4))
    medians = np.median(sliding_window_view(values, size)[starts], axis=1)
    return np.interp(np.arange(values.size), starts + size // 2, medians)


def is_flat(eeg: Samples, mask: Mask, rate_hz: float) -> bool:
    """Tell whether no real second swings more than 1 uV from peak to peak. Without a real sample nothing can be told: False."""
    values, real = _checked(eeg, mask)
    size, swings = round(rate_hz), []
    for start in range(0, values.size, size):
        kept = values[start : start + size][real[start : start + size]]
        if kept.size:
            swings.append(float(kept.max() - kept.min()))
    return bool(swings) and max(swings) < FLAT_PEAK_TO_PEAK_UV


def clipped_share(eeg: Samples, mask: Mask) -> float:
    """Return the share of real samples that stand at the rail: runs of the largest or the smallest value. A constant has no rail: 0."""
    values, real = _checked(eeg, mask)
    if not real.any() or np.ptp(values[real]) == 0:
        return 0.0
    top, bottom = values[real].max(), values[real].min()
    at_rail = sum(
        end - start
        for rail in (top, bottom)
        for start, end in runs_of(real & (np.abs(values - rail) <= 1e-6 * max(1.0, abs(rail))))
        if end - start >= RAIL_RUN
    )
    return at_rail / int(real.sum())


def _fast(values: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    """Return what lies above 20 Hz, without delay: a Butterworth high-pass of order 4, forwards and backwards.

    Equal to SciPy's `sosfiltfilt` to rounding; as a product of spectra it takes half the time.
    """
    before, after = 2 * values[0] - values[EDGE_SAMPLES:0:-1], 2 * values[-1] - values[-2 : -EDGE_SAMPLES - 2 : -1]
    reflected = np.concatenate((before, values, after))
    settling = round(SETTLED_S * rate_hz)
    settling += -(settling + reflected.size) % FFT_SAMPLES
    response = _high_pass(settling + reflected.size, rate_hz)
    forwards = _filtered(reflected, response, settling)
    return _filtered(forwards[::-1], response, settling)[::-1][EDGE_SAMPLES:-EDGE_SAMPLES]


def _high_pass(size: int, rate_hz: float) -> NDArray[np.complex128]:
    """Return the response of the filter at the frequencies of a real FFT over `size` samples (bilinear transform)."""
    if rate_hz <= 2 * BURST_HZ:
        raise BadValue(f"{rate_hz:g} Hz holds nothing above {BURST_HZ:g} Hz")
    s = 1j * np.tan(np.pi * np.fft.rfftfreq(size)) / np.tan(np.pi * BURST_HZ / rate_hz)
    poles = (s**2 + 2 * np.sin(np.pi / 8) * s + 1) * (s**2 + 2 * np.sin(3 * np.pi / 8) * s + 1)
    return np.asarray(s**4 / poles, np.complex128)


def _filtered(values: NDArray[np.float64], response: NDArray[np.complex128], settling: int) -> NDArray[np.float64]:
    """Filter as if the first value had stood for `settling` samples before."""
    settled = np.concatenate((np.full(settling, values[0]), values))
    return np.fft.irfft(response * np.fft.rfft(settled), settled.size)[settling:]


def cautery_share(eeg: Samples, mask: Mask, rate_hz: float) -> float:
    """Return the share of whole real seconds that hold a broadband burst, as electrocautery makes.

    A burst's RMS above 20 Hz is far above that of the window's quieter seconds, and the raw signal swings far.
    """
    values, real = _checked(eeg, mask)
    size = round(rate_hz)
    fast, raw = [], []
    for start, end in runs_of(real):
        if end - start < size:
            continue
        above = _fast(values[start:end], rate_hz)
        for first, last in pairwise(range(0, end - start + 1, size)):
            fast.append(float(np.sqrt(np.mean(above[first:last] ** 2))))
            raw.append(float(np.ptp(values[start + first : start + last])))
    if not fast:
        return 0.0
    # The lower quartile stands for what is usual, so that cautery through most of the window still stands out.
    usual = float(np.percentile(fast, 25))
    bursts = (np.array(fast) > max(BURST_LEAST_UV, BURST_TIMES * usual)) & (np.array(raw) > BURST_PEAK_UV)
    # Without a quiet part nothing is usual: EEG and muscle never hold this much above 20 Hz.
    drowned = np.array(fast) > 2 * BURST_LEAST_UV
    return float((bursts | drowned).mean())


def emg_db(eeg: Samples, mask: Mask, rate_hz: float) -> float | None:
    """Return the power in 30-47 Hz in decibel over 0.0001 uV^2, or None without a whole 2 s frame.

    Monitors measure muscle in 70-110 Hz, which 128 Hz cannot hold: this estimate reads the lower skirt, floor and gamma included, and
    must not be put in place of the device's own value.
    """
    frequency, density = spectrum(eeg, mask, rate_hz)
    if frequency.size == 0:
        return None
    return 10.0 * float(np.log10(max(_between(frequency, density, EMG_HZ), EMG_REFERENCE_UV2) / EMG_REFERENCE_UV2))
