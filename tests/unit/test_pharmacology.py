"""Compartments, their exact steps and the response surface; the recorded pumps where their folder is present."""

import os
from pathlib import Path

import numpy as np
import pytest

from anesthesia.errors import BadValue
from anesthesia.infusion_course import amounts_of, effect_site_of, effect_sites_of
from anesthesia.pharmacology import (
    Compartments,
    Covariates,
    DrugState,
    ResponseSurface,
    Sex,
    eleveld_propofol,
    eleveld_remifentanil,
    marsh,
    minto,
    schnider,
    step_of,
)
from training.tci import read_pumps

MAN = Covariates(age_years=53, weight_kg=77, height_cm=177, sex=Sex.MALE)
WOMAN = Covariates(age_years=60, weight_kg=62, height_cm=158, sex=Sex.FEMALE)
REFERENCE = Covariates(age_years=35, weight_kg=70, height_cm=170, sex=Sex.MALE)
ALL = [schnider(MAN), marsh(MAN), minto(MAN), eleveld_propofol(WOMAN, opioid=True), eleveld_remifentanil(WOMAN)]
RECORDED = Path(os.environ.get("SOPOR_DATA", Path(__file__).parents[3] / "shared" / "data")) / "vitaldb_tci_ce_19"


def test_the_lean_body_mass_is_that_of_james():
    lean = MAN.lean_body_mass_kg

    assert lean == pytest.approx(1.1 * 77 - 128 * (77 / 177) ** 2)


def test_the_reference_patient_of_schnider_has_the_published_parameters():
    model = schnider(MAN)

    assert model.volumes_l == pytest.approx((4.27, 18.9, 238.0))
    assert model.clearances_l_min == pytest.approx((1.89 - 0.0681 * (MAN.lean_body_mass_kg - 59), 1.29, 0.836))


def test_the_elderly_need_less_remifentanil_for_the_same_effect():
    old = Covariates(age_years=80, weight_kg=77, height_cm=177, sex=Sex.MALE)

    young_model, old_model = minto(MAN), minto(old)

    assert old_model.clearances_l_min[0] < young_model.clearances_l_min[0]
    assert old_model.ke0_per_min < young_model.ke0_per_min


def test_the_reference_patient_of_eleveld_has_the_published_parameters():
    propofol, remifentanil = eleveld_propofol(REFERENCE, opioid=False), eleveld_remifentanil(REFERENCE)

    assert propofol.volumes_l == pytest.approx((6.28, 25.5, 273.0))
    assert propofol.clearances_l_min == pytest.approx((1.79, 1.83, 1.11), abs=0.005)
    assert propofol.ke0_per_min == pytest.approx(0.146)
    assert remifentanil.volumes_l == pytest.approx((5.81, 8.82, 5.03))
    assert remifentanil.clearances_l_min == pytest.approx((2.58, 1.72, 0.124))
    assert remifentanil.ke0_per_min == pytest.approx(1.09)


def test_an_opioid_beside_propofol_slows_its_elimination_by_age():
    alone, beside = eleveld_propofol(WOMAN, opioid=False), eleveld_propofol(WOMAN, opioid=True)

    assert beside.clearances_l_min[0] / alone.clearances_l_min[0] == pytest.approx(np.exp(-0.00286 * 60))
    assert beside.volumes_l[2] / alone.volumes_l[2] == pytest.approx(np.exp(-0.0138 * 60))
    assert beside.clearances_l_min[2] / alone.clearances_l_min[2] == pytest.approx(np.exp(-0.0138 * 60 * 0.75))


def test_the_fat_free_mass_of_an_adult_is_near_that_of_janmahasatian():
    bmi = 77 / 1.77**2

    assert MAN.fat_free_mass_kg == pytest.approx(9270 * 77 / (6680 + 216 * bmi), rel=0.001)
    assert WOMAN.fat_free_mass_kg == pytest.approx(9270 * 62 / (8780 + 244 * 62 / 1.58**2), rel=0.02)


@pytest.mark.parametrize("model", ALL)
def test_a_course_in_modes_is_the_course_step_by_step(model: Compartments):
    rates = np.random.default_rng(4).uniform(0, 30, 400) * (np.arange(400) % 50 < 30)
    step, state, amounts, sites = step_of(model, 10.0), DrugState(), [], []
    for rate in rates:
        amounts.append(state.amounts)
        state = step.after(state, rate)
        sites.append(state.effect_site)

    assert amounts_of(model, rates, 10.0) == pytest.approx(np.array([*amounts, state.amounts]), rel=1e-9, abs=1e-9)
    assert effect_site_of(model, rates, 10.0) == pytest.approx(np.array(sites), rel=1e-9, abs=1e-12)


def test_a_faster_effect_site_follows_the_plasma_closer():
    rates = np.r_[np.full(30, 50.0), np.zeros(60)]

    fast, slow = effect_sites_of(schnider(MAN), rates, 10.0, (1.2, 0.1)).T

    assert fast.argmax() < slow.argmax()
    assert fast[29] > slow[29]
    assert fast[-1] < slow[-1]


@pytest.mark.parametrize("model", ALL)
def test_without_elimination_no_mass_is_lost(model: Compartments):
    closed = Compartments(model.volumes_l, (1e-12, *model.clearances_l_min[1:]), model.ke0_per_min)
    step = step_of(closed, 10.0)
    state = DrugState().with_bolus(100.0)

    for _ in range(360):
        state = step.after(state, 6.0)

    assert sum(state.amounts) == pytest.approx(100.0 + 360.0, rel=1e-9)


@pytest.mark.parametrize("model", ALL)
def test_what_goes_in_is_what_stays_and_what_was_eliminated(model: Compartments):
    step = step_of(model, 0.5)
    state, eliminated = DrugState(), 0.0

    for _ in range(1200):
        later = step.after(state, 12.0)
        eliminated += model.clearances_l_min[0] * 0.5 * (step.plasma(state) + step.plasma(later)) / 120.0 * 1.0
        state = later

    assert sum(state.amounts) + eliminated == pytest.approx(120.0, rel=1e-4)


@pytest.mark.parametrize("model", ALL)
def test_an_endless_infusion_ends_at_rate_over_clearance(model: Compartments):
    step = step_of(model, 3600.0)
    state = DrugState()

    for _ in range(24 * 60):
        state = step.after(state, 5.0)

    expected = 5.0 / model.clearances_l_min[0]
    assert step.plasma(state) == pytest.approx(expected, rel=1e-3)
    assert state.effect_site == pytest.approx(expected, rel=1e-3)


def test_one_step_of_an_hour_equals_its_seconds():
    hour, second = step_of(schnider(MAN), 3600.0), step_of(schnider(MAN), 1.0)
    state = DrugState().with_bolus(140.0)

    for _ in range(3600):
        state = second.after(state, 7.0)

    assert state.values == pytest.approx(hour.after(DrugState().with_bolus(140.0), 7.0).values, rel=1e-9)


def test_the_surface_falls_with_either_drug_and_is_awake_without():
    surface = ResponseSurface()

    awake, propofol, both = surface.depth(0, 0), surface.depth(4.47, 0), surface.depth(4.47, 6.0)

    assert awake == 97.4
    assert propofol == pytest.approx(97.4 / 2)
    assert both < propofol


def test_a_step_of_no_length_is_refused():
    with pytest.raises(BadValue, match="more than 0 s"):
        step_of(schnider(MAN), 0.0)


def test_covariates_that_no_adult_has_are_refused():
    with pytest.raises(BadValue, match="weight_kg"):
        Covariates(age_years=40, weight_kg=3.5, height_cm=170, sex=Sex.FEMALE)


def _error(ml_h: np.ndarray, mass_per_ml: float, recorded: np.ndarray, model: Compartments) -> float:
    """Return the median absolute percentage error of our effect site against the pump's own, where the pump shows one."""
    predicted = effect_site_of(model, np.nan_to_num(ml_h) * mass_per_ml / 60.0, 10.0)
    shown = np.isfinite(recorded) & (recorded > 0.1)
    if shown.sum() < 30:
        return float("nan")
    # A row holds the pump's value at the start of its 10 s.
    aligned = np.concatenate([[0.0], predicted[:-1]])
    return float(np.median(np.abs(aligned[shown] - recorded[shown]) / recorded[shown])) * 100.0


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"the recordings are not present at {RECORDED}")
def test_recorded_pumps_are_reproduced_within_three_per_cent():
    pumps = read_pumps(RECORDED.parent)

    propofol = [_error(pump.propofol_ml_h, 20.0, pump.propofol_effect, marsh(pump.who)) for pump in pumps]
    remifentanil = [_error(pump.remifentanil_ml_h, 20.0, pump.remifentanil_effect, minto(pump.who)) for pump in pumps]

    assert len(pumps) == 19
    assert np.nanmedian(propofol) <= 3.0
    assert np.nanmedian(remifentanil) <= 3.0
