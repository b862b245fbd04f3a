"""The accounts beside each other, and what is known beforehand. None: who was asked did not answer, or was not asked yet. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from anesthesia.prediction import Tier
from backbone.supervisor.records import StoredRecord
from cli.check.ehr import InEhr
from cli.check.journal import Journal
from cli.check.minutes import DueAudit, DueMinute, audit_of, by_case, minutes_of
from cli.check.sent import Sent
from cli.check.share import MadeFault, Share, WarmUp, share_of
from cli.check.streams import InStreams

SURE_S: Final = 90.0  # 21 s of warm-up, then a minute of scores: wherever the minute ends, 30 s lie on one side


@dataclass(frozen=True, slots=True)
class Audited:
    """What the audit of the log came to: leaves, how many of them of records, how many faults, and the first ones in words."""

    leaves: int
    records: int
    faults: int
    first: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Replay:
    """How many recorded predictions were computed again, and how many came out the same; of the others, which, in words."""

    asked: int
    equal: int
    differing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ward:
    """What is known of the rooms beforehand: whose patient is in each, which monitors send EEG, how long the streams keep entries."""

    patients: Mapping[str, str]
    eeg_rooms: frozenset[str]
    warm_up: WarmUp
    streams_keep_s: float


@dataclass(frozen=True, slots=True)
class Course:
    """What the demo saw itself: faults that it made, or could not make, and seconds from its start to the first record and score.

    A visitor may end a demo before there is anything to score (`visited`); a check may not.
    """

    faults: tuple[MadeFault, ...] = ()
    not_made: tuple[str, ...] = ()
    first_record_s: float | None = None
    first_score_s: float | None = None
    visited: bool = False


@dataclass(frozen=True)
class Accounts:
    """Everything that a verdict rests on."""

    ward: Ward
    sent: Sent
    course: Course = field(default_factory=Course)
    journal: Journal | None = None
    streams: InStreams | None = None
    records: tuple[StoredRecord, ...] | None = None
    ehr: InEhr | None = None
    audited: Audited | None = None
    replay: Replay | None = None

    @cached_property
    def due_minutes(self) -> tuple[DueMinute, ...]:
        """The minutes that the EHR should hold, by the records."""
        return tuple(due for records in by_case(self.records or ()).values() for due in minutes_of(records))

    @cached_property
    def due_audits(self) -> tuple[DueAudit, ...]:
        """The summaries of closed cases that the EHR should hold, by the records."""
        return tuple(audit_of(records) for records in by_case(self.records or ()).values())

    @property
    def lasted_s(self) -> float:
        """Seconds from the first message to the newest record; 0 without either."""
        newest = max((record.second for record in self.records or ()), default=0)
        return max(0.0, newest - (self.sent.first_sent_s or newest))

    @property
    def too_short(self) -> bool:
        """Tell whether a visitor ended it before each room with EEG had to have a minute with a number."""
        return self.course.visited and self.lasted_s < SURE_S

    @cached_property
    def share(self) -> Share:
        """How much of what could be scored was scored."""
        scored: dict[str, set[int]] = {}
        for record in self.records or ():
            if record.tier == Tier.E:
                scored.setdefault(record.bed, set()).add(record.second)
        return share_of(self.sent, scored, self.ward.warm_up, self.course.faults)
