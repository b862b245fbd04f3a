"""An infusion pump and the drug it gives: rate, volume, bolus, and the concentrations that follow. Pure."""

from dataclasses import dataclass

from anesthesia.pharmacology import Compartments, DrugState, Step, step_of

STEER_S = 10  # how often a target-controlled pump sets its rate
HIGHEST_ML_H = 1200.0
OVERSHOOT = 1.6  # plasma above the wanted effect site while that is still far away


@dataclass(frozen=True, slots=True)
class Syringe:
    """A drug and what a mL of it holds, in the model's mass unit: mg (propofol) or ug (remifentanil)."""

    drug: str
    mass_per_ml: float
    micrograms: bool


PROPOFOL = Syringe("propofol", 20.0, micrograms=False)
REMIFENTANIL = Syringe("remifentanil", 20.0, micrograms=True)


class Pump:
    """One channel, stepped second by second; at a set rate, or steering to an effect-site target."""

    def __init__(self, syringe: Syringe, model: Compartments) -> None:
        self.syringe = syringe
        self.rate_ml_h = 0.0
        self.volume_ml = 0.0
        self._target: float | None = None
        self._second: Step = step_of(model, 1.0)
        self._steer: Step = step_of(model, float(STEER_S))
        self._state = DrugState()
        self._age_s = 0

    @property
    def effect_site(self) -> float:
        """Effect-site concentration: ug/mL of propofol, ng/mL of remifentanil."""
        return self._state.effect_site

    def set_rate(self, ml_per_h: float) -> None:
        """Run at this rate from now on."""
        self._target, self.rate_ml_h = None, ml_per_h

    def set_target(self, concentration: float) -> None:
        """Steer to this effect-site concentration from now on."""
        self._target = concentration
        self._age_s = 0

    def bolus(self, ml: float) -> None:
        """Give a volume at once."""
        self._state = self._state.with_bolus(ml * self.syringe.mass_per_ml)
        self.volume_ml += ml

    def second(self) -> None:
        """Let one second pass."""
        if self._target is not None and self._age_s % STEER_S == 0:
            self.rate_ml_h = round(self._steering_rate(self._target), 1)
        self._age_s += 1
        self._state = self._second.after(self._state, self.rate_ml_h * self.syringe.mass_per_ml / 60.0)
        self.volume_ml += self.rate_ml_h / 3600.0

    def _steering_rate(self, target: float) -> float:
        """Return the rate that brings the plasma to the target within one steering interval: exact, by the drug's own model."""
        aim = target * OVERSHOOT if self.effect_site < 0.8 * target else target
        wanted = aim * self._steer.model.volumes_l[0]
        unhelped = self._steer.after(self._state).amounts[0]
        mass_per_min = (wanted - unhelped) / float(self._steer.gain[0])
        return min(max(mass_per_min * 60.0 / self.syringe.mass_per_ml, 0.0), HIGHEST_ML_H)
