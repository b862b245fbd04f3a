"""The ADT board: who is in which bed, and since when. Pure: each event returns the Occupancy revisions that it makes.

An Occupancy is `[from, to)` in corrected time. A theatre bed with live data and nobody on the board gets a provisional one. Ten minutes
without vitals end an Occupancy; the person is not taken up again without a new event (clinical rules, section 5).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from anesthesia.occupancy import UNIDENTIFIED, Covariates, Occupancy, case_id_of
from anesthesia.reading import Bed

SILENCE: Final = timedelta(minutes=10)
KEPT_EVERY: Final = timedelta(seconds=10)  # how old the newest data that the journal knows of a bed may be


@dataclass(frozen=True, slots=True)
class BedRules:
    """What the site file says of a bed."""

    theatre: bool
    adult_only: bool


@dataclass(frozen=True, slots=True)
class BedState:
    """One bed on the board."""

    occupancy: Occupancy | None = None
    last_data: datetime | None = None
    last_end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Patient:
    """A person as the board knows them: pseudonym, sealed identity, covariates."""

    pseudonym: str
    sealed_identity: bytes
    covariates: Covariates
    simulated: bool


@dataclass(frozen=True, slots=True)
class When:
    """The time of an event, and the time of the message that told it."""

    at: datetime
    told: datetime


_NOTHING: Final = BedState()


class Board:
    """All beds of a site. `changed` names the beds whose state the journal must take up with the next commit."""

    def __init__(self, rules: Mapping[Bed, BedRules], states: Mapping[Bed, BedState]) -> None:
        """Begin with what the journal holds; a bed that the site file no longer names is left out."""
        self._rules = rules
        self._states = {bed: state for bed, state in states.items() if bed in rules}
        self._kept = {bed: state.last_data for bed, state in self._states.items()}
        self.changed: set[Bed] = set()

    def state(self, bed: Bed) -> BedState:
        """Return what is known of a bed."""
        return self._states.get(bed, _NOTHING)

    def kept(self) -> dict[Bed, BedState]:
        """Return the changed states, and count them as kept."""
        changed = {bed: self.state(bed) for bed in self.changed}
        self._kept.update({bed: state.last_data for bed, state in changed.items()})
        self.changed = set()
        return changed

    # ---- events ----------------------------------------------------------------------------------------------------------

    def admit(self, bed: Bed, patient: Patient, when: When) -> list[Occupancy]:
        """A01: the patient lies in this bed from now on, and in no other."""
        current = self.state(bed).occupancy
        if current is not None and current.pseudonym == patient.pseudonym:
            return []
        start = self._boundary(bed, when)
        left = [end for other in self._beds_of(patient.pseudonym) if other != bed for end in self._leave(other, start)]
        return [*left, *self._leave(bed, start), self._enter(bed, patient, start)]

    def transfer(self, prior: Bed | None, bed: Bed | None, patient: Patient, when: When) -> list[Occupancy]:
        """A02: the patient leaves wherever they lie and lies in `bed`; None: a bed of elsewhere."""
        if bed is not None:
            ended = self._vacate_provisional(prior, when) if prior != bed else []
            return [*ended, *self.admit(bed, patient, when)]
        return self.discharge(prior, patient, when)

    def discharge(self, bed: Bed | None, patient: Patient, when: When) -> list[Occupancy]:
        """A03: the patient lies in no bed any more. Another person in the named bed stays."""
        ended = [end for other in self._beds_of(patient.pseudonym) for end in self._leave(other, self._boundary(other, when))]
        return [*ended, *self._vacate_provisional(bed, when)]

    def frame_seen(self, bed: Bed, earliest: datetime, latest: datetime, *, simulated: bool) -> list[Occupancy]:
        """Vitals of a bed between two instants: ends an Occupancy that was silent before, opens a provisional one where nobody is."""
        revisions = self._end_if_silent(bed, earliest)
        state = self.state(bed)
        if state.occupancy is None and self._rules[bed].theatre and (state.last_end is None or latest >= state.last_end):
            start = earliest.replace(microsecond=0)
            if state.last_end is not None:
                start = max(start, state.last_end)
            unknown = Patient(UNIDENTIFIED, b"", Covariates(), simulated)
            revisions.append(self._enter(bed, unknown, start))
        self._note_data(bed, latest)
        return revisions

    def tick(self, now: datetime) -> list[Occupancy]:
        """Time passes: end the Occupancies of theatre beds that have been silent for ten minutes."""
        return [end for bed in list(self._states) for end in self._end_if_silent(bed, now)]

    # ---- how -------------------------------------------------------------------------------------------------------------

    def _boundary(self, bed: Bed, when: When) -> datetime:
        """Return the instant at which a bed changes hands: never before the one who lies there came, or the last one left."""
        state = self.state(bed)
        at = min(when.at, when.told)
        if state.occupancy is not None and at < state.occupancy.start:
            return max(when.told, state.occupancy.start)
        if state.occupancy is None and state.last_end is not None:
            return max(at, state.last_end)
        return at

    def _beds_of(self, pseudonym: str) -> list[Bed]:
        return [bed for bed, state in self._states.items() if state.occupancy is not None and state.occupancy.pseudonym == pseudonym]

    def _vacate_provisional(self, bed: Bed | None, when: When) -> list[Occupancy]:
        """End the provisional Occupancy of a bed that somebody is said to leave."""
        if bed is None:
            return []
        current = self.state(bed).occupancy
        return self._leave(bed, self._boundary(bed, when)) if current is not None and current.provisional else []

    def _leave(self, bed: Bed, at: datetime) -> list[Occupancy]:
        state = self.state(bed)
        if state.occupancy is None:
            return []
        ended = replace(state.occupancy, end=max(at, state.occupancy.start))
        self._set(bed, replace(state, occupancy=None, last_end=ended.end, last_data=None))
        return [ended]

    def _enter(self, bed: Bed, patient: Patient, start: datetime) -> Occupancy:
        rules = self._rules[bed]
        occupancy = Occupancy(
            bed=bed,
            case_id=case_id_of(bed, patient.pseudonym, start),
            pseudonym=patient.pseudonym,
            start=start,
            end=None,
            theatre=rules.theatre,
            adult_only=rules.adult_only,
            covariates=patient.covariates,
            sealed_identity=patient.sealed_identity,
            simulated=patient.simulated,
        )
        self._set(bed, replace(self.state(bed), occupancy=occupancy))
        return occupancy

    def _end_if_silent(self, bed: Bed, now: datetime) -> list[Occupancy]:
        state = self.state(bed)
        if state.occupancy is None or state.last_data is None or not self._rules[bed].theatre:
            return []
        return self._leave(bed, state.last_data + SILENCE) if now - state.last_data > SILENCE else []

    def _note_data(self, bed: Bed, latest: datetime) -> None:
        state = self.state(bed)
        if state.occupancy is None or latest < state.occupancy.start or (state.last_data is not None and latest <= state.last_data):
            return
        self._states[bed] = replace(state, last_data=latest)
        kept = self._kept.get(bed)
        if kept is None or latest - kept >= KEPT_EVERY:
            self.changed.add(bed)

    def _set(self, bed: Bed, state: BedState) -> None:
        self._states[bed] = state
        self.changed.add(bed)
