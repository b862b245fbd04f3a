"""The one writer of the record tables: a PostgreSQL session that holds the cell's lock, and the thread it works on.

The lock and every write share one session: when the session is lost the lock is, and nothing more can be written by it.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

import psycopg
from sqlalchemy import bindparam, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from backbone.audit import StoredArchive
from backbone.database import LEDGER_LOCK, DatabaseDown, answering, engine_of
from backbone.ehr_tables import IdentityRow
from backbone.redis.streams import key
from backbone.tables import ArchivePosition, EventPosition, IntakeRow, LeafRow, LedgerPosition, RecordRow, Unreadable
from backbone.telemetry import counter
from services.ledger import archives, tree
from services.ledger.checkpoint import Keep
from services.ledger.copying import Target, copy_new, copy_rows, make_temporary
from services.ledger.leaves import Kind, Leaf, digest, event_leaf, intake_leaf, occupancy_leaf, record_leaf
from services.ledger.records import EVENTS, PREDICTIONS, Batch, Row

T = TypeVar("T")
Key = tuple[UUID, int]

INTAKE_AT_ONCE: Final = 1000
LEAVES = counter("ledger_leaves", "Leaves appended to the audit log")
INCOMING: Final = Target(
    "incoming_records",
    (
        ("case_id", "uuid"),
        ("second", "int8"),
        ("site", "text"),
        ("bed", "text"),
        ("simulated", "bool"),
        ("outcome", "text"),
        ("tier", "text"),
        ("value", "float8"),
        ("low", "float8"),
        ("high", "float8"),
        ("reason", "text"),
        ("caveats", "text[]"),
        ("model", "text"),
        ("model_digest", "text"),
        ("input_hash", "bytea"),
        ("observed_until", "timestamptz"),
        ("complete_at", "timestamptz"),
        ("payload", "bytea"),
    ),
)


@dataclass(frozen=True, slots=True)
class Written:
    """What a transaction did: rows that are new, rows that stood there already, and those that stood there with other bytes."""

    new: int
    repeated: int
    conflicts: tuple[Key, ...]


class Book:
    """One session. Blocking; every method raises DatabaseDown when the session is lost, and then it stays so."""

    def __init__(self, url: str) -> None:
        """Connect."""
        with answering():
            self._connection = engine_of(url).connect()
        driver = self._connection.connection.driver_connection
        # A second handle on the same socket, so that another thread can end a call that hangs.
        self._wire = os.dup(driver.fileno()) if isinstance(driver, psycopg.Connection) else None
        self._tree = tree.Tree()
        self._signed = 0

    def lead(self) -> bool:
        """Take the cell's lock; False while another process has it."""
        with answering(), self._connection.begin():
            return bool(self._connection.scalar(select(func.pg_try_advisory_lock(LEDGER_LOCK))))

    def take(self, keep: Keep | None) -> dict[str, str]:
        """Read the tree, once this session leads; return the last recorded entry id of each stream key.

        BadLedger when the database does not hold what was promised of it.
        """
        with answering(), self._connection.begin():
            make_temporary(self._connection, INCOMING)
            self._tree = tree.opened(self._connection)
            note = None if keep is None else keep.newest()
            tree.check_against(self._connection, self._tree, None if note is None else note.checkpoint)
            self._signed = tree.newest_size(self._connection)
            records = self._connection.execute(select(LedgerPosition.partition, LedgerPosition.entry_id))
            positions = {key(row.partition, PREDICTIONS): row.entry_id for row in records}
            events = self._connection.execute(select(EventPosition.partition, EventPosition.entry_id))
            return positions | {key(row.partition, EVENTS): row.entry_id for row in events}

    def write(self, batch: Batch, at: datetime) -> Written:
        """Write a batch, the open rows of `audit_intake` and all their leaves in one transaction.

        The first record on (case, second) stays, and only that has a leaf.
        """
        with answering(), self._connection.begin():
            new = self._insert(batch.rows)
            repeated = self._repeated(batch.rows, new)
            if batch.scraps:
                self._connection.execute(insert(Unreadable).on_conflict_do_nothing(), batch.scraps)
            archives.write(self._connection, batch.archives, at)
            intake = self._intake()
            leaves = [*_record_leaves(batch.rows, new), *self._occupancy_leaves(batch)]
            leaves += [event_leaf(source, data) for source, data in batch.events]
            first = self._tree.range.size + len(leaves)
            grown = tree.append(self._connection, self._tree, [*leaves, *(leaf for _, leaf in intake)], at)
            self._take_in([number for number, _ in intake], first)
            self._move(LedgerPosition, batch.positions)
            self._move(EventPosition, batch.event_positions)
            self._move(ArchivePosition, batch.archive_positions)
        appended, self._tree = grown.range.size - self._tree.range.size, grown
        LEAVES.inc(appended)
        conflicts = tuple(key for key, same in repeated if not same)
        return Written(len(new), len(batch.rows) - len(new), conflicts)

    def open_archives(self) -> archives.OpenArchives:
        """Return the archives of open cases, and up to where each partition's `frames` are archived."""
        with answering(), self._connection.begin():
            return archives.opened(self._connection)

    def archive_of(self, case_id: UUID) -> StoredArchive | None:
        """Return the archive of a case, open or closed."""
        with answering(), self._connection.begin():
            return archives.of_case(self._connection, case_id)

    def unsigned(self) -> int:
        """Return how many leaves no checkpoint covers yet."""
        return self._tree.range.size - self._signed

    def never_signed(self) -> bool:
        """Tell whether the log has leaves, and no checkpoint at all."""
        return self._signed == 0 and self.unsigned() > 0

    def sign(self, keep: Keep, at: datetime) -> None:
        """Write a checkpoint of the tree, in PostgreSQL first and then beside the key; nothing when there is one."""
        if not self.unsigned():
            return
        head = self._tree.range
        note = keep.signer.sign(head.size, head.root())
        with answering(), self._connection.begin():
            tree.store(self._connection, self._tree, note, at)
        self._signed = head.size
        keep.keep(note)

    def close(self) -> None:
        """Give up the session, and with it the lock."""
        with contextlib.suppress(Exception):  # it may be dead already
            self._connection.close()
        if self._wire is not None:
            os.close(self._wire)
            self._wire = None

    def abort(self) -> None:
        """End a call that hangs, from another thread: it fails with DatabaseDown."""
        if self._wire is not None:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._wire)) as wire:
                wire.shutdown(socket.SHUT_RDWR)

    def _insert(self, rows: list[Row]) -> set[Key]:
        if not rows:
            return set()
        first = {(row["case_id"], row["second"]): row for row in reversed(rows)}
        columns = [name for name, _ in INCOMING.columns]
        copy_rows(self._connection, INCOMING, ([row[name] for name in columns] for row in first.values()))  # type: ignore[literal-required]
        return {(case_id, second) for case_id, second in copy_new(self._connection, INCOMING, "records", ("case_id", "second"))}

    def _repeated(self, rows: list[Row], new: set[Key]) -> list[tuple[Key, bool]]:
        """Return the keys that were there already, each with whether its bytes are the same."""
        times = Counter((row["case_id"], row["second"]) for row in rows)
        keys = [key for key, count in times.items() if key not in new or count > 1]
        if not keys:
            return []
        wanted = tuple_(RecordRow.case_id, RecordRow.second).in_(keys)
        found = self._connection.execute(select(RecordRow.case_id, RecordRow.second, RecordRow.payload).where(wanted))
        stored = {(case_id, second): payload for case_id, second, payload in found}
        again = [row for row in rows if (row["case_id"], row["second"]) in stored]
        return [((row["case_id"], row["second"]), row["payload"] == stored[row["case_id"], row["second"]]) for row in again]

    def _intake(self) -> list[tuple[int, Leaf]]:
        waiting = select(IntakeRow.id, IntakeRow.entry).where(IntakeRow.leaf.is_(None)).order_by(IntakeRow.id).limit(INTAKE_AT_ONCE)
        return [(number, intake_leaf(number, entry)) for number, entry in self._connection.execute(waiting)]

    def _take_in(self, numbers: list[int], first: int) -> None:
        if numbers:
            given = update(IntakeRow).where(IntakeRow.id == bindparam("number")).values(leaf=bindparam("given"))
            rows = [{"number": number, "given": first + n} for n, number in enumerate(numbers)]
            self._connection.execute(given, rows)

    def _occupancy_leaves(self, batch: Batch) -> list[Leaf]:
        """Write identities and return their leaves, less the revisions that have theirs."""
        if not batch.occupancies:
            return []
        known = self._revisions([occupancy.case_id for occupancy, _ in batch.occupancies])
        revised = [(one, packed) for one, packed in batch.occupancies if known.get(one.case_id) != digest(packed)]
        for occupancy, _ in revised:
            row = {
                "pseudonym": occupancy.pseudonym,
                "site": occupancy.bed.site,
                "bed": occupancy.bed.name,
                "sealed_identity": occupancy.sealed_identity,
                "started_at": occupancy.start,
                "ended_at": occupancy.end,
                "simulated": occupancy.simulated,
            }
            statement = insert(IdentityRow).values(case_id=occupancy.case_id, **row)
            self._connection.execute(statement.on_conflict_do_update(index_elements=["case_id"], set_=row))
        return [occupancy_leaf(one, packed) for one, packed in revised]

    def _revisions(self, cases: list[UUID]) -> dict[UUID, str]:
        """Return the hash of the newest revision of each case that has a leaf."""
        of_cases = (LeafRow.kind == Kind.OCCUPANCY.value, LeafRow.case_id.in_(cases))
        newest = select(LeafRow.case_id, LeafRow.entry).where(*of_cases).order_by(LeafRow.index)
        return {case_id: json.loads(entry)["occupancy"] for case_id, entry in self._connection.execute(newest) if case_id}

    def _move(self, table: type[LedgerPosition | EventPosition | ArchivePosition], positions: dict[int, str]) -> None:
        if not positions:
            return
        statement = insert(table).values([{"partition": p, "entry_id": e} for p, e in sorted(positions.items())])
        moved = statement.on_conflict_do_update(index_elements=["partition"], set_={"entry_id": statement.excluded.entry_id})
        self._connection.execute(moved)


def _record_leaves(rows: list[Row], new: set[Key]) -> list[Leaf]:
    """Return the leaves of the rows that are new, in the order they came; of two on one second the first was written."""
    left, leaves = set(new), []
    for row in rows:
        key_of_row = (row["case_id"], row["second"])
        if key_of_row in left:
            left.remove(key_of_row)
            leaves.append(record_leaf(row))
    return leaves


class Desk:
    """A Book on a thread of its own: one call at a time, each with a deadline."""

    def __init__(self, pool: ThreadPoolExecutor, book: Book, deadline_s: float) -> None:
        """Take an open Book; make it with `opened`."""
        self._pool, self.book, self._deadline_s = pool, book, deadline_s

    async def ask(self, work: Callable[[], T]) -> T:
        """Return what a call on the Book returns; DatabaseDown when it takes too long."""
        answer = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            return await asyncio.wait_for(asyncio.shield(answer), self._deadline_s)
        except TimeoutError as fault:
            self.book.abort()
            answer.add_done_callback(lambda late: late.exception())
            raise DatabaseDown("postgresql: no answer within the deadline") from fault


@asynccontextmanager
async def opened(url: str, deadline_s: float) -> AsyncIterator[Desk]:
    """Yield a Desk; at the end the Book is closed after its last call, so a stop never cuts a transaction in two."""
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(1, thread_name_prefix="book")
    try:
        book = await loop.run_in_executor(pool, Book, url)
        try:
            yield Desk(pool, book, deadline_s)
        finally:
            await asyncio.shield(loop.run_in_executor(pool, book.close))
    finally:
        pool.shutdown(wait=False)
