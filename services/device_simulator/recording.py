"""A recorded case of the data folder (eeg_bis_24), replayed as its monitor sent it: one EEG channel and its BIS."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SAMPLES_PER_BIS = 624.5  # measured: nominally 128 Hz and one value every 5 s


class NoRecording(Exception):
    """The recording is not in the data folder, or holds nothing from the second asked for."""


class Recording:
    """Counts of one EEG channel, second by second, and the index that belongs to it."""

    def __init__(self, path: Path, from_s: int = 0) -> None:
        """Open a case at an offset; raise NoRecording where there is none."""
        if not path.is_file():
            raise NoRecording(f"no recording at {path}")
        with np.load(path, allow_pickle=False) as case:
            self._counts: NDArray[np.int16] = np.asarray(case["eeg_counts"], dtype=np.int16)
            self._bis = np.asarray(case["bis"], dtype=np.int16)
            self.microvolt_per_count = float(case["uv_per_count"])
            self.rate_hz = float(case["fs_hz"])
        self._at = round(from_s * self.rate_hz)
        if self._at + self.rate_hz > self._counts.size:
            raise NoRecording(f"{path.name} is shorter than {from_s} s")

    def second(self) -> tuple[NDArray[np.int16], float | None] | None:
        """Return counts of shape (1, rate) and the index (None: not available); None itself when the recording has ended."""
        end = self._at + round(self.rate_hz)
        if end > self._counts.size:
            return None
        counts = self._counts[self._at : end][None, :]
        place = min(int(end / SAMPLES_PER_BIS), self._bis.size - 1)
        self._at = end
        bis = int(self._bis[place])
        return counts, float(bis) if bis > 0 else None


def case_path(data: Path, case: int) -> Path:
    """Return where the file of a case lies in the data folder."""
    return data / "eeg_bis_24" / f"case{case:02d}.npz"
