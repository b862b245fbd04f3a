"""What the audit log says of a case: the leaves that a resource rests on, and the counts of a closed case."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, func, select, text

from backbone.ehr_tables import OutboxKind, OutboxRow, OutboxState
from backbone.tables import RecordRow
from services.ehr_writer.content import AuditSummary, Leaves

# The ledger's tree. Until its table is there, resources carry the input hash alone.
_LEAVES: Final = text("SELECT min(index), max(index) FROM leaves WHERE case_id = :case_id AND second >= :first AND second < :stop")


def leaves_of(connection: Connection, case_id: UUID, first: int, stop: int) -> Leaves | None:
    """Return the first and last leaf of the seconds `[first, stop)` of a case; None where the ledger keeps no tree or has none yet."""
    if connection.scalar(text("SELECT to_regclass('leaves')")) is None:
        return None
    lowest, highest = connection.execute(_LEAVES, {"case_id": case_id, "first": first, "stop": stop}).one()
    return None if lowest is None else Leaves(lowest, highest)


def _minutes(connection: Connection, case_id: UUID, target: str) -> dict[tuple[str, str], int]:
    query = (
        select(OutboxRow.kind, OutboxRow.state, func.count())
        .where(OutboxRow.case_id == case_id, OutboxRow.target == target, OutboxRow.kind != OutboxKind.AUDIT)
        .group_by(OutboxRow.kind, OutboxRow.state)
    )
    return {(kind, state): count for kind, state, count in connection.execute(query)}


def _models(connection: Connection, inside: Iterable[ColumnElement[bool]]) -> tuple[tuple[str, str], ...]:
    query = select(RecordRow.model, RecordRow.model_digest).where(*inside, RecordRow.model.is_not(None)).distinct()
    return tuple(sorted((name or "", digest or "") for name, digest in connection.execute(query)))


def audit_of(connection: Connection, case_id: UUID, target: str, stop: int) -> AuditSummary:
    """Return a closed case in numbers, up to the second `stop`. All other rows of the case at this target are final by then."""
    first = connection.scalar(select(func.min(RecordRow.second)).where(RecordRow.case_id == case_id)) or stop
    inside = (RecordRow.case_id == case_id, RecordRow.second < stop)
    tiers = select(RecordRow.outcome, RecordRow.tier, func.count()).where(*inside).group_by(RecordRow.outcome, RecordRow.tier)
    seconds = {(outcome, tier): count for outcome, tier, count in connection.execute(tiers)}
    minutes = _minutes(connection, case_id, target)
    withheld = sum(count for (kind, _), count in minutes.items() if kind == OutboxKind.WITHHELD)
    return AuditSummary(
        first=first,
        stop=stop,
        scored=seconds.get(("prediction", "E"), 0),
        refused=sum(count for (outcome, _), count in seconds.items() if outcome == "refusal"),
        device_index=seconds.get(("prediction", "D"), 0),
        written=minutes.get((OutboxKind.SUMMARY, OutboxState.DONE), 0),
        withheld=withheld,
        amended=0,
        failed=sum(count for (_, state), count in minutes.items() if state == OutboxState.DEAD),
        models=_models(connection, inside),
        leaves=leaves_of(connection, case_id, first, stop),
    )
