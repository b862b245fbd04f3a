"""The recorded EEG cases that a depth model is fitted and judged on; the unit of every split is the case (one patient)."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from backbone.settings import ProcessSettings, read_settings

RATE_HZ = 128.0
# 624.5 samples stand for one index value in every case: 128 Hz and 4.88 s, or 125 Hz and 5 s; the recordings cannot tell which.
SAMPLES_PER_LABEL = 624.5
LABEL_PERIOD_S = SAMPLES_PER_LABEL / RATE_HZ
FOLDS = 4
FOLDER = "eeg_bis_24"
TABLE = "cases.csv"

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


class DataMissing(Exception):
    """The folder of recordings is not there, or lacks its cases; says which folder and how to name another."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One case: EEG in microvolt at the nominal 128 Hz, and the device index at each label time.

    `ends[k]` is the number of samples before label time k (a causal window is `eeg[ends[k] - n : ends[k]]`), `index[k]` the value there,
    1 to 100; label times without a value (0 or below in the files) or beyond the EEG are left out.
    """

    case: str
    eeg: Float32
    ends: Int64
    index: Float32
    sha256: str


class DataSettings(ProcessSettings):
    """Where the recordings are: `SOPOR_DATA`, or `../shared/data` beside the repository."""

    data: Path = Field(default=Path(__file__).resolve().parents[2] / "shared" / "data", validation_alias="SOPOR_DATA")


def data_folder() -> Path:
    """Return the folder of recordings that the environment names."""
    return read_settings(DataSettings).data


def recording_of(path: Path) -> Recording:
    """Read one `caseNN.npz` once: its bytes give both the hash and the arrays."""
    content = path.read_bytes()
    with np.load(BytesIO(content), allow_pickle=False) as archive:
        eeg = archive["eeg_counts"].astype(np.float32) * np.float32(archive["uv_per_count"])
        bis = archive["bis"].astype(np.float32)
    ends = np.floor((np.arange(bis.size) + 1) * SAMPLES_PER_LABEL).astype(np.int64)
    known = (bis > 0) & (ends <= eeg.size)
    return Recording(path.stem, eeg, ends[known], bis[known], sha256(content).hexdigest())


def case_files(data: Path) -> list[Path]:
    """Return the files of all cases in `data` or in its folder `eeg_bis_24`, by name; raise DataMissing when there are none."""
    paths = sorted(data.glob("case*.npz")) or sorted((data / FOLDER).glob("case*.npz"))
    if not paths:
        raise DataMissing(f"no case*.npz in {data} or {data / FOLDER}; set SOPOR_DATA to the folder that holds them")
    return paths


def read_recordings(data: Path, split: str | None = None) -> tuple[Recording, ...]:
    """Return the recorded EEG cases of `data`, by case name, only those of a split where one is named; raise DataMissing for none."""
    paths = case_files(data)
    if split is not None:
        rows = read_table(data)
        chosen = [path for path in paths if rows.get(path.stem, {}).get("split") == split]
        if not chosen:
            known = ", ".join(sorted({row["split"] for row in rows.values() if row.get("split")})) or "none"
            raise DataMissing(f"{paths[0].parent / TABLE}: no case has the split {split!r}; known: {known}")
        paths = chosen
    return tuple(recording_of(path) for path in paths)


def read_table(data: Path) -> Mapping[str, Mapping[str, str]]:
    """Return the rows of `cases.csv` by case name (`case07`); empty where there is no such file."""
    path = case_files(data)[0].parent / TABLE
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as table:
        return {f"case{int(row['case'].removeprefix('case')):02d}": row for row in csv.DictReader(table)}


def folds_of(cases: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the held-out cases of each fold: every fourth case in order of name, so that nobody chose them by result."""
    ordered = sorted(cases)
    return tuple(tuple(ordered[fold::FOLDS]) for fold in range(FOLDS))
