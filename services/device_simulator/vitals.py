"""Vital signs that answer to depth, drugs and stimulus. Pure; magnitudes are plausible, not fitted."""

from dataclasses import dataclass

import numpy as np

VENTILATED_BELOW = 65.0  # depth under which the ventilator breathes


@dataclass(frozen=True, slots=True)
class Vitals:
    """Vital signs of one second: /min, mmHg, %, /min, mmHg, %, Cel."""

    heart_rate: float
    systolic: float
    diastolic: float
    mean: float
    spo2: float
    respiratory_rate: float
    etco2: float
    fio2: float
    temperature: float


class Physiology:
    """The body of one patient beside the brain."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._heart = float(rng.normal(72.0, 7.0))
        self._pressure = float(rng.normal(94.0, 7.0))
        self._temperature = float(rng.normal(36.6, 0.2))
        self._noise = np.zeros(4)
        self._ventilated: float | None = None

    def second(self, depth: float, drug_load: float, stimulus: float) -> Vitals:
        """Return the next second; `drug_load` is 0 without drug and about 1 at half effect, `stimulus` 0 to 1."""
        self._noise = 0.98 * self._noise + 0.2 * self._rng.standard_normal(4)
        pulse, press, gas, breath = (float(value) for value in self._noise)
        effect = drug_load / (1.0 + drug_load)
        ventilated = self._ventilation(depth)
        mean = self._pressure * (1.0 - 0.32 * effect) + 14.0 * stimulus + 2.5 * press
        width = 0.48 * mean
        self._temperature += (35.6 - self._temperature) / 14400.0 * effect
        return Vitals(
            heart_rate=max(35.0, self._heart - 18.0 * effect + 16.0 * stimulus + 2.0 * pulse + 0.08 * max(depth - 70.0, 0.0)),
            systolic=mean + 0.62 * width,
            diastolic=mean - 0.38 * width,
            mean=mean,
            spo2=min(100.0, 98.2 + 0.4 * gas + 0.6 * ventilated),
            respiratory_rate=ventilated * 12.0 + (1.0 - ventilated) * max(4.0, 15.0 - 6.0 * effect + breath),
            etco2=36.0 + 0.8 * gas + 2.0 * (1.0 - ventilated) * effect,
            fio2=21.0 + 29.0 * ventilated,
            temperature=self._temperature,
        )

    def _ventilation(self, depth: float) -> float:
        """Return the ventilator's share of the breathing: it takes over and hands back within a minute."""
        wanted = 1.0 if depth < VENTILATED_BELOW else 0.0
        before = wanted if self._ventilated is None else self._ventilated
        self._ventilated = before + (wanted - before) / 20.0
        return self._ventilated
