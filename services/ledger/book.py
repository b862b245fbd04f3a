"""The one writer of the record tables: a PostgreSQL session that holds the cell's lock, and the thread it works on.

The lock and every write share one session: when the session is lost the lock is, and nothing more can be written by it.
"""

import asyncio
import contextlib
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import psycopg
from sqlalchemy import func, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from backbone.database import LEDGER_LOCK, DatabaseDown, answering, engine_of
from backbone.tables import LedgerPosition, RecordRow, Unreadable
from services.ledger.records import Batch, Row

T = TypeVar("T")
Key = tuple[UUID, int]


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

    def lead(self) -> bool:
        """Take the cell's lock; False while another process has it."""
        with answering(), self._connection.begin():
            return bool(self._connection.scalar(select(func.pg_try_advisory_lock(LEDGER_LOCK))))

    def positions(self) -> dict[int, str]:
        """Return the last recorded entry id of each partition."""
        with answering(), self._connection.begin():
            rows = self._connection.execute(select(LedgerPosition.partition, LedgerPosition.entry_id))
            return {row.partition: row.entry_id for row in rows}

    def write(self, batch: Batch) -> Written:
        """Write rows, scraps and positions in one transaction; the first record on (case, second) stays."""
        with answering(), self._connection.begin():
            new = self._insert(batch.rows)
            repeated = self._repeated(batch.rows, new)
            if batch.scraps:
                self._connection.execute(insert(Unreadable).on_conflict_do_nothing(), batch.scraps)
            self._move(batch.positions)
        conflicts = tuple(key for key, same in repeated if not same)
        return Written(len(new), len(batch.rows) - len(new), conflicts)

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
        statement = insert(RecordRow).on_conflict_do_nothing().returning(RecordRow.case_id, RecordRow.second)
        return {(case_id, second) for case_id, second in self._connection.execute(statement, rows)}

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

    def _move(self, positions: dict[int, str]) -> None:
        if not positions:
            return
        statement = insert(LedgerPosition).values([{"partition": p, "entry_id": e} for p, e in sorted(positions.items())])
        moved = statement.on_conflict_do_update(index_elements=["partition"], set_={"entry_id": statement.excluded.entry_id})
        self._connection.execute(moved)


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
