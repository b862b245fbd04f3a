"""The numbers of a verdict, in the order in which they are told. Pure."""

from collections import Counter
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from anesthesia.prediction import Tier
from backbone.supervisor.records import StoredRecord
from cli.check.accounts import Accounts

SHARE_DIGITS = 4
MILLISECONDS = 1000.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What is printed as JSON; None: not known. `docs/reference/check.md` says what each means."""

    rooms: int
    sent: int
    acked: int
    journaled: int | None
    frames: int | None
    expected_seconds: int | None
    scored: dict[str, int] | None
    refused: dict[str, int] | None
    scored_share_eeg_rooms: float | None
    excluded_seconds: int | None
    summaries_due: int | None
    summaries_in_ehr: int | None
    withheld_due: int | None
    withheld_in_ehr: int | None
    duplicates: int | None
    audit_leaves: int | None
    audit_verified: bool | None
    replayed_equal: int | None
    p50_ms: float | None
    p99_ms: float | None
    first_record_s: float | None
    first_score_s: float | None

    @property
    def records(self) -> int | None:
        """All records, scored or refused."""
        if self.scored is None or self.refused is None:
            return None
        return sum(self.scored.values()) + sum(self.refused.values())

    def as_data(self) -> dict[str, Any]:
        """Return them for a script."""
        return asdict(self)


def journaled_of(accounts: Accounts) -> frozenset[str] | None:
    """Return the control ids of the simulator's messages in the journal, less those under way when it was killed."""
    if accounts.journal is None:
        return None
    sent, kept = accounts.sent, accounts.journal.of_runs(accounts.sent.runs)
    under_way = accounts.journal.of_runs(sent.killed_runs) - sent.ids
    # A device sends its next message when the last one is answered: a sender that dies leaves one behind on each connection.
    connections = (2 * len(sent.rooms) + 1) * len(sent.killed_runs)
    return kept - under_way if len(under_way) <= connections else kept


def percentile_ms(latencies_s: list[float], share: float) -> float | None:
    """Return the nearest-rank percentile in milliseconds; None of nothing."""
    if not latencies_s:
        return None
    return round(sorted(latencies_s)[max(0, ceil(share * len(latencies_s)) - 1)] * MILLISECONDS, 1)


def _latencies_s(records: tuple[StoredRecord, ...]) -> list[float]:
    """Return, of each scored second, the time from its evidence being complete to its record being committed."""
    return [(one.recorded_at - one.complete_at).total_seconds() for one in records if one.tier == Tier.E and one.complete_at is not None]


def _doubled_records(records: tuple[StoredRecord, ...]) -> int:
    return len(records) - len({(one.case_id, one.second) for one in records})


def _duplicates(accounts: Accounts) -> int | None:
    streams, records, ehr = accounts.streams, accounts.records, accounts.ehr
    if streams is None or records is None or ehr is None:
        return None
    doubled_observations = len(ehr.observations) - len({one.identifier for one in ehr.observations})
    return doubled_observations + _doubled_records(records) + streams.doubled_records + streams.doubled_entries


def figures_of(accounts: Accounts) -> Figures:
    """Return the numbers of the accounts."""
    sent, journal, records, ehr, audited = accounts.sent, accounts.journal, accounts.records, accounts.ehr, accounts.audited
    journaled = journaled_of(accounts)
    tiers = Counter(one.tier for one in records or () if one.tier is not None)
    reasons = Counter(one.reason for one in records or () if one.reason is not None)
    latencies_s = _latencies_s(records or ())
    known = records is not None
    return Figures(
        rooms=sum(bool(room.stays) for room in sent.rooms.values()),
        sent=len(sent.ids),
        acked=len(sent.acknowledged),
        journaled=None if journaled is None else len(journaled),
        frames=None if journal is None else journal.frames,
        expected_seconds=sent.expected,
        scored={tier.value: tiers[tier] for tier in Tier} if known else None,
        refused=dict(sorted(reasons.items())) if known else None,
        scored_share_eeg_rooms=round(accounts.share.value, SHARE_DIGITS) if known else None,
        excluded_seconds=accounts.share.excluded if known else None,
        summaries_due=sum(due.numbers is not None for due in accounts.due_minutes) if known else None,
        summaries_in_ehr=None if ehr is None else ehr.summaries,
        withheld_due=sum(due.numbers is None for due in accounts.due_minutes) if known else None,
        withheld_in_ehr=None if ehr is None else ehr.withheld,
        duplicates=_duplicates(accounts),
        audit_leaves=None if audited is None else audited.leaves,
        audit_verified=None if audited is None else not audited.faults,
        replayed_equal=None if accounts.replay is None else accounts.replay.equal,
        p50_ms=percentile_ms(latencies_s, 0.50),
        p99_ms=percentile_ms(latencies_s, 0.99),
        first_record_s=accounts.course.first_record_s,
        first_score_s=accounts.course.first_score_s,
    )
