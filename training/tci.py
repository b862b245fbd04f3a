"""Recorded trends of total intravenous anaesthesia, and what infusion pumps said of themselves. The unit of every split is the patient.

The recordings come under a data use agreement: they are read for evaluation inside the house, and neither they nor weights fitted on
them are stored here. Only aggregate figures leave.
"""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from anesthesia.errors import BadValue
from anesthesia.pharmacology import Covariates, Floats, Sex
from training.datasets import DataMissing

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

INTERVAL_S = 10.0
ADULT_YEARS = 18.0  # the product's scope
COLUMNS = ("bis", "ppf20_ml_h", "rftn20_ml_h", "hr_bpm", "mbp_mmhg")
PROPOFOL_MG_PER_ML = 20.0
REMIFENTANIL_UG_PER_ML = 20.0
RATE_HELD = 6  # intervals that a pump's last rate still counts when its cable is silent
HEART_RATE_BPM = (30.0, 180.0)
PRESSURE_MMHG = (30.0, 160.0)  # beyond it an arterial line is being flushed, zeroed or drawn from
RAMP = 1  # intervals beside such an artefact that hold part of it


class SplitLeak(Exception):
    """A patient is in two splits; says how many are. Nothing may be fitted on such a list."""


@dataclass(frozen=True, slots=True, eq=False)
class Trend:
    """One anaesthetic on a grid of 10 s, NaN where nothing was recorded.

    `index` is the device's (1 to 100), rates are mL/h of propofol 20 mg/mL and remifentanil 20 ug/mL, `heart_rate` bpm, `pressure` the
    mean arterial one in mmHg, both without artefacts.
    """

    patient: int  # what a split and a bootstrap keep together; one patient may have several cases
    who: Covariates
    index: Floats
    propofol_ml_h: Floats
    remifentanil_ml_h: Floats
    heart_rate: Floats
    pressure: Floats

    @property
    def propofol_mg_min(self) -> Floats:
        """Propofol, mg/min, as `infused` understands gaps."""
        return infused(self.propofol_ml_h) * PROPOFOL_MG_PER_ML / 60.0

    @property
    def remifentanil_ug_min(self) -> Floats:
        """Remifentanil, ug/min, as `infused` understands gaps."""
        return infused(self.remifentanil_ml_h) * REMIFENTANIL_UG_PER_ML / 60.0


@dataclass(frozen=True, slots=True, eq=False)
class PumpRecord:
    """What pumps gave (mL/h) and what they said the effect site holds: propofol ug/mL, remifentanil ng/mL; NaN where they were silent."""

    caseid: int
    who: Covariates
    propofol_ml_h: Floats
    propofol_effect: Floats
    remifentanil_ml_h: Floats
    remifentanil_effect: Floats


def infused(ml_h: Floats) -> Floats:
    """Return the rate with gaps filled: the last one for a minute of silence, then 0, as before the pump was connected."""
    place = np.arange(ml_h.size)
    last = np.maximum.accumulate(np.where(np.isfinite(ml_h), place, -1))
    held = (last >= 0) & (place - last <= RATE_HELD)
    return np.where(held, ml_h[np.maximum(last, 0)], 0.0)


def history_is_complete(ml_h: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return, for each interval, whether the pump was never silent for more than a minute between two of its rates so far."""
    place, known = np.arange(ml_h.size), np.isfinite(ml_h)
    last = np.maximum.accumulate(np.where(known, place, -1))
    before = np.concatenate([[-1], last[:-1]])
    resumed = known & (before >= 0) & (place - before > RATE_HELD + 1)
    return ~np.maximum.accumulate(resumed)


def believed(values: Floats, bounds: tuple[float, float], ramp: int = 0) -> Floats:
    """Return the values inside the bounds; others, and `ramp` intervals on either side of them, become NaN."""
    low, high = bounds
    wrong = (values < low) | (values > high)
    near = np.convolve(wrong, np.ones(2 * ramp + 1), mode="same") > 0
    return np.where(near, np.nan, values)


def _who(row: dict[str, str]) -> Covariates:
    return Covariates(float(row["age"]), float(row["weight"]), float(row["height"]), Sex(row["sex"]))


def _in_scope(row: dict[str, str]) -> bool:
    """Tell whether the row is of an adult for whom the pharmacology holds."""
    try:
        return _who(row).age_years >= ADULT_YEARS
    except BadValue:
        return False


class TrendSet:
    """The trends below a folder: the list at once, each column when first asked for. Children and others out of scope are left out."""

    def __init__(self, data: Path) -> None:
        """Read the list of cases; raise DataMissing without it and SplitLeak when a patient is in two splits."""
        self._folder = data / "vitaldb_tci_10s"
        if not (self._folder / "cases.csv").is_file():
            raise DataMissing(f"no vitaldb_tci_10s/cases.csv below {data}; set SOPOR_DATA to the folder that holds it")
        with (self._folder / "cases.csv").open() as file:
            self._rows = {int(row["caseid"]): row for row in csv.DictReader(file)}
        splits: dict[str, set[str]] = {}
        for row in self._rows.values():
            splits.setdefault(row["subjectid"], set()).add(row["split"])
        twice = sum(len(of_patient) > 1 for of_patient in splits.values())
        if twice:
            raise SplitLeak(f"{twice} patients are in two splits of {self._folder / 'cases.csv'}; mend the list first")

    def caseids(self, split: Split) -> tuple[int, ...]:
        """Return the cases of a split that are in scope, in order."""
        return tuple(sorted(case for case, row in self._rows.items() if row["split"] == split and _in_scope(row)))

    def digest(self, split: Split) -> str:
        """Return the SHA-256 of the split's case numbers, one a line: what a figure was measured on, without saying who."""
        return sha256("\n".join(str(case) for case in self.caseids(split)).encode()).hexdigest()

    def trends(self, split: Split) -> Iterator[Trend]:
        """Yield the trends of a split."""
        return (self.trend(case) for case in self.caseids(split))

    def trend(self, caseid: int) -> Trend:
        """Return one case."""
        bounds = self._bounds[caseid]
        bis, propofol, remifentanil, heart_rate, pressure = (self._columns[name][bounds].astype(np.float64) for name in COLUMNS)
        row = self._rows[caseid]
        return Trend(
            int(row["subjectid"]),
            _who(row),
            np.where(bis > 0, bis, np.nan),
            propofol,
            remifentanil,
            believed(heart_rate, HEART_RATE_BPM),
            believed(pressure, PRESSURE_MMHG, RAMP),
        )

    @cached_property
    def _columns(self) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]]:
        with np.load(self._folder / "series.npz", allow_pickle=False) as archive:
            return {name: archive[name] for name in COLUMNS}

    @cached_property
    def _bounds(self) -> dict[int, slice]:
        with np.load(self._folder / "series.npz", allow_pickle=False) as archive:
            cases, offset = archive["caseid"], archive["offset"]
        return {int(case): slice(int(offset[k]), int(offset[k + 1])) for k, case in enumerate(cases)}


def _column(rows: list[dict[str, str]], name: str) -> Floats:
    return np.array([float(row[name]) if row[name] else np.nan for row in rows])


def read_pumps(data: Path) -> tuple[PumpRecord, ...]:
    """Return the recorded pumps below `data`, by case; raise DataMissing when there are none."""
    folder = data / "vitaldb_tci_ce_19"
    if not (folder / "cases.csv").is_file():
        raise DataMissing(f"no vitaldb_tci_ce_19/cases.csv below {data}; set SOPOR_DATA to the folder that holds it")
    with (folder / "cases.csv").open() as file:
        cases = sorted(csv.DictReader(file), key=lambda row: int(row["caseid"]))
    records = []
    for case in cases:
        with gzip.open(folder / f"case_{int(case['caseid']):04d}.csv.gz", "rt") as file:
            rows = list(csv.DictReader(file))
        columns = (_column(rows, name) for name in ("ppf20_ml_h", "PPF20_CE", "RFTN20_RATE", "RFTN20_CE"))
        records.append(PumpRecord(int(case["caseid"]), _who(case), *columns))
    return tuple(records)
