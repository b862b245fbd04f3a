"""Derives what is due from the records: one row of `outbox` for each minute, target and case, once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import floor
from random import Random
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, exists, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from anesthesia.case import instant_of
from anesthesia.occupancy import UNIDENTIFIED
from anesthesia.prediction import Caveat, RefusalReason, Tier
from backbone.database import answering
from backbone.ehr_tables import IdentityRow, OutboxKind, OutboxRow, OutboxState
from backbone.tables import LeafRow, RecordRow
from backbone.telemetry import counter, logger
from services.ehr_writer.audit import LEAF_OF_RECORD, is_leaf_of
from services.ehr_writer.content import frozen, kind_of
from services.ehr_writer.summary import Nothing, Outcome, Second, Withheld, is_news, outcome_of
from services.ehr_writer.targets import Target, TargetMode
from services.ehr_writer.windows import Minute, Recorded, due_minutes, is_closed

EHR_LOCK: Final = 0x736F706F72_03  # one planner at a time; drawn beside the ledger's
MOST_MINUTES: Final = 240  # of one case in one round: a long outage is caught up in several transactions

PLANNED = counter("ehr_planned", "Rows planned", "kind", "state")
UNPROVED = counter("ehr_unproved_cases", "Cases that wait because a record has no leaf in the audit log, or one that says something else")


@dataclass(frozen=True, slots=True)
class Plan:
    """Which targets there are, and how the planner treats time; `latency_s` is that of the site's slowest feed."""

    targets: tuple[Target, ...]
    jitter_s: float
    backfill_h: float
    simulation: bool
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CaseState:
    """A case as the planner finds it at one target."""

    case_id: UUID
    target: str
    recorded: Recorded
    planned_until: int | None
    simulated: bool


class Planner:
    """One round at a time. Blocking; raises DatabaseDown."""

    def __init__(self, engine: Engine, plan: Plan, random: Random) -> None:
        """Take the engine, what to plan, and the source of jitter."""
        self._engine, self._plan, self._random = engine, plan, random
        self._unproved: set[UUID] = set()

    def plan(self, now: datetime) -> int:
        """Insert every row that is due now and not there yet; return how many. Nothing while another process plans."""
        with answering(), self._engine.begin() as connection:
            if not connection.scalar(select(func.pg_try_advisory_xact_lock(EHR_LOCK))):
                return 0
            count = 0
            for target in self._plan.targets:
                if target.mode is TargetMode.OFF:
                    continue
                for case in _open_cases(connection, target.name, self._plan, now):
                    count += self._plan_case(connection, case, now)
            return count

    def _plan_case(self, connection: Connection, case: CaseState, now: datetime) -> int:
        minutes = _some(due_minutes(case.recorded, case.planned_until, now.timestamp(), self._plan.latency_s))
        said_last = _said_last(connection, case) if minutes else None
        for count, minute in enumerate(minutes):
            seconds = _seconds(connection, case.case_id, minute)
            if seconds is None:
                self._wait_for_proof(case, minute)
                return count
            said_last = self._insert_minute(connection, case, (minute, outcome_of(minute, seconds)), said_last)
        planned_until = minutes[-1].start if minutes else case.planned_until
        if len(minutes) < MOST_MINUTES and is_closed(case.recorded, planned_until, now.timestamp(), self._plan.latency_s):
            self._insert_audit(connection, case, after=planned_until or 0)
            return len(minutes) + 1
        return len(minutes)

    def _insert_minute(
        self, connection: Connection, case: CaseState, due: tuple[Minute, Outcome], said_last: RefusalReason | None
    ) -> RefusalReason | None:
        """Insert one minute's row; return the reason that the EHR has last been told, None after a number."""
        minute, outcome = due
        state = _state_of(outcome, said_last)
        row = {"window_start": instant_of(minute.start), "window_end": instant_of(minute.stop), "kind": kind_of(outcome)}
        self._insert(connection, case, {**row, "content": frozen(outcome), "state": state})
        if state is OutboxState.SUPPRESSED:
            return said_last
        return outcome.reason if isinstance(outcome, Withheld) else None

    def _wait_for_proof(self, case: CaseState, minute: Minute) -> None:
        """Plan nothing of the case from this minute on: what the log does not prove is not told. `sopor audit verify` names the record."""
        if case.case_id not in self._unproved:
            self._unproved.add(case.case_id)
            UNPROVED.inc()
            logger().error("unproved", case_id=str(case.case_id), second=minute.start)

    def _insert_audit(self, connection: Connection, case: CaseState, *, after: int) -> None:
        """The content is counted when all other rows of the case are final: this row stands at the end of the last minute."""
        at = instant_of(max(case.recorded.stop, after + 1))
        self._insert(connection, case, {"window_start": at, "window_end": at, "kind": OutboxKind.AUDIT, "state": OutboxState.DUE})

    def _insert(self, connection: Connection, case: CaseState, values: dict[str, Any]) -> None:
        jitter = timedelta(seconds=self._random.uniform(0, self._plan.jitter_s))
        row = {"case_id": case.case_id, "target": case.target, "simulated": case.simulated, **values}
        planned = insert(OutboxRow).values(**row, next_attempt_at=func.clock_timestamp() + jitter).on_conflict_do_nothing()
        connection.execute(planned)
        PLANNED.labels(values["kind"], values["state"]).inc()


def _some(minutes: Iterator[Minute]) -> list[Minute]:
    return [minute for minute, _ in zip(minutes, range(MOST_MINUTES), strict=False)]


def _state_of(outcome: Outcome, said_last: RefusalReason | None) -> OutboxState:
    if isinstance(outcome, Nothing):
        return OutboxState.SUPPRESSED
    if isinstance(outcome, Withheld) and not is_news(outcome, said_last):
        return OutboxState.SUPPRESSED
    return OutboxState.DUE


def _open_cases(connection: Connection, target: str, plan: Plan, now: datetime) -> list[CaseState]:
    """Return the cases of known patients that have records and no audit row yet at this target."""
    of_case = RecordRow.case_id == IdentityRow.case_id
    at_target = (OutboxRow.case_id == IdentityRow.case_id, OutboxRow.target == target)
    query = select(
        IdentityRow.case_id,
        IdentityRow.ended_at,
        IdentityRow.simulated,
        select(func.min(RecordRow.second)).where(of_case).scalar_subquery().label("first"),
        select(func.max(RecordRow.second)).where(of_case).scalar_subquery().label("last"),
        select(func.max(OutboxRow.window_start)).where(*at_target).scalar_subquery().label("planned"),
    ).where(
        IdentityRow.pseudonym != UNIDENTIFIED,
        func.length(IdentityRow.sealed_identity) > 0,
        or_(IdentityRow.ended_at.is_(None), IdentityRow.ended_at > now - timedelta(hours=plan.backfill_h)),
        ~exists().where(*at_target, OutboxRow.kind == OutboxKind.AUDIT),
    )
    if not plan.simulation:
        query = query.where(~IdentityRow.simulated)
    return [_case_of(row, target) for row in connection.execute(query) if row.first is not None]


def _case_of(row: Row[Any], target: str) -> CaseState:
    end = None if row.ended_at is None else floor(row.ended_at.timestamp())
    planned = None if row.planned is None else int(row.planned.timestamp())
    return CaseState(row.case_id, target, Recorded(row.first, row.last, end), planned, row.simulated)


def _said_last(connection: Connection, case: CaseState) -> RefusalReason | None:
    """Return the reason of the newest withheld minute that was written, None when a number was written after it."""
    query = (
        select(OutboxRow.kind, OutboxRow.content)
        .where(OutboxRow.case_id == case.case_id, OutboxRow.target == case.target, OutboxRow.state != OutboxState.SUPPRESSED)
        .order_by(OutboxRow.window_start.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    if row is None or row.kind != OutboxKind.WITHHELD:
        return None
    return RefusalReason(row.content["reason"])


def _seconds(connection: Connection, case_id: UUID, minute: Minute) -> Sequence[Second] | None:
    """Return the records of a minute with their leaves; None when a record has none that says the same."""
    r, leaf = RecordRow, LeafRow
    query = (
        select(r.second, r.tier, r.value, r.low, r.high, r.reason, r.caveats, r.model, r.model_digest, r.input_hash)
        .add_columns(leaf.index.label("leaf"), leaf.leaf_hash, leaf.entry)
        .outerjoin(leaf, LEAF_OF_RECORD)
        .where(r.case_id == case_id, r.second >= minute.first, r.second < minute.stop)
        .order_by(r.second)
    )
    found = connection.execute(query).all()
    if not all(is_leaf_of(row.entry, row) for row in found):
        return None
    return [
        Second(
            second=row.second,
            tier=None if row.tier is None else Tier(row.tier),
            value=row.value,
            low=row.low,
            high=row.high,
            reason=None if row.reason is None else RefusalReason(row.reason),
            caveats=tuple(Caveat(word) for word in row.caveats),
            model=row.model,
            model_digest=row.model_digest,
            input_hash=row.input_hash,
            leaf=row.leaf,
            leaf_hash=row.leaf_hash,
        )
        for row in found
    ]
