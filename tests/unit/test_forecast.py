"""The promises of the forecast: causal, quantiles in order, figures against persistence. On made-up trends; no recording is needed."""

import numpy as np
import pytest
import torch

from anesthesia.pharmacology import Covariates, Sex
from training.drug_courses import simulated_trends
from training.drug_history import history_of_trend
from training.evaluate_forecast import foretold_cases, gain_interval, horizon_report, linear_of, margin_of
from training.forecast import (
    HORIZONS_S,
    QUANTILES,
    STEPS,
    ForecastSettings,
    QuantileForecast,
    fit_forecast,
    forecast_rows_of,
    held,
    moving,
    past_of,
    pinball,
)
from training.tci import Trend

MAN = Covariates(age_years=45, weight_kg=80, height_cm=178, sex=Sex.MALE)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def trend(seed: int = 1, intervals: int = 260) -> Trend:
    rng = np.random.default_rng(seed)
    index = 45 + np.cumsum(rng.normal(0, 1, intervals)) * 0.3
    rates = np.full(intervals, 20.0), np.full(intervals, 15.0)
    return Trend(seed, MAN, index, *rates, 70 + rng.normal(0, 3, intervals), 80 + rng.normal(0, 5, intervals))


def test_features_know_nothing_of_what_comes_later():
    now, changed = trend(), trend()
    for name in ("index", "propofol_ml_h", "heart_rate", "pressure"):
        getattr(changed, name)[150:] = 33.0

    before, after = (past_of(case, history_of_trend(case)) for case in (now, changed))

    assert np.allclose(before.features[:150], after.features[:150], atol=1e-9)
    assert not np.allclose(before.features[150:], after.features[150:])


def test_what_came_later_is_that_many_intervals_later_and_unknown_beyond_the_end():
    case = trend()

    past = past_of(case, history_of_trend(case))

    assert [past.later[100, column] for column in range(len(STEPS))] == [case.index[100 + steps] for steps in STEPS]
    assert np.isnan(past.later[-STEPS[-1] :, -1]).all()


def test_a_shown_index_is_held_for_a_minute():
    values = np.array([np.nan, 40.0, *[np.nan] * 7, 50.0])

    assert np.array_equal(held(values, 6), [np.nan, *[40.0] * 7, np.nan, 50.0], equal_nan=True)


def test_moving_figures_rest_on_what_is_known():
    mean, spread = moving(np.array([np.nan, 40.0, np.nan, 50.0]), 3)

    assert np.isnan(mean[0])
    assert mean[1:].tolist() == [40, 40, 45]
    assert spread[3] == pytest.approx(5)


def test_quantiles_never_cross():
    torch.manual_seed(2)
    network = QuantileForecast(torch.zeros(30), torch.ones(30)).eval()
    with torch.no_grad():
        network.leave.weight.mul_(20)

    said = network(torch.randn(500, 30) * 5, 100 * torch.rand(500))

    assert said.shape == (500, len(HORIZONS_S), len(QUANTILES))
    assert bool((said.diff(dim=2) > 0).all())


def test_the_pinball_loss_is_least_at_the_quantile_and_skips_what_was_not_shown():
    later = torch.linspace(0, 100, 1001).unsqueeze(1)
    quantile = torch.tensor([0.9])

    losses = [float(pinball(quantile, torch.full((1001, 1, 1), level), later)) for level in (80.0, 90.0, 97.0)]
    with_gap = float(pinball(quantile, torch.full((1002, 1, 1), 90.0), torch.cat([later, torch.tensor([[torch.nan]])])))

    assert losses[1] == min(losses)
    assert with_gap == pytest.approx(losses[1])


def test_the_gain_of_a_forecast_without_error_is_whole_and_of_persistence_none():
    rng = np.random.default_rng(1)
    control = [(patient, np.abs(rng.normal(0, 4, 50))) for patient in range(9)]

    whole = gain_interval([(patient, 0 * error, error) for patient, error in control], np.random.default_rng(1))
    none = gain_interval([(patient, error, error) for patient, error in control], np.random.default_rng(1))

    assert (whole, none) == ((1.0, 1.0), (0.0, 0.0))


def test_a_short_fit_beats_persistence_on_simulated_patients():
    trends = tuple(simulated_trends(24, seed=21, intervals=600))
    rows = forecast_rows_of(trends[:14])
    network = fit_forecast(rows, ForecastSettings(epochs=15, batch=512))
    calibration, unseen = foretold_cases(network, trends[14:19]), foretold_cases(network, trends[19:])

    figures = horizon_report(unseen, 2, margin_of(calibration, 2), linear_of(rows, 2), seed=1)

    assert figures["task"] == "forecast_180_s"
    assert figures["gain_over_persistence"] > 0.05
    assert 0.7 < figures["interval_coverage_90"] <= 1.0
    assert network.unit[32] == torch.inf  # the simulated have no arterial line
    assert figures["baselines"]["linear_on_own_past"]["mae"] < figures["baselines"]["persistence"]["mae"]
