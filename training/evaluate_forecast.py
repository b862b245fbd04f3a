"""Whether a forecast of the index beats the index shown last: fitted on training, calibrated on validation, judged on test patients.

`python -m training.evaluate_forecast --data ../shared/data --out build/forecast.json` writes aggregate figures only: no case is named.
"""

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from anesthesia import agreement
from anesthesia.agreement import Floats
from anesthesia.conformal import case_balanced_quantile
from training.datasets import Int64, data_folder
from training.drug_courses import simulated_trends
from training.drug_history import history_of_trend
from training.evaluate_drugs import ALPHA, DRAWS, SIMULATED, SIMULATED_CALIBRATION, Course, Judged, phases_of, plain_figures, report
from training.forecast import (
    HORIZONS_S,
    INDEX_LAGS,
    INDEX_MEANS,
    MEDIAN,
    ForecastRows,
    ForecastSettings,
    Past,
    QuantileForecast,
    fit_forecast,
    forecast_rows_of,
    foretold,
    past_of,
)
from training.tci import SPLITS, Trend, TrendSet

INDEX_COLUMNS = 1 + len(INDEX_LAGS) + 2 * len(INDEX_MEANS)  # leading features: the index and its own past
LIGHT_FROM = 60.0  # index points: where a wrong forecast matters most


@dataclass(frozen=True, slots=True, eq=False)
class Foretold:
    """One case as the forecast saw it: quantiles [n, 4, 5] beside what it may be judged by."""

    patient: int
    past: Past
    phase: Int64
    quantiles: Floats

    def judged(self, horizon: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Return the intervals whose later index was shown."""
        return np.asarray(self.past.judged & np.isfinite(self.past.later[:, horizon]), np.bool_)


def foretold_cases(network: QuantileForecast, trends: Iterable[Trend]) -> tuple[Foretold, ...]:
    """Return all cases with something to judge."""
    cases = []
    for trend in trends:
        history = history_of_trend(trend)
        past = past_of(trend, history)
        if (past.judged & np.isfinite(past.later).all(axis=1)).any():
            phase = phases_of(Course(trend, history, past.judged))
            cases.append(Foretold(trend.patient, past, phase, foretold(network, past)))
    return tuple(cases)


def margin_of(cases: tuple[Foretold, ...], horizon: int) -> float:
    """Return by how many points the outer quantiles must move to hold 90 % of the calibration cases (Romano et al., 2019)."""
    scores, labels = [], []
    for number, case in enumerate(cases):
        kept = case.judged(horizon)
        later, said = case.past.later[kept, horizon], case.quantiles[kept, horizon]
        scores.append(np.maximum(said[:, 0] - later, later - said[:, -1]))
        labels.append(np.full(later.size, number))
    return case_balanced_quantile(np.concatenate(scores), np.concatenate(labels), ALPHA)


def judged_at(case: Foretold, horizon: int, margin: float) -> Judged:
    """Return one case's forecasts at one horizon, their intervals widened by the margin."""
    kept = case.judged(horizon)
    said = case.quantiles[kept, horizon]
    low, high = np.maximum(said[:, 0] - margin, 0.0), np.minimum(said[:, -1] + margin, 100.0)
    return Judged(case.patient, case.past.later[kept, horizon], said[:, MEDIAN], low, high, case.phase[kept])


def linear_of(rows: ForecastRows, horizon: int) -> Floats:
    """Return the weights of a least-squares forecast of the change from the index's own past: what the past alone gives."""
    known = rows.later[:, horizon].isfinite()
    past = torch.cat([rows.features[known, :INDEX_COLUMNS], torch.ones(int(known.sum()), 1)], dim=1).double()
    change = (rows.later[known, horizon] - rows.now[known]).double()
    weights: Floats = torch.linalg.solve(past.T @ past + torch.eye(past.size(1)), past.T @ change).numpy()
    return weights


def by_linear(case: Foretold, horizon: int, weights: Floats) -> Floats:
    """Return the least-squares forecasts of a case's judged intervals."""
    kept = case.judged(horizon)
    past = np.column_stack([case.past.features[kept, :INDEX_COLUMNS], np.ones(int(kept.sum()))])
    return np.asarray(np.clip(case.past.now[kept] + past @ weights, 0.0, 100.0), np.float64)


def gain_interval(errors: list[tuple[int, Floats, Floats]], rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % interval of 1 - error / control by bootstrap over patients; `errors` holds patient, both absolute errors."""
    sums: dict[int, Floats] = {}
    for patient, own, control in errors:
        sums[patient] = sums.get(patient, np.zeros(2)) + np.array([own.sum(), control.sum()])
    table = np.stack(list(sums.values()))
    drawn = table[rng.integers(0, len(table), (DRAWS, len(table)))].sum(axis=1)
    low, high = np.percentile(1.0 - drawn[:, 0] / drawn[:, 1], (2.5, 97.5))
    return float(low), float(high)


def horizon_report(cases: tuple[Foretold, ...], horizon: int, margin: float, weights: Floats, seed: int) -> dict[str, object]:
    """Return the report of one horizon beside persistence and the linear forecast, and the gain over persistence."""
    judged = tuple(judged_at(case, horizon, margin) for case in cases if case.judged(horizon).any())
    kept = [case for case in cases if case.judged(horizon).any()]
    last = [case.past.now[case.judged(horizon)] for case in kept]
    linear = [by_linear(case, horizon, weights) for case in kept]
    errors = [(own.patient, np.abs(own.predicted - own.index), np.abs(now - own.index)) for own, now in zip(judged, last, strict=True)]
    index, now, said = np.concatenate([case.index for case in judged]), np.concatenate(last), np.concatenate([c.predicted for c in judged])
    light = now >= LIGHT_FROM
    persistence = plain_figures(index, now)
    return report(f"forecast_{HORIZONS_S[horizon]}_s", judged, seed) | {
        "baselines": {"persistence": persistence, "linear_on_own_past": plain_figures(index, np.concatenate(linear))},
        "gain_over_persistence": 1.0 - agreement.mean_absolute_error(index, said) / persistence["mae"],
        "gain_ci95": gain_interval(errors, np.random.default_rng(seed)),
        "while_60_or_more": {"forecast": plain_figures(index[light], said[light]), "persistence": plain_figures(index[light], now[light])},
    }


def forecast(known: Iterable[Trend], calibration: Iterable[Trend], test: Iterable[Trend], settings: ForecastSettings) -> dict[str, object]:
    """Return the reports of all horizons of a network fitted on the known trends, on the test ones."""
    rows = forecast_rows_of(known)
    network = fit_forecast(rows, settings)
    calibrating, judging = foretold_cases(network, calibration), foretold_cases(network, test)
    reports = [
        horizon_report(judging, horizon, margin_of(calibrating, horizon), linear_of(rows, horizon), settings.seed)
        for horizon in range(len(HORIZONS_S))
    ]
    return {"settings": asdict(settings), "horizons": reports}


def main() -> None:
    """Fit on recorded patients and, apart, on simulated ones; calibrate, judge, write."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate_forecast", description="Judge the forecast on recorded trends.")
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder that holds vitaldb_tci_10s (default: SOPOR_DATA)")
    parser.add_argument("--out", type=Path, default=Path("build/forecast.json"), help="where the figures go")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recorded, settings = TrendSet(arguments.data), ForecastSettings()
    simulated = simulated_trends(SIMULATED, settings.seed), simulated_trends(SIMULATED_CALIBRATION, settings.seed + 1)
    figures = {
        "splits_sha256": {split: recorded.digest(split) for split in SPLITS},
        "recorded": forecast(recorded.trends("train"), recorded.trends("valid"), recorded.trends("test"), settings),
        "generator_only": forecast(*simulated, recorded.trends("test"), settings),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
