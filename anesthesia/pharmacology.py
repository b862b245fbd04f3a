"""What a drug does on its way: three compartments and an effect site, and the depth that propofol and remifentanil give together. Pure.

The linear system is discretised exactly (matrix exponential) for a constant infusion over a step of any length, so that a step of one
hour equals 3600 steps of one second. Amounts and concentrations share one mass unit: mg and mg/L (= ug/mL) for propofol, ug and ug/L
(= ng/mL) for remifentanil.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from anesthesia.errors import BadValue

Floats = NDArray[np.float64]
SECONDS_PER_MINUTE = 60.0


class Sex(StrEnum):
    """The sex that the covariate models were fitted with."""

    FEMALE = "F"
    MALE = "M"


@dataclass(frozen=True, slots=True)
class Covariates:
    """What the models ask of a patient. Adults: the models below are not for children."""

    age_years: float
    weight_kg: float
    height_cm: float
    sex: Sex

    def __post_init__(self) -> None:
        """Refuse what no adult has; outside these bounds the lean body mass of James turns back or below zero."""
        for name, value, low, high in (
            ("age_years", self.age_years, 16.0, 120.0),
            ("weight_kg", self.weight_kg, 30.0, 250.0),
            ("height_cm", self.height_cm, 120.0, 230.0),
        ):
            if not low <= value <= high:
                raise BadValue(f"{name} {value:g} is outside {low:g} to {high:g}, where the models hold")

    @property
    def lean_body_mass_kg(self) -> float:
        """Lean body mass after James 1976, as Schnider and Minto used it."""
        ratio = (self.weight_kg / self.height_cm) ** 2
        if self.sex is Sex.MALE:
            return 1.1 * self.weight_kg - 128.0 * ratio
        return 1.07 * self.weight_kg - 148.0 * ratio

    @property
    def fat_free_mass_kg(self) -> float:
        """Fat-free mass after Al-Sallami et al., Clin Pharmacokinet 2015;54:1183, as Eleveld used it."""
        bmi = self.weight_kg / (self.height_cm / 100.0) ** 2
        if self.sex is Sex.MALE:
            grown = 0.88 + 0.12 / (1.0 + (self.age_years / 13.4) ** -12.7)
            return float(grown * 9270.0 * self.weight_kg / (6680.0 + 216.0 * bmi))
        grown = 1.11 - 0.11 / (1.0 + (self.age_years / 7.1) ** -1.1)
        return float(grown * 9270.0 * self.weight_kg / (8780.0 + 244.0 * bmi))


@dataclass(frozen=True, slots=True)
class Compartments:
    """Volumes in L (central, fast, slow), clearances in L/min (elimination, fast, slow) and the effect-site rate in 1/min."""

    volumes_l: tuple[float, float, float]
    clearances_l_min: tuple[float, float, float]
    ke0_per_min: float

    def __post_init__(self) -> None:
        """Refuse parameters that covariates far from the fitted population have driven below zero."""
        if min(*self.volumes_l, *self.clearances_l_min, self.ke0_per_min) <= 0.0:
            raise BadValue(f"a volume, clearance or ke0 is not positive: {self}")

    @property
    def rates_per_min(self) -> Floats:
        """The 4 x 4 system: amounts in the three compartments, then the effect-site concentration."""
        (v1, v2, v3), (cl1, cl2, cl3) = self.volumes_l, self.clearances_l_min
        return np.array(
            [
                [-(cl1 + cl2 + cl3) / v1, cl2 / v2, cl3 / v3, 0.0],
                [cl2 / v1, -cl2 / v2, 0.0, 0.0],
                [cl3 / v1, 0.0, -cl3 / v3, 0.0],
                [self.ke0_per_min / v1, 0.0, 0.0, -self.ke0_per_min],
            ]
        )


def schnider(who: Covariates) -> Compartments:
    """Propofol after Schnider et al., Anesthesiology 1998;88:1170 and 1999;90:1502 (ke0)."""
    elimination = 1.89 + 0.0456 * (who.weight_kg - 77.0) - 0.0681 * (who.lean_body_mass_kg - 59.0) + 0.0264 * (who.height_cm - 177.0)
    return Compartments(
        volumes_l=(4.27, 18.9 - 0.391 * (who.age_years - 53.0), 238.0),
        clearances_l_min=(elimination, 1.29 - 0.024 * (who.age_years - 53.0), 0.836),
        ke0_per_min=0.456,
    )


MARSH_KE0_PER_MIN = 0.26
MODIFIED_MARSH_KE0_PER_MIN = 1.2  # as in the pumps that follow Struys et al., Anesthesiology 2000;92:399


def marsh(who: Covariates, ke0_per_min: float = MODIFIED_MARSH_KE0_PER_MIN) -> Compartments:
    """Propofol after Marsh et al., Br J Anaesth 1991;67:41, with the effect-site rate of the modified model unless told otherwise."""
    v1 = 0.228 * who.weight_kg
    return Compartments(
        volumes_l=(v1, 0.463 * who.weight_kg, 2.893 * who.weight_kg),
        clearances_l_min=(0.119 * v1, 0.112 * v1, 0.042 * v1),
        ke0_per_min=ke0_per_min,
    )


def minto(who: Covariates) -> Compartments:
    """Remifentanil after Minto et al., Anesthesiology 1997;86:10."""
    age, lean = who.age_years - 40.0, who.lean_body_mass_kg - 55.0
    return Compartments(
        volumes_l=(5.1 - 0.0201 * age + 0.072 * lean, 9.82 - 0.0811 * age + 0.108 * lean, 5.42),
        clearances_l_min=(2.6 - 0.0162 * age + 0.0191 * lean, 2.05 - 0.0301 * age, 0.076 - 0.00113 * age),
        ke0_per_min=0.595 - 0.007 * age,
    )


REFERENCE_PATIENT = Covariates(age_years=35.0, weight_kg=70.0, height_cm=170.0, sex=Sex.MALE)  # of both models of Eleveld


def _sigmoid(value: float, half: float, steepness: float) -> float:
    return float(value**steepness / (value**steepness + half**steepness))


def eleveld_propofol(who: Covariates, *, opioid: bool) -> Compartments:
    """Propofol after Eleveld et al., Br J Anaesth 2018;120:942, arterial sampling; `opioid` when one is given beside it.

    The clearance to the fast compartment is 1.75 L/min times a maturation term that is 1.046 in the reference patient: 1.83 L/min there.
    """
    years, ratio = who.age_years - REFERENCE_PATIENT.age_years, who.weight_kg / REFERENCE_PATIENT.weight_kg
    weeks, reference_weeks = (52.0 * age + 40.0 for age in (who.age_years, REFERENCE_PATIENT.age_years))  # since conception
    grown = _sigmoid(weeks, 42.3, 9.06) / _sigmoid(reference_weeks, 42.3, 9.06)
    slow_grown, slow_reference = _sigmoid(weeks, 68.3, 1.0), _sigmoid(reference_weeks, 68.3, 1.0)
    central = 6.28 * _sigmoid(who.weight_kg, 33.6, 1.0) / _sigmoid(REFERENCE_PATIENT.weight_kg, 33.6, 1.0)
    fast = 25.5 * ratio * float(np.exp(-0.0156 * years))
    slow = 273.0 * who.fat_free_mass_kg / REFERENCE_PATIENT.fat_free_mass_kg
    elimination = (1.79 if who.sex is Sex.MALE else 2.10) * ratio**0.75 * grown
    if opioid:
        slow *= float(np.exp(-0.0138 * who.age_years))
        elimination *= float(np.exp(-0.00286 * who.age_years))
    return Compartments(
        volumes_l=(central, fast, slow),
        clearances_l_min=(
            elimination,
            1.75 * (fast / 25.5) ** 0.75 * (1.0 + 1.30 * (1.0 - slow_grown)),
            1.11 * (slow / 273.0) ** 0.75 * slow_grown / slow_reference,
        ),
        ke0_per_min=0.146 * ratio**-0.25,
    )


def eleveld_remifentanil(who: Covariates) -> Compartments:
    """Remifentanil after Eleveld et al., Anesthesiology 2017;126:1005.

    The reference values are those of the abstract; the covariates are as public implementations agree on them, but for the factor of
    women on the fast volume, which one of three leaves out.
    """
    years = who.age_years - REFERENCE_PATIENT.age_years
    size = who.fat_free_mass_kg / REFERENCE_PATIENT.fat_free_mass_kg
    grown = _sigmoid(who.weight_kg, 2.88, 2.0) / _sigmoid(REFERENCE_PATIENT.weight_kg, 2.88, 2.0)
    fertile = _sigmoid(who.age_years, 12.0, 6.0) * (1.0 - _sigmoid(who.age_years, 45.0, 6.0))
    woman = 1.0 + 0.470 * fertile if who.sex is Sex.FEMALE else 1.0
    quick, medium, strong = (float(np.exp(slope * years)) for slope in (-0.00554, -0.00327, -0.0315))
    fast = size * medium * woman
    slow = size * strong * float(np.exp(-0.0260 * (who.weight_kg - REFERENCE_PATIENT.weight_kg)))
    return Compartments(
        volumes_l=(5.81 * size * quick, 8.82 * fast, 5.03 * slow),
        clearances_l_min=(2.58 * size**0.75 * grown * woman * medium, 1.72 * fast**0.75 * quick * woman, 0.124 * slow**0.75 * quick),
        ke0_per_min=1.09 * float(np.exp(-0.0289 * years)),
    )


@dataclass(frozen=True, slots=True)
class DrugState:
    """Amounts in the three compartments (mass) and the effect-site concentration (mass/L)."""

    values: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    @property
    def amounts(self) -> tuple[float, float, float]:
        """Mass in the central, fast and slow compartment."""
        return self.values[:3]

    @property
    def effect_site(self) -> float:
        """Effect-site concentration, mass/L."""
        return self.values[3]

    def with_bolus(self, mass: float) -> "DrugState":
        """Return the state right after a bolus into the central compartment."""
        central, fast, slow, effect = self.values
        return DrugState((central + mass, fast, slow, effect))


@dataclass(frozen=True)
class Step:
    """The exact transition of one drug in one patient over a step of constant infusion."""

    model: Compartments
    seconds: float
    transition: Floats
    gain: Floats  # change of the state for an infusion of 1 mass/min over the step

    def after(self, state: DrugState, mass_per_min: float = 0.0) -> DrugState:
        """Return the state at the end of the step with a constant infusion during it."""
        a, b, c, e = self.transition @ np.array(state.values) + self.gain * mass_per_min
        return DrugState((float(a), float(b), float(c), float(e)))

    def plasma(self, state: DrugState) -> float:
        """Return the plasma concentration, mass/L."""
        return state.values[0] / self.model.volumes_l[0]


def step_of(model: Compartments, seconds: float) -> Step:
    """Return the exact step of that many seconds, zero-order hold: one matrix exponential of the system with its input beside it."""
    if not seconds > 0.0:
        raise BadValue(f"a step takes more than 0 s, not {seconds:g}")
    block = np.zeros((5, 5))
    block[:4, :4] = model.rates_per_min
    block[0, 4] = 1.0
    whole = np.asarray(expm(block * (seconds / SECONDS_PER_MINUTE)), dtype=np.float64)
    return Step(model, seconds, whole[:4, :4], whole[:4, 4])


@dataclass(frozen=True, slots=True)
class ResponseSurface:
    """The index that propofol and remifentanil give together: Bouillon et al., Anesthesiology 2004;100:1353, additive (beta = 0).

    `c50_propofol` in ug/mL, `c50_remifentanil` in ng/mL. As published it reads about 21 % high on recorded cases.
    """

    c50_propofol: float = 4.47
    c50_remifentanil: float = 19.3
    steepness: float = 1.43
    awake: float = 97.4

    def depth(self, propofol: float, remifentanil: float) -> float:
        """Return the index, 0 to `awake`, at these effect-site concentrations."""
        load = max(propofol, 0.0) / self.c50_propofol + max(remifentanil, 0.0) / self.c50_remifentanil
        return float(self.awake / (1.0 + load**self.steepness))
