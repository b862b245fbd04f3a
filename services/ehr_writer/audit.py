"""What the audit log says of a case (its leaves, its checkpoint, its counts), and what we tell it in the transaction that did it."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, select

from anesthesia.checkpoint import note_of
from anesthesia.leaf import Event, EventKind, Scalar
from backbone.ehr_tables import OutboxKind, OutboxRow, OutboxState
from backbone.tables import CheckpointRow, IntakeRow, LeafRow, RecordRow
from services.ehr_writer.content import AuditSummary
from services.ehr_writer.errors import LedgerBehind, NeedsPeople
from services.ehr_writer.summary import Leaves, leaves_of

# The leaf of a record stands in the same transaction as the record, so it is there or it was taken away.
LEAF_OF_RECORD = and_(LeafRow.kind == "record", LeafRow.case_id == RecordRow.case_id, LeafRow.second == RecordRow.second)


ACTOR: Final = "ehr_writer"


def leave(connection: Connection, kind: EventKind, case_id: UUID, about: Mapping[str, Scalar]) -> None:
    """Hand an event to the ledger; it has its leaf if this transaction is committed."""
    event = Event(kind, connection.scalars(select(func.clock_timestamp())).one(), ACTOR, case_id, about)
    connection.execute(insert(IntakeRow).values(entry=event.encode()))


def is_leaf_of(entry: bytes | None, record: Row[Any]) -> bool:
    """Tell whether a leaf's entry says of a record what its row says: outcome and inputs. False for None, a record without a leaf."""
    try:
        said = json.loads(entry or b"{}")
    except ValueError:
        return False
    value = None if record.value is None else repr(record.value)
    says = {"input_hash": record.input_hash.hex(), "tier": record.tier, "value": value, "reason": record.reason}
    return isinstance(said, dict) and all(said.get(name) == expected for name, expected in says.items())


def checkpoint_of(connection: Connection) -> str:
    """Return the newest signed checkpoint; LedgerBehind while there is none (the ledger signs each minute)."""
    note = connection.scalar(select(CheckpointRow.note).order_by(CheckpointRow.size.desc()).limit(1))
    if note is None:
        raise LedgerBehind("no_checkpoint")
    return note


def origin_of(connection: Connection) -> str:
    """Return which log the leaves are of: the origin line of its checkpoints."""
    return note_of(checkpoint_of(connection)).checkpoint.origin


def _leaves(connection: Connection, inside: Iterable[ColumnElement[bool]]) -> Leaves | None:
    """Return the leaves of all records; NeedsPeople when one has none."""
    query = select(LeafRow.index, LeafRow.leaf_hash).select_from(RecordRow).outerjoin(LeafRow, LEAF_OF_RECORD).where(*inside)
    found = [(index, hashed) for index, hashed in connection.execute(query.order_by(RecordRow.second))]
    if any(index is None for index, _ in found):
        raise NeedsPeople("leaf_missing")
    return leaves_of(found)


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
    """Return a closed case in numbers, up to the second `stop`. All other rows of the case at this target are final by then.

    LedgerBehind before the log's first checkpoint, NeedsPeople when a record has no leaf.
    """
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
        amended=0,  # no row amends another: the kinds of `outbox` are all counted here
        failed=sum(count for (_, state), count in minutes.items() if state == OutboxState.DEAD),
        models=_models(connection, inside),
        leaves=_leaves(connection, inside),
        checkpoint=checkpoint_of(connection),
    )
