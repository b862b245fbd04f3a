"""What drugs alone tell of the index: fitted on the training patients, calibrated on the validation ones, judged once on the test ones.

`python -m training.evaluate_drugs --data ../shared/data --out build/drugs.json` writes aggregate figures only: no case is named.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from anesthesia import agreement, performance
from anesthesia.agreement import Floats
from anesthesia.conformal import case_balanced_quantile
from anesthesia.pharmacology import ResponseSurface
from training.datasets import Int64, data_folder
from training.drug_courses import simulated_trends
from training.drug_history import SCHNIDER_SITE, DrugHistory, history_of_trend
from training.drug_network import Ensemble
from training.fit_drugs import DrugFitSettings, DrugRows, at_work, complete, fit_drugs, rows_of, said_of
from training.tci import INTERVAL_S, SPLITS, Trend, TrendSet

ALPHA = 0.1
INDUCTION_MIN = 15.0  # from the first propofol
PHASES = ("induction", "maintenance", "recovery")
RANGES = ("awake", "light", "general_range", "deep")
MINTO_SITE = 2  # of remifentanil: 0.5/min, Minto's at 54 years
MINUTE = 6  # intervals
DRAWS = 1000
SIMULATED, SIMULATED_CALIBRATION = 1200, 200  # cases


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What was said of one case's labelled intervals: index in points, `phase` 0 to 2 as in PHASES."""

    patient: int
    index: Floats
    predicted: Floats
    low: Floats
    high: Floats
    phase: Int64


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """One case to be judged, with what any method may use of it."""

    trend: Trend
    history: DrugHistory
    judged: np.ndarray[tuple[int], np.dtype[np.bool_]]


Method = Callable[[Course], Floats]


def cases_of(trends: Iterable[Trend]) -> tuple[Course, ...]:
    """Return the cases with their histories; those without a single judged interval are left out."""
    histories = ((trend, history_of_trend(trend)) for trend in trends)
    cases = (Course(trend, history, at_work(trend, history)) for trend, history in histories)
    return tuple(case for case in cases if case.judged.any())


def phases_of(case: Course) -> Int64:
    """Return the phase of each interval: induction by time, recovery after the last propofol, maintenance between."""
    place = np.arange(case.trend.index.size)
    last = np.flatnonzero(case.trend.propofol_mg_min > 0)[-1]
    phase = np.where(place > last, 2, 1)
    return np.where(case.history.minutes < INDUCTION_MIN, 0, phase).astype(np.int64)


def surface(case: Course) -> Floats:
    """Return the published surface (Bouillon) at Schnider's and Minto's effect sites: nothing fitted."""
    published = ResponseSurface()
    sites = zip(case.history.propofol[:, SCHNIDER_SITE], case.history.remifentanil[:, MINTO_SITE], strict=True)
    return np.array([published.depth(float(propofol), float(remifentanil)) for propofol, remifentanil in sites])


def minute_ago(case: Course) -> Floats:
    """Return the device's own index of a minute ago, the newest then known: no model of drugs, but what every forecast must beat."""
    place = np.arange(case.trend.index.size)
    last = np.maximum.accumulate(np.where(np.isfinite(case.trend.index), place, 0))
    return np.where(place < MINUTE, np.nan, case.trend.index[last[np.maximum(place - MINUTE, 0)]])


def judged_by(network: Ensemble, case: Course, width: float) -> Judged:
    """Return what the network says of a case; half an interval is `width` spreads."""
    kept = case.judged
    predicted, spread = (values[kept] for values in said_of(network, case.history))
    low, high = np.maximum(predicted - width * spread, 0.0), np.minimum(predicted + width * spread, 100.0)
    return Judged(case.trend.patient, case.trend.index[kept], predicted, low, high, phases_of(case)[kept])


def width_of(network: Ensemble, cases: tuple[Course, ...]) -> float:
    """Return the half width, in spreads, that holds 90 % of the calibration cases' labels, each case weighing the same."""
    scores, labels = [], []
    for number, case in enumerate(cases):
        predicted, spread = said_of(network, case.history)
        scores.append((np.abs(predicted - case.trend.index) / spread)[case.judged])
        labels.append(np.full(scores[-1].size, number))
    return case_balanced_quantile(np.concatenate(scores), np.concatenate(labels), ALPHA)


def plain_figures(index: Floats, predicted: Floats) -> dict[str, float]:
    """Return the figures of agreement and of performance of one set of labels."""
    flat = float(index.std()) == 0.0 or float(predicted.std()) == 0.0
    return {
        "labels": int(index.size),
        "mae": agreement.mean_absolute_error(index, predicted),
        "rmse": agreement.root_mean_square_error(index, predicted),
        "ccc": agreement.concordance(index, predicted),
        "pearson": 0.0 if flat else float(np.corrcoef(index, predicted)[0, 1]),
        "mdpe": performance.median_performance_error(index, predicted),
        "mdape": performance.median_absolute_performance_error(index, predicted),
    }


def _parts(names: tuple[str, ...], part: Int64, index: Floats, predicted: Floats) -> dict[str, dict[str, float]]:
    present = [(name, part == number) for number, name in enumerate(names) if (part == number).any()]
    return {name: plain_figures(index[inside], predicted[inside]) for name, inside in present}


def _by_patient(cases: tuple[Judged, ...]) -> tuple[tuple[Floats, Floats], ...]:
    patients: dict[int, list[Judged]] = {}
    for case in cases:
        patients.setdefault(case.patient, []).append(case)
    return tuple((np.concatenate([c.index for c in own]), np.concatenate([c.predicted for c in own])) for own in patients.values())


def _intervals(cases: tuple[Judged, ...], seed: int) -> dict[str, tuple[float, float]]:
    series = _by_patient(cases)
    statistics = {"mae": agreement.mean_absolute_error, "rmse": agreement.root_mean_square_error, "ccc": agreement.concordance}
    return {
        name: agreement.bootstrap_over_cases(statistic, series, np.random.default_rng(seed), draws=DRAWS)
        for name, statistic in statistics.items()
    }


def report(task: str, cases: tuple[Judged, ...], seed: int) -> dict[str, object]:
    """Return the figures of a task: pooled, by case (nameless, by error), range and phase, 95 % intervals by bootstrap over patients."""
    index, predicted, low, high, phase = (
        np.concatenate([getattr(case, name) for case in cases]) for name in ("index", "predicted", "low", "high", "phase")
    )
    own = [{"mae": agreement.mean_absolute_error(case.index, case.predicted), "labels": case.index.size} for case in cases]
    return {
        "task": task,
        "cases": len(cases),
        "hours": index.size * INTERVAL_S / 3600.0,
        **plain_figures(index, predicted),
        "pk": performance.prediction_probability(index, predicted),
        "interval_coverage_90": agreement.interval_coverage(index, low, high),
        "interval_width_90": float(np.median(high - low)),
        "per_case": sorted(own, key=lambda case: case["mae"]),
        "per_range": _parts(RANGES, agreement.states_of(index), index, predicted),
        "per_phase": _parts(PHASES, phase, index, predicted),
        "ci95": _intervals(cases, seed),
    }


def baseline(method: Method, cases: tuple[Course, ...]) -> dict[str, object]:
    """Return pooled figures and those by phase of a method without an interval, where it says something."""
    index, predicted, phase = [], [], []
    for case in cases:
        said = method(case)
        kept = case.judged & np.isfinite(said)
        index.append(case.trend.index[kept])
        predicted.append(said[kept])
        phase.append(phases_of(case)[kept])
    truth, guess = np.concatenate(index), np.concatenate(predicted)
    return {**plain_figures(truth, guess), "per_phase": _parts(PHASES, np.concatenate(phase), truth, guess)}


def baselines(cases: tuple[Course, ...], median: float) -> dict[str, object]:
    """Return the controls: the training patients' median, the published surface, and the device's index of a minute ago."""
    methods: dict[str, Method] = {
        "constant_median": lambda case: np.full(case.trend.index.size, median),
        "response_surface": surface,
        "index_a_minute_ago": minute_ago,
    }
    return {name: baseline(method, cases) for name, method in methods.items()}


def drugs_to_bis(
    task: str, rows: DrugRows, calibration: tuple[Course, ...], test: tuple[Course, ...], settings: DrugFitSettings
) -> dict[str, object]:
    """Return the report of a network fitted on `rows`, with its width from the calibration cases, on the test cases."""
    network = fit_drugs(rows, settings)
    width = width_of(network, calibration)
    judged = tuple(judged_by(network, case, width) for case in test)
    known = sum(int((case.judged & complete(case.trend)).sum()) for case in test)
    return report(task, judged, settings.seed) | {
        "settings": asdict(settings),
        "share_of_labels_with_complete_history": known / sum(case.index.size for case in judged),
    }


def simulated_rows(seed: int) -> tuple[DrugRows, tuple[Course, ...]]:
    """Return what the generator alone gives to fit on and to calibrate with: no recording is touched."""
    return rows_of(simulated_trends(SIMULATED, seed)), cases_of(simulated_trends(SIMULATED_CALIBRATION, seed + 1))


def main() -> None:
    """Fit on recorded training patients, with and without the dosing history, and on simulated ones; write the reports."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate_drugs", description="Judge the drug-response network on trends.")
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder that holds vitaldb_tci_10s (default: SOPOR_DATA)")
    parser.add_argument("--out", type=Path, default=Path("build/drugs.json"), help="where the figures go")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recorded, settings = TrendSet(arguments.data), DrugFitSettings()
    rows, valid, test = rows_of(recorded.trends("train")), cases_of(recorded.trends("valid")), cases_of(recorded.trends("test"))
    reports = {
        "splits_sha256": {split: recorded.digest(split) for split in SPLITS},
        "drugs_to_bis": drugs_to_bis("drugs_to_bis", rows, valid, test, settings),
        "drugs_to_bis_without_history": drugs_to_bis("drugs_to_bis", rows, valid, test, DrugFitSettings(history=False)),
        "drugs_to_bis_generator_only": drugs_to_bis("drugs_to_bis", *simulated_rows(settings.seed), test, settings),
        "drugs_to_bis_generator_only_without_history": drugs_to_bis(
            "drugs_to_bis", *simulated_rows(settings.seed), test, DrugFitSettings(history=False)
        ),
        "baselines": baselines(test, float(rows.index.median())),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(reports, indent=1) + "\n")


if __name__ == "__main__":
    main()
