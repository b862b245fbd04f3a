"""Simulated anaesthetics for fitting without a recording: published pharmacology, patients drawn from it, a person who steers two pumps.

The pumps know modified Marsh and Minto; the patient follows Eleveld with parameters of its own, so the pump is wrong about each one in
another way. The person aims at an index, sees it late and acts seldom: that is what makes a dosing history tell something of the patient.
All cases of a batch advance together, 10 s at a time. What papers do not give is chosen by hand so that levels, times and spreads look
like the aggregate figures of recorded anaesthetics.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from anesthesia.pharmacology import Compartments, Covariates, Floats, Sex, eleveld_propofol, eleveld_remifentanil, marsh, minto, step_of
from training.tci import INTERVAL_S, PROPOFOL_MG_PER_ML, REMIFENTANIL_UG_PER_ML, Trend

# Standard deviations of the logarithms: Eleveld 2018, Eleveld 2017 (square roots of the published variances); a third of each, because the
# papers' populations reach from infants to the obese and these are adults.
PROPOFOL_SPREAD = 0.35 * np.sqrt((0.610, 0.565, 0.597, 0.265, 0.346, 0.209, 0.702))
REMIFENTANIL_SPREAD = 0.35 * np.sqrt((0.104, 0.115, 0.810, 0.0197, 0.0547, 0.285, 1.26))
C50_PROPOFOL, C50_PROPOFOL_SD, C50_PROPOFOL_PER_YEAR = 4.1, 0.25, -0.00635  # ug/mL at 35 years; the slope is Eleveld's
C50_REMIFENTANIL, C50_REMIFENTANIL_SD = 17.0, 0.5  # ng/mL; Bouillon has 19.3
STEEPNESS, STEEPNESS_SD = 1.5, 0.25  # Bouillon has 1.43
AWAKE, AWAKE_SD = 95.5, 1.5
WANDER_SD, WANDER_OF_SD, WANDER_S = 4.8, 0.35, 150.0  # index points at constant drug, between patients, and how long it lasts (chosen)
JITTER_SD = 2.2  # of one reading (chosen)
AROUSAL = (10.0, 45.0)  # index points of a full stimulus without opioid (chosen)
STIMULUS_S = 120.0
DELAY = 9  # intervals: the longest that the monitor lags behind the brain, beside its smoothing
FULL_RATE_ML_H = 1200.0
WOKEN = 78.0  # of the shown index after the pumps stopped
SURFACE_FLOOR = 1e-6


@dataclass(frozen=True, slots=True)
class Drug:
    """Exact steps of many patients at once: transitions [n, 4, 4] and gains [n, 4] of 10 s, and central volumes [n]."""

    transition: Floats
    gain: Floats
    central_l: Floats

    def after(self, state: Floats, mass_per_min: Floats) -> Floats:
        """Return the states [n, 4] after 10 s of these infusions [n]."""
        moved: Floats = np.einsum("nij,nj->ni", self.transition, state) + self.gain * mass_per_min[:, None]
        return moved

    def towards(self, state: Floats, target: Floats, most: Floats) -> Floats:
        """Return the infusions that bring the plasma to the target within 10 s, with an overshoot while the effect site lags far behind."""
        aim = np.where(state[:, 3] < 0.8 * target, 1.6 * target, target) * self.central_l
        unhelped = np.einsum("nj,nj->n", self.transition[:, 0], state)
        return np.asarray(np.clip((aim - unhelped) / self.gain[:, 0], 0.0, most), np.float64)


def _drug(models: list[Compartments]) -> Drug:
    steps = [step_of(model, INTERVAL_S) for model in models]
    volumes = np.array([model.volumes_l[0] for model in models])
    return Drug(np.stack([step.transition for step in steps]), np.stack([step.gain for step in steps]), volumes)


def _varied(model: Compartments, spread: Floats, rng: np.random.Generator) -> Compartments:
    v1, v2, v3, cl1, cl2, cl3, ke0 = np.exp(spread * rng.standard_normal(7).clip(-2.5, 2.5))
    (w1, w2, w3), (of1, of2, of3) = model.volumes_l, model.clearances_l_min
    volumes, clearances = (w1 * v1, w2 * v2, w3 * v3), (of1 * cl1, of2 * cl2, of3 * cl3)
    return replace(model, volumes_l=volumes, clearances_l_min=clearances, ke0_per_min=model.ke0_per_min * ke0)


def person(rng: np.random.Generator) -> Covariates:
    """Return an adult as operating lists have them (chosen)."""
    sex = Sex.MALE if rng.random() < 0.55 else Sex.FEMALE  # noqa: PLR2004
    height = rng.normal(168.0 if sex is Sex.MALE else 156.0, 6.5)
    weight = np.clip(rng.normal(22.0, 3.2) + 1.8, 15.0, 40.0) * (height / 100.0) ** 2
    return Covariates(float(np.clip(rng.normal(58.0, 15.0), 18.0, 92.0)), float(np.clip(weight, 35.0, 140.0)), float(height), sex)


@dataclass(slots=True)
class _Room:
    """The moving state of a batch; every array is [n] unless told."""

    pump_p: Floats  # [n, 4]: what the pump believes
    pump_r: Floats
    body_p: Floats  # [n, 4]: what is there
    body_r: Floats
    target_p: Floats
    target_r: Floats
    shown: Floats
    stimulus: Floats
    wander: Floats
    brain: Floats  # [n, DELAY], the newest last


class Batch:
    """Many anaesthetics side by side."""

    def __init__(self, count: int, intervals: int, rng: np.random.Generator) -> None:
        """Draw patients, their answers to the drugs, and the plan of each case: when it starts, how long it lasts, what is aimed at."""
        self._rng, self._intervals = rng, intervals
        self.people = [person(rng) for _ in range(count)]
        self._pump = _drug([marsh(who) for who in self.people]), _drug([minto(who) for who in self.people])
        self._body = (
            _drug([_varied(eleveld_propofol(who, opioid=True), PROPOFOL_SPREAD, rng) for who in self.people]),
            _drug([_varied(eleveld_remifentanil(who), REMIFENTANIL_SPREAD, rng) for who in self.people]),
        )
        age = np.array([who.age_years for who in self.people])
        older = np.exp(C50_PROPOFOL_PER_YEAR * (age - 35.0))
        self._c50p = C50_PROPOFOL * older * np.exp(C50_PROPOFOL_SD * rng.standard_normal(count))
        self._c50r = C50_REMIFENTANIL * np.exp(C50_REMIFENTANIL_SD * rng.standard_normal(count))
        self._steepness = STEEPNESS * np.exp(STEEPNESS_SD * rng.standard_normal(count))
        self._awake = np.minimum(rng.normal(AWAKE, AWAKE_SD, count), 98.0)
        self._wander = WANDER_SD * np.exp(WANDER_OF_SD * rng.standard_normal(count))
        self._arousal = rng.uniform(*AROUSAL, count)
        self._fresh = rng.uniform(0.3, 0.7, count)  # share of the new in each shown value: 15 to 30 s of smoothing
        self._delay = rng.integers(1, DELAY, count)
        self._aim = rng.normal(43.0, 5.0, count)
        self._eager = np.exp(rng.normal(0.0, 0.4, count))
        self._start = rng.integers(6, 60, count)
        self._opioid_start = np.maximum(self._start + rng.integers(-12, 12, count), 0)
        self._surgery = self._start + rng.integers(90, 240, count)
        self._stop = np.minimum(self._surgery + np.exp(rng.normal(6.3, 0.6, count)).astype(np.int64), intervals - 100)
        self._opioid_stop = self._stop - 18 + rng.exponential(36.0, count).astype(np.int64)
        self._linger = rng.integers(3, 30, count)  # that the monitor stays on a patient who wakes
        self._first_p = np.clip(4.0 * older * np.exp(rng.normal(0.0, 0.15, count)), 2.0, 5.5)
        self._first_r = np.clip(3.5 * np.exp(rng.normal(0.0, 0.35, count)), 1.0, 8.0)

    def _quiet(self, room: _Room) -> Floats:
        """Return the index that the drugs alone give."""
        load = np.maximum(room.body_p[:, 3], 0.0) / self._c50p + np.maximum(room.body_r[:, 3], 0.0) / self._c50r
        return self._awake / (1.0 + np.maximum(load, SURFACE_FLOOR) ** self._steepness)

    def _steer(self, room: _Room, interval: int) -> None:
        """Let the person look at the index, now and then, and change a target."""
        count, rng = room.shown.size, self._rng
        looks = rng.random(count) < 1.0 / 30.0  # every five minutes on average
        gap = room.shown - self._aim
        acts = looks & (np.abs(gap) > rng.uniform(4.0, 14.0, count)) & (interval > self._start + 30)
        change = np.clip(0.013 * gap * self._eager, -0.8, 0.8) * rng.uniform(0.6, 1.4, count)
        room.target_p = np.where(acts, np.clip(room.target_p * np.exp(change), 1.6, 5.5), room.target_p)
        pain = looks & (room.stimulus > 0.4) & (rng.random(count) < 0.5)  # noqa: PLR2004
        bored = looks & (room.stimulus < 0.1) & (rng.random(count) < 0.2)  # noqa: PLR2004
        room.target_r = np.clip(room.target_r * np.where(pain, 1.35, np.where(bored, 0.82, 1.0)), 0.5, 10.0)

    def _stimulate(self, room: _Room, interval: int) -> None:
        """Let surgery hurt in bouts, and the airway once at the start and again in emergence; the dressing does not hurt."""
        count, rng = room.shown.size, self._rng
        quiet = (interval > self._stop - 12) & (interval < self._stop + 24)
        bout = (interval > self._start + 24) & ~quiet & (rng.random(count) < 1.0 / 40.0)
        airway = interval == self._start + 24
        room.stimulus *= np.exp(-INTERVAL_S / STIMULUS_S)
        room.stimulus = np.where(
            bout | airway | (interval == self._surgery), np.maximum(room.stimulus, rng.uniform(0.2, 1.0, count)), room.stimulus
        )

    def _show(self, room: _Room) -> None:
        """Move the shown index towards what the brain does now."""
        rng, keep = self._rng, np.exp(-INTERVAL_S / WANDER_S)
        room.wander = keep * room.wander + np.sqrt(1.0 - keep**2) * self._wander * rng.standard_normal(room.wander.size)
        quiet = self._quiet(room)
        asleep = np.clip((self._awake - quiet) / 20.0, 0.2, 1.0)
        aroused = self._arousal * room.stimulus * asleep / (1.0 + np.maximum(room.body_r[:, 3], 0.0) / 2.0)
        now = np.clip(quiet + asleep * room.wander + aroused, 5.0, 98.0)
        room.brain = np.column_stack([room.brain[:, 1:], now])
        delayed = room.brain[np.arange(now.size), DELAY - 1 - self._delay]
        room.shown = room.shown + self._fresh * (delayed - room.shown)

    def run(self) -> tuple[Floats, Floats, Floats]:
        """Return index, propofol mL/h and remifentanil mL/h, each [n, intervals]."""
        count = len(self.people)
        empty = np.zeros((count, 4))
        nothing = np.zeros(count)
        awake = np.repeat(self._awake[:, None], DELAY, axis=1)
        room = _Room(empty, empty, empty, empty, self._first_p, self._first_r, self._awake.copy(), nothing, nothing.copy(), awake)
        most_p, most_r = (
            np.full(count, FULL_RATE_ML_H * PROPOFOL_MG_PER_ML / 60.0),
            np.full(count, FULL_RATE_ML_H * REMIFENTANIL_UG_PER_ML / 60.0),
        )
        rows = np.empty((3, count, self._intervals))
        for interval in range(self._intervals):
            self._steer(room, interval)
            self._stimulate(room, interval)
            given_p = (interval >= self._start) & (interval < self._stop)
            given_r = (interval >= self._opioid_start) & (interval < self._opioid_stop)
            propofol = self._pump[0].towards(room.pump_p, room.target_p, most_p) * given_p
            opioid = self._pump[1].towards(room.pump_r, room.target_r, most_r) * given_r
            room.pump_p, room.pump_r = self._pump[0].after(room.pump_p, propofol), self._pump[1].after(room.pump_r, opioid)
            room.body_p, room.body_r = self._body[0].after(room.body_p, propofol), self._body[1].after(room.body_r, opioid)
            self._show(room)
            rows[:, :, interval] = room.shown, propofol * 60.0 / PROPOFOL_MG_PER_ML, opioid * 60.0 / REMIFENTANIL_UG_PER_ML
        woken = (rows[0] > WOKEN) & (np.arange(self._intervals) > self._stop[:, None])
        end = np.where(woken.any(axis=1), woken.argmax(axis=1) + self._linger, self._intervals)
        rows[0] = np.clip(rows[0] + JITTER_SD * self._rng.standard_normal(rows[0].shape), 1.0, 98.0)
        rows[0][np.arange(self._intervals) > end[:, None]] = np.nan
        return rows[0], rows[1], rows[2]


def simulated_trends(count: int, seed: int, intervals: int = 1800) -> Iterator[Trend]:
    """Yield simulated anaesthetics of at most that many intervals; `patient` counts them, heart rate and pressure are absent."""
    batch = Batch(count, intervals, np.random.default_rng(seed))
    index, propofol, remifentanil = batch.run()
    for number, who in enumerate(batch.people):
        length = int(np.isfinite(index[number]).sum())
        absent = np.full(length, np.nan)
        yield Trend(number, who, index[number, :length], propofol[number, :length], remifentanil[number, :length], absent, absent)
