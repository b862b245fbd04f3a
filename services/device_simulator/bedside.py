"""Who lies in a room, as its devices see them: a simulated patient with an EEG, or a recorded case. Pure after it was opened."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anesthesia.pharmacology import Covariates
from services.device_simulator.eeg import EegGenerator
from services.device_simulator.patient import Patient, PatientState, RecordedBody
from services.device_simulator.recording import NoRecording, Recording, case_path
from services.device_simulator.scenario import Person, RoomPlan

RATE_HZ = 128.0
MICROVOLT_PER_COUNT = 0.1


@dataclass(frozen=True, slots=True)
class Eeg:
    """One second of EEG as a device digitises it: counts of shape (channels, samples)."""

    counts: NDArray[np.int16]
    rate_hz: float
    microvolt_per_count: float


@dataclass(frozen=True, slots=True)
class Moment:
    """One second at a bedside. Without EEG (not asked for, or the recording has ended) `eeg` is None."""

    state: PatientState
    eeg: Eeg | None


class Simulated:
    """A simulated patient; EEG is made only where a monitor shows it."""

    def __init__(self, plan: RoomPlan, today: date, rng: np.random.Generator) -> None:
        self.patient = Patient(covariates_of(plan.patient, today), rng)
        self._eeg = EegGenerator(rng, RATE_HZ)
        self._wants_eeg = plan.monitor.eeg

    def second(self, *, seen: bool = True) -> Moment:
        """Let one second pass; before the room is seen nobody needs its EEG."""
        state = self.patient.second()
        if not (self._wants_eeg and seen):
            return Moment(state, None)
        microvolt = self._eeg.second(state.depth, state.suppression)
        counts = np.round(microvolt / MICROVOLT_PER_COUNT).astype(np.int16)
        return Moment(state, Eeg(counts, RATE_HZ, MICROVOLT_PER_COUNT))


class Replayed:
    """A recorded case: its one EEG channel and its index; vitals that go with it."""

    patient = None

    def __init__(self, recording: Recording, rng: np.random.Generator) -> None:
        self._recording = recording
        self._body = RecordedBody(rng)

    def second(self, *, seen: bool = True) -> Moment:  # noqa: ARG002  a recording is always seen
        """Return the next second of the recording; after its end there is neither EEG nor index."""
        now = self._recording.second()
        if now is None:
            return Moment(self._body.second(None), None)
        counts, bis = now
        eeg = Eeg(counts, self._recording.rate_hz, self._recording.microvolt_per_count)
        return Moment(self._body.second(bis), eeg)


Bedside = Simulated | Replayed


def covariates_of(person: Person, today: date) -> Covariates:
    """Return what the drug models ask of a person."""
    had_birthday = (today.month, today.day) >= (person.birth_date.month, person.birth_date.day)
    age = today.year - person.birth_date.year - (not had_birthday)
    return Covariates(float(age), person.weight_kg, person.height_cm, person.sex)


def bedside_of(plan: RoomPlan, data: Path, today: date, rng: np.random.Generator) -> tuple[Bedside, str | None]:
    """Return the bedside of a room, and why a planned recording is not replayed (then a simulated patient stands in)."""
    if plan.replay is None:
        return Simulated(plan, today, rng), None
    try:
        return Replayed(Recording(case_path(data, plan.replay.case), plan.replay.from_s), rng), None
    except NoRecording as absent:
        return Simulated(plan, today, rng), str(absent)
