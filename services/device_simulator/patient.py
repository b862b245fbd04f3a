"""A simulated patient: drugs, the depth they give, what a monitor shows of it. Pure; one call a second."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from anesthesia.pharmacology import Covariates, ResponseSurface, minto, schnider
from services.device_simulator.eeg import suppression_of
from services.device_simulator.pump import PROPOFOL, REMIFENTANIL, Pump
from services.device_simulator.vitals import Physiology, Vitals

NOISE_SD, NOISE_S = 4.0, 150.0  # slow wandering of depth at constant drug (reference: SD 5 about a running median, over 150 s)
STIMULUS_S = 90.0
ASLEEP_BELOW = 65.0  # nobody is operated on above it
AROUSAL = 14.0  # index points of a full stimulus without opioid
SMOOTHING_S = 15  # what the monitor averages over
SUPPRESSION_S = 63  # the monitor's window for the suppression ratio
REMIFENTANIL_IN_SURGERY = 3.0  # ng/mL
LOAD_OF_A_DEPTH_INDEX = 50.0
C50_MEDIAN, C50_CV = 3.4, 0.25  # ug/mL of propofol, log-normal between patients


@dataclass(frozen=True, slots=True)
class Index:
    """What the depth monitor shows: index, %, dB, %."""

    bis: float | None
    sqi: float
    emg: float
    suppression_ratio: float


@dataclass(frozen=True, slots=True)
class PatientState:
    """One second of a patient: the depth that the EEG is made from, and what monitors show."""

    depth: float
    suppression: float  # 0 to 1, now
    index: Index
    vitals: Vitals


class IndexMonitor:
    """The depth monitor: smoothed, integer-like, slower than the brain."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._depths: deque[float] = deque(maxlen=SMOOTHING_S)
        self._suppressions: deque[float] = deque(maxlen=SUPPRESSION_S)
        self._quality = 0.0

    def second(self, depth: float, suppression: float) -> Index:
        """Return what the monitor shows after one more second of that depth."""
        self._depths.append(depth)
        self._suppressions.append(suppression)
        self._quality = 0.97 * self._quality + 0.24 * float(self._rng.standard_normal())
        awake = max(depth - 60.0, 0.0)
        return Index(
            bis=float(np.clip(np.mean(self._depths), 0.0, 98.0)),
            sqi=float(np.clip(95.0 + 2.0 * self._quality - 0.25 * awake, 0.0, 100.0)),
            emg=26.0 + 0.55 * awake + 0.6 * self._quality,
            suppression_ratio=100.0 * float(np.mean(self._suppressions)),
        )


class Patient:
    """Answers to drugs by Schnider, Minto and the Bouillon surface, with a half-effect concentration of its own."""

    def __init__(self, who: Covariates, rng: np.random.Generator) -> None:
        self._rng = rng
        spread = np.sqrt(np.log1p(C50_CV**2))
        c50 = float(np.clip(C50_MEDIAN * np.exp(spread * rng.standard_normal()), 2.0, 5.5))
        self.surface = ResponseSurface(c50_propofol=c50)
        self.pumps: Mapping[str, Pump] = {
            "propofol": Pump(PROPOFOL, schnider(who)),
            "remifentanil": Pump(REMIFENTANIL, minto(who)),
        }
        self._body = Physiology(rng)
        self._monitor = IndexMonitor(rng)
        self._noise = 0.0
        self._stimulus = 0.0

    def steer_to(self, depth: float) -> None:
        """Let the pumps steer to the concentrations that give this depth in this patient, with a surgical dose of remifentanil."""
        load = (self.surface.awake / depth - 1.0) ** (1.0 / self.surface.steepness)
        left = load - REMIFENTANIL_IN_SURGERY / self.surface.c50_remifentanil
        self.pumps["remifentanil"].set_target(REMIFENTANIL_IN_SURGERY)
        self.pumps["propofol"].set_target(max(left, 0.1) * self.surface.c50_propofol)

    def stop(self) -> None:
        """Switch both infusions off: emergence."""
        for pump in self.pumps.values():
            pump.set_rate(0.0)

    def second(self) -> PatientState:
        """Let one second pass and return how the patient is at its end."""
        for pump in self.pumps.values():
            pump.second()
        propofol, remifentanil = (self.pumps[drug].effect_site for drug in ("propofol", "remifentanil"))
        quiet = self.surface.depth(propofol, remifentanil)
        depth = float(np.clip(quiet + self._wandering(quiet) + self._arousal(quiet, remifentanil), 0.0, 98.0))
        suppression = suppression_of(depth)
        load = propofol / self.surface.c50_propofol + remifentanil / 8.0
        return PatientState(depth, suppression, self._monitor.second(depth, suppression), self._body.second(depth, load, self._stimulus))

    def _wandering(self, quiet: float) -> float:
        """Return the slow noise; the fully awake wander little."""
        keep = float(np.exp(-1.0 / NOISE_S))
        self._noise = keep * self._noise + float(np.sqrt(1.0 - keep**2)) * NOISE_SD * float(self._rng.standard_normal())
        return self._noise * float(np.clip((98.0 - quiet) / 20.0, 0.15, 1.0))

    def _arousal(self, quiet: float, remifentanil: float) -> float:
        """Return what surgery adds: bouts in some minutes, damped by the opioid."""
        if quiet < ASLEEP_BELOW and self._rng.random() < 1.0 / 420.0:
            self._stimulus = float(self._rng.uniform(0.3, 1.0))
        self._stimulus *= float(np.exp(-1.0 / STIMULUS_S))
        return AROUSAL * self._stimulus / (1.0 + remifentanil / 2.0)


class RecordedBody:
    """What surrounds a replayed EEG: vitals that go with its recorded index. A recording has no drugs."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._monitor = IndexMonitor(rng)
        self._body = Physiology(rng)

    def second(self, bis: float | None) -> PatientState:
        """Return the state of a second whose recorded index is this; None where the recording has no value."""
        depth = LOAD_OF_A_DEPTH_INDEX if bis is None else bis
        shown = self._monitor.second(depth, 0.0)
        index = Index(bis, shown.sqi if bis is not None else 0.0, shown.emg, 0.0)
        load = max(0.0, (97.4 - depth) / max(depth, 10.0))
        return PatientState(depth, 0.0, index, self._body.second(depth, load, 0.0))
