"""What is known of a case from its drugs alone: effect-site concentrations, and a context of patient and dosing history. Causal.

Row k of every array rests on the infusions up to the end of interval k and on nothing later. A what-if keeps the context of the moment it
is asked and moves only the effect sites.
"""

from dataclasses import dataclass

import numpy as np

from anesthesia.infusion_course import amounts_of, effect_sites_of
from anesthesia.pharmacology import Covariates, Floats, Sex, marsh, minto, schnider
from training.tci import INTERVAL_S, Trend

# Effect sites from fast to slow, 1/min: those of modified Marsh, Schnider, Marsh and Eleveld, and one slower than any of them.
PROPOFOL_KE0 = (1.2, 0.456, 0.26, 0.146, 0.05)
SCHNIDER_SITE = 2  # column of Schnider's own effect site, after the plasma
REMIFENTANIL_KE0 = (0.9, 0.5, 0.2, 0.05)
PROPOFOL_SITES = 2 + len(PROPOFOL_KE0)  # Schnider's plasma, its effect sites, the pump's own (modified Marsh)
REMIFENTANIL_SITES = 1 + len(REMIFENTANIL_KE0)
PATIENT = 5  # leading columns of the context: age, sex, height, weight, time since the first propofol
LAGS = (3, 6, 18, 36, 90, 180)  # intervals: half a minute to half an hour
CHANGED = 0.1  # of a rate: less is the pump's own steering
NEGLIGIBLE_UG_ML = 0.05  # of propofol at the effect site: below it no drug is at work


@dataclass(frozen=True, slots=True, eq=False)
class DrugHistory:
    """One case, a row for each interval of 10 s.

    `propofol` [n, 7] ug/mL and `remifentanil` [n, 5] ng/mL are effect sites, every one a non-negative, linear and rising function of every
    past dose; `context` [n, c] is unscaled; `minutes` since the first propofol, negative before it.
    """

    propofol: Floats
    remifentanil: Floats
    context: Floats
    minutes: Floats

    @property
    def effect_site(self) -> Floats:
        """Schnider's effect-site concentration of propofol, ug/mL."""
        return self.propofol[:, SCHNIDER_SITE]


def lagged(values: Floats, intervals: int) -> Floats:
    """Return the values so many intervals ago; before the case began, its first."""
    place = np.arange(values.size)
    return values[np.maximum(place - intervals, 0)]


def since(happened: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Floats:
    """Return the number of intervals since it last happened, or since the case began."""
    place = np.arange(happened.size)
    return (place - np.maximum.accumulate(np.where(happened, place, 0))).astype(np.float64)


def _minutes(mass_per_min: Floats) -> Floats:
    given = np.flatnonzero(mass_per_min > 0)
    first = given[0] if given.size else mass_per_min.size
    return (np.arange(mass_per_min.size) - first) * INTERVAL_S / 60.0


def _of_pump(rate: Floats) -> list[Floats]:
    """Return log rate, log time since it ran and log time since a person changed it."""
    before = lagged(rate, 1)
    changed = np.abs(rate - before) > CHANGED * (rate + 0.3)
    return [np.log1p(rate), np.log1p(since(rate > 0)), np.log1p(since(changed))]


def _patient(who: Covariates, minutes: Floats) -> list[Floats]:
    facts = (who.age_years, float(who.sex is Sex.MALE), who.height_cm, who.weight_kg)
    return [np.full(minutes.size, fact) for fact in facts] + [np.log1p(np.maximum(minutes, 0.0))]


def history_of(who: Covariates, propofol_mg_min: Floats, remifentanil_ug_min: Floats) -> DrugHistory:
    """Return the history of a course of infusions on the grid of 10 s, from a patient without either drug."""
    own, pump, opioid = schnider(who), marsh(who), minto(who)
    plasma = amounts_of(own, propofol_mg_min, INTERVAL_S)[1:] / own.volumes_l
    plasma_opioid = amounts_of(opioid, remifentanil_ug_min, INTERVAL_S)[1:] / opioid.volumes_l
    sites = effect_sites_of(own, propofol_mg_min, INTERVAL_S, PROPOFOL_KE0)
    propofol = np.column_stack([plasma[:, 0], sites, effect_sites_of(pump, propofol_mg_min, INTERVAL_S, (pump.ke0_per_min,))])
    remifentanil = np.column_stack([plasma_opioid[:, 0], effect_sites_of(opioid, remifentanil_ug_min, INTERVAL_S, REMIFENTANIL_KE0)])
    minutes = _minutes(propofol_mg_min)
    columns = _patient(who, minutes)
    columns += _of_pump(propofol_mg_min * 60.0 / who.weight_kg) + _of_pump(remifentanil_ug_min * 60.0 / who.weight_kg)
    columns += [np.log1p(np.maximum(column, 0.0)) for column in (*propofol.T, *remifentanil.T, *plasma[:, 1:].T, *plasma_opioid[:, 1:].T)]
    columns += [np.log1p(np.cumsum(mass) * INTERVAL_S / 60.0 / who.weight_kg) for mass in (propofol_mg_min, remifentanil_ug_min)]
    for site in (propofol[:, -1], remifentanil[:, 1], plasma[:, 0]):
        level = np.log1p(np.maximum(site, 0.0))
        columns += [level - lagged(level, intervals) for intervals in LAGS]
    return DrugHistory(np.maximum(propofol, 0.0), np.maximum(remifentanil, 0.0), np.column_stack(columns), minutes)


def history_of_trend(trend: Trend) -> DrugHistory:
    """Return the history of a recorded or simulated trend."""
    return history_of(trend.who, trend.propofol_mg_min, trend.remifentanil_ug_min)
