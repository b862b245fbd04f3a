"""What the EHR should hold of a case, by the clinical rules (section 6), from its records alone. Pure; nothing of the EHR writer is used.

A window is a whole UTC minute. With at least 30 scored seconds (tier E) it is a summary: their median, lowest and highest. A minute that
lies wholly in the case and has fewer is withheld, with the reason that held for most of its unscored seconds; a device's own index and a
drug effect are `no_eeg`. The first withheld minute, and each change of reason, is written. Of a disagreement with the device nothing is.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Final
from uuid import UUID, uuid5

from anesthesia.prediction import RefusalReason, Tier
from backbone.supervisor.records import StoredRecord

WINDOW_S: Final = 60
LEAST_SCORED_S: Final = 30
# The namespace of our business identifiers in an EHR (`services.ehr_writer.resources`, which would bring the FHIR models; a test compares).
NAMESPACE: Final = UUID("0b0f5f0a-4a53-4b1c-9d3e-6a1b7c7c2f7e")


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a summary says: depth 0 to 100."""

    value: float
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True)
class DueMinute:
    """One Observation that the EHR should hold: a summary (`numbers`) or a withheld minute (`reason`). Unix seconds."""

    case_id: UUID
    bed: str
    start: int
    first: int
    stop: int
    scored: int
    numbers: Numbers | None
    reason: str | None

    @property
    def identifier(self) -> str:
        """Its business identifier."""
        return identifier_of(self.case_id, "60s", self.start)


@dataclass(frozen=True, slots=True)
class DueAudit:
    """The one Observation that a closed case ends with: seconds by outcome."""

    case_id: UUID
    bed: str
    first: int
    stop: int
    scored: int
    refused: int
    device_index: int

    @property
    def identifier(self) -> str:
        """Its business identifier."""
        return identifier_of(self.case_id, "audit", self.stop)


def identifier_of(case_id: UUID, what: str, second: int) -> str:
    """Return the business identifier of an Observation of a case."""
    return str(uuid5(NAMESPACE, f"{case_id}/{what}/{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%SZ}"))


def by_case(records: Iterable[StoredRecord]) -> dict[UUID, list[StoredRecord]]:
    """Return the records of each case, rising."""
    cases: defaultdict[UUID, list[StoredRecord]] = defaultdict(list)
    for record in sorted(records, key=lambda one: one.second):
        cases[record.case_id].append(record)
    return dict(cases)


def minutes_of(records: Sequence[StoredRecord]) -> Iterator[DueMinute]:
    """Yield the due minutes of one closed case, rising; `records` are all of its records, rising."""
    first, stop = records[0].second, records[-1].second + 1
    inside: defaultdict[int, list[StoredRecord]] = defaultdict(list)
    for record in records:
        inside[record.second - record.second % WINDOW_S].append(record)
    told: str | None = None
    for start in range(first - first % WINDOW_S, stop, WINDOW_S):
        part = (start, max(start, first), min(start + WINDOW_S, stop))
        due = _due(records[0], part, inside[start])
        if due is None or (due.reason is not None and due.reason in {told, RefusalReason.CONFLICT_WITH_DEVICE}):
            continue
        told = due.reason
        yield due


def _due(of: StoredRecord, part: tuple[int, int, int], seconds: Sequence[StoredRecord]) -> DueMinute | None:
    """Return what one minute `(start, first, stop)` says; None: too little of it lies in the case."""
    start, first, stop = part
    values = [one.value for one in seconds if one.tier == Tier.E and one.value is not None]
    if len(values) >= LEAST_SCORED_S:
        return DueMinute(of.case_id, of.bed, start, first, stop, len(values), Numbers(median(values), min(values), max(values)), None)
    if stop - first < WINDOW_S:
        return None
    return DueMinute(of.case_id, of.bed, start, first, stop, len(values), None, _main_reason(seconds, WINDOW_S - len(seconds)))


def _main_reason(seconds: Iterable[StoredRecord], missing: int) -> str:
    """Return the most frequent reason, the earliest of equals; a second that nobody recorded is `model_unavailable`."""
    reasons = Counter(one.reason or RefusalReason.NO_EEG.value for one in seconds if one.tier != Tier.E)
    reasons[RefusalReason.MODEL_UNAVAILABLE.value] += missing
    return reasons.most_common(1)[0][0]


def audit_of(records: Sequence[StoredRecord]) -> DueAudit:
    """Return the audit summary of one closed case; `records` are all of its records, rising."""
    tiers = Counter(one.tier for one in records)
    stop = records[-1].second + 1
    return DueAudit(records[0].case_id, records[0].bed, records[0].second, stop, tiers[Tier.E], tiers[None], tiers[Tier.D])
