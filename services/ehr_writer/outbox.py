"""The outbox: who has which row, and what became of it. PostgreSQL holds the truth; a lost broker loses nothing.

Rows of one case at one target are written in the order of their windows, one at a time: a row can be claimed only when all earlier ones
are final. Leases are counted by the database's clock.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Connection, Engine, Row, and_, exists, func, or_, select, update
from sqlalchemy.orm import aliased

from anesthesia.leaf import EventKind, Scalar
from backbone.database import answering
from backbone.ehr_tables import OutboxRow, OutboxState
from services.ehr_writer.audit import leave

OPEN = (OutboxState.DUE, OutboxState.LEASED, OutboxState.HELD)
WAITING = (OutboxState.DUE, OutboxState.HELD)
LONGEST_REQUEUE = timedelta(minutes=5)
WATCHED = (*OPEN, OutboxState.DEAD)
# What the audit log is told of, in the transaction in which the row comes to this state.
TOLD: Final[Mapping[OutboxState, EventKind]] = {
    OutboxState.DONE: EventKind.RESOURCE_WRITTEN,
    OutboxState.HELD: EventKind.RESOURCE_HELD,
    OutboxState.DEAD: EventKind.RESOURCE_GIVEN_UP,
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A row that this worker has until its lease ends. `attempts` and `faults` count this try already; `reason` is of the try before."""

    row_id: int
    token: UUID
    case_id: UUID
    target: str
    window_start: datetime
    window_end: datetime
    kind: str
    simulated: bool
    content: dict[str, Any] | None
    planned_at: datetime
    attempts: int
    faults: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A row as people see it: no patient, no words of the server."""

    row_id: int
    case_id: UUID
    target: str
    window_start: datetime
    kind: str
    state: str
    reason: str | None
    attempts: int
    next_attempt_at: datetime


def _in(seconds: float) -> ColumnElement[datetime]:
    instant: ColumnElement[datetime] = func.clock_timestamp() + timedelta(seconds=seconds)
    return instant


def _is_first() -> ColumnElement[bool]:
    """Every earlier row of the same case at the same target is final."""
    earlier = aliased(OutboxRow)
    return ~exists().where(
        earlier.case_id == OutboxRow.case_id,
        earlier.target == OutboxRow.target,
        earlier.window_start < OutboxRow.window_start,
        earlier.state.in_(OPEN),
    )


def _tell(connection: Connection, kind: EventKind, row: Claim | Row[*tuple[Any, ...]], about: Mapping[str, Scalar]) -> None:
    """Tell the audit log what became of a row."""
    of_row = {"row": row.row_id, "target": row.target, "what": row.kind, "minute": int(row.window_start.timestamp())}
    leave(connection, kind, row.case_id, {**of_row, **about})


class Outbox:
    """Blocking; raises DatabaseDown."""

    def __init__(self, engine: Engine) -> None:
        """Take the engine."""
        self._engine = engine

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a transaction, for reading what a row needs."""
        with answering(), self._engine.begin() as connection:
            yield connection

    def claim(self, row_id: int, lease_s: float) -> Claim | None:
        """Take a row whose time has come, counting the try before it starts; None when it is not ours to take now."""
        ready = (OutboxRow.id == row_id, OutboxRow.state.in_(WAITING), OutboxRow.next_attempt_at <= func.clock_timestamp(), _is_first())
        with answering(), self._engine.begin() as connection:
            # Not SKIP LOCKED: who only notes that the broker was told holds the row for a moment, and skipping it would lose this waking.
            found = connection.execute(select(OutboxRow.id).where(*ready).with_for_update(of=OutboxRow)).first()
            if found is None:
                return None
            token = uuid4()
            taken = {"state": OutboxState.LEASED, "lease_token": token, "lease_until": _in(lease_s)}
            counts = {"attempts": OutboxRow.attempts + 1, "faults": OutboxRow.faults + 1}
            changed = update(OutboxRow).where(OutboxRow.id == row_id).values(**taken, **counts).returning(*_CLAIMED)
            return Claim(row_id, token, *connection.execute(changed).one())

    def freeze(self, claim: Claim, content: dict[str, Any]) -> None:
        """Keep the content that was counted at the first try."""
        self._change(claim, {"content": content}, None)

    def finish(self, claim: Claim, state: OutboxState, about: Mapping[str, Scalar], **values: object) -> bool:
        """Make the row final and tell the audit log, with what it is about; False when the lease was lost to another worker meanwhile."""
        final = {"state": state, "lease_until": None, "finished_at": func.clock_timestamp()}
        return self._change(claim, {**final, **values}, about)

    def wait(self, claim: Claim, state: OutboxState, pause_s: float, *, reason: str, **values: object) -> bool:
        """Give the row back, to be tried again after the pause. That it is held is told once for each reason."""
        again = {"state": state, "lease_until": None, "queued_at": None, "next_attempt_at": _in(pause_s), "reason": reason}
        return self._change(claim, {**again, **values}, None if reason == claim.reason else {"reason": reason})

    def _change(self, claim: Claim, values: dict[str, Any], about: Mapping[str, Scalar] | None) -> bool:
        mine = (OutboxRow.id == claim.row_id, OutboxRow.lease_token == claim.token, OutboxRow.state == OutboxState.LEASED)
        with answering(), self._engine.begin() as connection:
            changed = connection.execute(update(OutboxRow).where(*mine).values(**values)).rowcount == 1
            kind = TOLD.get(values.get("state", OutboxState.LEASED))
            if changed and kind is not None and about is not None:
                _tell(connection, kind, claim, about)
            return changed

    def expire(self, most_faults: int) -> int:
        """Take back the rows whose worker is gone; those that it happened to too often are dead. Return how many."""
        expired = and_(OutboxRow.state == OutboxState.LEASED, OutboxRow.lease_until < func.clock_timestamp())
        final = {"state": OutboxState.DEAD, "reason": "worker_lost", "finished_at": func.clock_timestamp(), "lease_until": None}
        again = {"state": OutboxState.DUE, "queued_at": None, "lease_until": None}
        with answering(), self._engine.begin() as connection:
            lost = update(OutboxRow).where(expired, OutboxRow.faults >= most_faults).values(**final)
            dead = connection.execute(lost.returning(*_NAMED)).all()
            for row in dead:
                _tell(connection, EventKind.RESOURCE_GIVEN_UP, row, {"reason": row.reason})
            return len(dead) + connection.execute(update(OutboxRow).where(expired).values(**again)).rowcount

    def to_queue(self, targets: Sequence[str], requeue_s: float, most: int = 500) -> list[tuple[int, str]]:
        """Return id and target of the rows that a worker could take now and that the broker was not told of lately.

        The longer a row waits the rarer it is told again, so that messages do not pile up while no worker runs; at least each 5 minutes.
        """
        half = (func.clock_timestamp() - OutboxRow.next_attempt_at) / 2
        gap = func.least(func.greatest(half, timedelta(seconds=requeue_s)), LONGEST_REQUEUE)
        untold = or_(OutboxRow.queued_at.is_(None), OutboxRow.queued_at < func.clock_timestamp() - gap)
        ready = (OutboxRow.state.in_(WAITING), OutboxRow.next_attempt_at <= func.clock_timestamp(), untold, _is_first())
        query = (
            select(OutboxRow.id, OutboxRow.target).where(OutboxRow.target.in_(targets), *ready).order_by(OutboxRow.window_start).limit(most)
        )
        with answering(), self._engine.connect() as connection:
            return [(row.id, row.target) for row in connection.execute(query)]

    def queued(self, row_ids: Iterable[int]) -> None:
        """Remember that the broker was told of these rows."""
        with answering(), self._engine.begin() as connection:
            connection.execute(update(OutboxRow).where(OutboxRow.id.in_(list(row_ids))).values(queued_at=func.clock_timestamp()))

    def shown(self, states: Sequence[str], most: int = 200) -> list[Shown]:
        """Return the rows in these states, newest first."""
        r = OutboxRow
        columns = (r.id, r.case_id, r.target, r.window_start, r.kind, r.state, r.reason, r.attempts, r.next_attempt_at)
        query = select(*columns).where(r.state.in_(states)).order_by(r.window_start.desc(), r.id.desc()).limit(most)
        with answering(), self._engine.connect() as connection:
            return [Shown(*row) for row in connection.execute(query)]

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many rows are open or dead, by target and state."""
        query = select(OutboxRow.target, OutboxRow.state, func.count()).where(OutboxRow.state.in_(WATCHED))
        with answering(), self._engine.connect() as connection:
            return {(t, s): n for t, s, n in connection.execute(query.group_by(OutboxRow.target, OutboxRow.state))}


_CLAIMED = (
    OutboxRow.case_id,
    OutboxRow.target,
    OutboxRow.window_start,
    OutboxRow.window_end,
    OutboxRow.kind,
    OutboxRow.simulated,
    OutboxRow.content,
    OutboxRow.planned_at,
    OutboxRow.attempts,
    OutboxRow.faults,
    OutboxRow.reason,
)
_NAMED = (OutboxRow.id.label("row_id"), OutboxRow.case_id, OutboxRow.target, OutboxRow.kind, OutboxRow.window_start, OutboxRow.reason)
