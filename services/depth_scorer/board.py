"""Open cases of all beds and the seconds that are due. Pure: entries and the time go in, due seconds come out, records are told back."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from uuid import UUID

from anesthesia.case import Case, instant_of
from anesthesia.gate import Circumstances
from anesthesia.limits import Limits
from anesthesia.occupancy import Occupancy
from anesthesia.prediction import Evidence, ExpectedSecond
from anesthesia.reading import Bed, Frame
from anesthesia.window import Window
from services.depth_scorer.bed import BedReadings, Leading
from services.depth_scorer.conflict import Conflict

CLOCK_DOUBT_S = 10.0
IDLE_BED_S = 300.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What the site and the bundle fix for a run of the scorer."""

    limits: Limits
    minimum_coverage_s: float
    simulation: bool  # the site mode: demonstration data is a mark there, a refusal elsewhere


@dataclass
class CaseProgress:
    """How far a case is recorded."""

    case: Case
    next_second: int
    conflict: Conflict = field(default_factory=Conflict)


@dataclass(frozen=True, slots=True)
class Due:
    """One expected second that can wait no longer, with all that its record rests on."""

    of: ExpectedSecond
    window: Window
    circumstances: Circumstances
    evidence: Evidence
    conflict: Conflict
    late: bool


class Board:
    """The scorer's memory: readings by bed, progress by case."""

    def __init__(self, rules: Rules) -> None:
        """Start with no bed and no case."""
        self._rules = rules
        self._beds: dict[Bed, BedReadings] = {}
        self._occupancies: dict[Bed, dict[UUID, Occupancy]] = {}
        self._progress: dict[UUID, CaseProgress] = {}
        self._recorded: dict[UUID, int] = {}
        self._conflicts: dict[UUID, Conflict] = {}

    def resume(self, case_id: UUID, last_second: int, conflict: Conflict | None = None) -> None:
        """Learn, before any entry, which second of a case was recorded last, and the state of disagreement after it."""
        self._recorded[case_id] = last_second
        if conflict is not None:
            self._conflicts[case_id] = conflict

    def take(self, entry: Frame | Occupancy) -> None:
        """Take one stream entry in stream order."""
        match entry:
            case Occupancy():
                self._occupancies.setdefault(entry.bed, {})[entry.case_id] = entry
            case Frame():
                self._beds.setdefault(entry.bed, BedReadings()).add(entry)
        self._open_cases(entry.bed)

    def due(self, now: datetime) -> list[Due]:
        """Return at most one due second of each open case: the next, when it is covered or its deadline is over."""
        found = [self._due(progress, now) for progress in self._progress.values()]
        return [due for due in found if due is not None]

    def wakes_in_s(self, now: datetime) -> float:
        """Return the seconds until the earliest deadline of a next second (at least 0; 1 when no case is open)."""
        waits = [(deadline - now).total_seconds() for p in self._progress.values() if (deadline := self._deadline(p)) is not None]
        return max(0.0, min(waits, default=1.0))

    def recorded(self, due: Due, conflict: Conflict) -> None:
        """Learn that a second has its record; drop what is no longer needed."""
        progress = self._progress[due.of.case_id]
        progress.next_second, progress.conflict = due.of.second + 1, conflict
        bed = progress.case.bed
        self._beds[bed].forget_before(min(p.next_second for p in self._progress.values() if p.case.bed == bed))

    def again(self, case_id: UUID, second: int, conflict: Conflict) -> Due | None:
        """Return a second of an open case as it was due after the entries taken so far; None: the case did not expect it.

        For a replay, which asks for rising seconds: what no later one can need is dropped.
        """
        progress = self._progress.get(case_id)
        if progress is None or not progress.case.expects(second):
            return None
        self._beds[progress.case.bed].forget_before(second)
        once = CaseProgress(progress.case, second, conflict)
        leading = self._leading(once)
        return None if leading is None else self._assembled(once, leading)

    def finished(self, now: datetime) -> list[tuple[Bed, UUID]]:
        """Drop cases that are recorded to their end, and readings of beds without a case; return the cases dropped."""
        done = [p for p in self._progress.values() if p.case.occupancy.end is not None and not p.case.expects(p.next_second)]
        for progress in done:
            case_id = progress.case.case_id
            self._recorded[case_id], self._conflicts[case_id] = progress.next_second - 1, progress.conflict
            del self._progress[case_id], self._occupancies[progress.case.bed][case_id]
        busy = {progress.case.bed for progress in self._progress.values()}
        for bed in set(self._beds) - busy:
            self._beds[bed].forget_before(int((now - timedelta(seconds=IDLE_BED_S)).timestamp()))
        return [(p.case.bed, p.case.case_id) for p in done]

    def open_cases(self) -> int:
        """Return how many cases are open."""
        return len(self._progress)

    def _open_cases(self, bed: Bed) -> None:
        readings = self._beds.get(bed)
        if readings is None:
            return
        for occupancy in self._of_bed(bed):
            progress = self._progress.get(occupancy.case_id)
            if progress is not None:
                progress.case = Case(occupancy, progress.case.opened_at)
                continue
            first = readings.first_in(occupancy)
            if first is not None and occupancy.theatre:
                case = Case(occupancy, first)
                last = self._recorded.get(occupancy.case_id)
                next_second = case.first_second if last is None else last + 1
                if occupancy.end is None or case.expects(next_second):
                    conflict = self._conflicts.pop(occupancy.case_id, Conflict())
                    self._progress[occupancy.case_id] = CaseProgress(case, next_second, conflict)

    def _of_bed(self, bed: Bed) -> Iterable[Occupancy]:
        return self._occupancies.get(bed, {}).values()

    def _leading(self, progress: CaseProgress) -> Leading | None:
        return self._beds[progress.case.bed].leading(progress.next_second, self._rules.limits)

    def _deadline(self, progress: CaseProgress) -> datetime | None:
        if not progress.case.expects(progress.next_second):
            return None
        leading = self._leading(progress)
        latency_s = leading.latency_s if leading is not None else 1.0
        return instant_of(progress.next_second) + timedelta(seconds=latency_s + self._rules.limits.grace_s)

    def _due(self, progress: CaseProgress, now: datetime) -> Due | None:
        if not progress.case.expects(progress.next_second):
            return None
        leading = self._leading(progress)
        deadline = self._deadline(progress)
        covered = leading is not None and leading.complete_at is not None
        if leading is None or deadline is None or not (covered or now >= deadline):
            return None
        return self._assembled(progress, leading)

    def _assembled(self, progress: CaseProgress, leading: Leading) -> Due:
        limits, case, second = self._rules.limits, progress.case, progress.next_second
        readings, end = self._beds[case.bed], instant_of(second + 1)
        eeg, mask = readings.eeg(case.occupancy, second)
        fresh = readings.fresh_numerics(case.occupancy, second, limits)
        numerics = MappingProxyType({name: timed.reading for name, timed in fresh.items()})
        state = progress.conflict.state(second, limits)
        window = Window(case.case_id, second, eeg, mask, numerics, case.occupancy.covariates, state)
        return Due(
            ExpectedSecond(case.case_id, case.bed, second, readings.simulated or case.occupancy.simulated),
            window,
            self._circumstances(progress, window, leading),
            self._evidence(readings, window, leading),
            progress.conflict,
            late=leading.complete_at is not None and (leading.complete_at - end).total_seconds() > leading.latency_s,
        )

    def _circumstances(self, progress: CaseProgress, window: Window, leading: Leading) -> Circumstances:
        case, end = progress.case, instant_of(window.second + 1)
        readings = self._beds[case.bed]
        return Circumstances(
            adult_only=case.occupancy.adult_only,
            minimum_coverage_s=self._rules.minimum_coverage_s,
            all_stale=leading.dead,
            clock_doubt=self._clock_doubt(readings, end),
            association_doubt=self._association_doubt(case, window.second),
            demo_refused=readings.simulated and not self._rules.simulation,
            eeg_lost_at=readings.eeg_end(end) if window.covered_s(1) == 0 else None,
        )

    def _evidence(self, readings: BedReadings, window: Window, leading: Leading) -> Evidence:
        limits, end = self._rules.limits, instant_of(window.second + 1)
        instants = [numeric.observed_at for numeric in window.numerics.values()]
        if window.mask.any() and (eeg_end := readings.eeg_end(end)) is not None:
            instants.append(min(end, eeg_end))
        bound_s = limits.intervals_until_stale * leading.interval_s
        if leading.eeg:
            bound_s = max(bound_s, limits.waveform_dead_after_s)
        return Evidence(max(instants, default=None), leading.complete_at, window.input_hash, leading.interval_s, bound_s)

    @staticmethod
    def _clock_doubt(readings: BedReadings, end: datetime) -> bool:
        at = readings.clock_doubt_at
        return at is not None and (end - at).total_seconds() <= CLOCK_DOUBT_S

    def _association_doubt(self, case: Case, second: int) -> bool:
        """Two patients in one bed at one second: nobody can say whose data this is."""
        at = instant_of(second)
        return sum(occupancy.covers(at) for occupancy in self._of_bed(case.bed)) > 1
