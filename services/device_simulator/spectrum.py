"""The spectrum of the frontal EEG by depth, and how much it varies: constants and their interpolation. Pure.

Figures are medians over 30 s epochs, by BIS range, of the recordings of figshare 5589841 (Liu et al., PeerJ 2018;6:e4817, CC BY 4.0):
aggregates only. The recordings hold almost nothing under 25, so deeper than that only the suppression ratio changes.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BANDS_HZ = ((0.5, 1.0), (1.0, 4.0), (4.0, 8.0), (8.0, 13.0), (13.0, 30.0), (30.0, 47.0))
# The middles of the BIS ranges 20-30, 30-40 ... 70-80, >= 80.
DEPTHS = np.array([25.0, 35.0, 45.0, 55.0, 65.0, 75.0, 92.0])
KNOTS_HZ = np.array(
    [0.5, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 18, 21, 25, 30, 38, 47, 63],
)
# Power density in dB uV^2/Hz, one row a depth, one column a knot.
POWER_DB = np.array(
    [
        (13.3, 16.4, 16.4, 15.7, 15.0, 13.9, 13.0, 13.2, 13.7, 12.9, 9.7, 8.1, 7.1, 5.3, 3.6, 2.4, 0.3, -2.3, -5.6, -9.3, -12.3, -14.4, -13.8, -15.0),  # noqa: E501  a row stays a row
        (14.4, 16.2, 16.1, 15.8, 14.5, 13.4, 12.4, 12.0, 11.8, 10.7, 8.6, 7.3, 5.9, 4.4, 2.9, 1.9, -0.1, -2.2, -5.2, -8.3, -11.3, -13.4, -12.9, -14.8),  # noqa: E501  a row stays a row
        (12.2, 13.1, 12.0, 10.9, 8.9, 8.3, 8.0, 7.7, 7.4, 7.6, 7.8, 8.0, 7.1, 5.3, 3.6, 2.5, 0.8, -1.1, -4.4, -8.5, -11.8, -14.2, -13.5, -16.4),  # noqa: E501  a row stays a row
        (9.1, 9.9, 9.6, 8.8, 7.8, 7.8, 7.8, 8.0, 8.0, 8.5, 9.2, 10.5, 10.5, 9.0, 7.1, 5.6, 3.1, 1.3, -1.8, -5.7, -9.2, -11.7, -11.5, -14.7),
        (4.7, 5.9, 5.4, 4.8, 4.3, 3.8, 3.8, 4.4, 3.8, 4.5, 5.5, 6.5, 7.2, 7.1, 6.1, 5.0, 2.4, 0.3, -2.7, -6.5, -9.8, -12.3, -11.9, -15.4),
        (8.8, 7.7, 6.9, 6.1, 4.5, 3.4, 3.2, 3.5, 3.0, 3.0, 2.6, 2.6, 2.7, 2.1, 2.0, 1.5, 0.1, -1.2, -3.0, -4.7, -6.6, -8.1, -7.6, -10.0),
        (12.7, 12.9, 12.0, 11.3, 9.2, 7.6, 5.8, 4.8, 3.5, 2.9, 2.8, 2.0, 1.1, -0.1, -0.7, -1.5, -1.9, -2.3, -2.9, -3.5, -4.2, -4.7, -4.4, -6.0),  # noqa: E501  a row stays a row
    ]
)  # fmt: skip

# Standard deviations of the log power of each band: between patients, over tens of seconds, over seconds.
PATIENT_SD = np.array([0.50, 0.55, 0.52, 0.65, 0.60, 0.55])
# How the wandering of neighbouring bands goes together; the correlation of two distant ones is the product between them.
PATIENT_TIES = (0.8, 0.8, 0.8, 0.8, 0.8)
SLOW_TIES = (0.8, 0.8, 0.75, 0.8, 0.9)
FAST_TIES = (0.45, 0.5, 0.5, 0.65, 0.9)
SLOW_SD = np.array(
    [
        (0.60, 0.30, 0.24, 0.40, 0.60, 0.90),
        (0.60, 0.32, 0.30, 0.44, 0.60, 0.90),
        (0.62, 0.50, 0.34, 0.36, 0.34, 0.42),
        (0.95, 0.62, 0.42, 0.34, 0.33, 0.45),
        (1.20, 1.05, 0.65, 0.55, 0.42, 0.55),
        (1.25, 1.05, 0.60, 0.42, 0.34, 0.60),
        (1.55, 1.60, 1.05, 0.60, 0.48, 0.75),
    ]
)
FAST_SD = np.array(
    [
        (0.70, 0.40, 0.32, 0.42, 0.60, 0.70),
        (0.70, 0.40, 0.32, 0.42, 0.55, 0.65),
        (0.70, 0.45, 0.38, 0.42, 0.45, 0.50),
        (0.75, 0.52, 0.45, 0.45, 0.47, 0.48),
        (0.85, 0.60, 0.50, 0.50, 0.47, 0.45),
        (0.85, 0.72, 0.50, 0.42, 0.36, 0.42),
        (1.20, 1.20, 0.95, 0.55, 0.42, 0.48),
    ]
)
_CENTRES_LOG_HZ = np.log([(low * high) ** 0.5 for low, high in BANDS_HZ])
_LOG_PER_DB = np.log(10.0) / 10.0


def interpolated(depth: float, rows: Floats) -> Floats:
    """Return the row of a table that belongs to a depth, linear between its rows, constant outside them."""
    position = float(np.interp(depth, DEPTHS, np.arange(len(DEPTHS))))
    below = min(int(position), len(DEPTHS) - 2)
    share = position - below
    return np.asarray((1.0 - share) * rows[below] + share * rows[below + 1], dtype=np.float64)


class SpectralTable:
    """The table on the frequency grid of one synthesis: a row lookup instead of an interpolation every second."""

    def __init__(self, frequencies_hz: Floats, *, alpha_shift: float = 0.0) -> None:
        """Prepare for these frequencies; `alpha_shift` moves the 6-16 Hz peak of one patient by that share of its frequency."""
        grid = np.maximum(frequencies_hz, KNOTS_HZ[0])
        # A smooth warp that is strongest at 10 Hz and gone an octave away: patients differ in where their alpha lies.
        warped = grid * (1.0 - alpha_shift * np.exp(-0.5 * (np.log(grid / 10.0) / 0.35) ** 2))
        self._log_power = np.array([np.interp(np.log(warped), np.log(KNOTS_HZ), row) for row in POWER_DB]) * _LOG_PER_DB
        self._bands = np.array(
            [np.interp(np.log(grid), _CENTRES_LOG_HZ, unit) for unit in np.eye(len(BANDS_HZ))],
        )
        # What lies under 0.5 Hz has passed the high-pass of a monitor.
        self._high_pass = np.minimum(frequencies_hz / 0.5, 1.0) ** 4

    def density(self, depth: float, band_log_gain: Floats) -> Floats:
        """Return the power density in uV^2/Hz at a depth, with the log power of each band moved by a gain."""
        log_power = interpolated(depth, self._log_power) + band_log_gain @ self._bands
        return np.asarray(np.exp(log_power) * self._high_pass, dtype=np.float64)
