"""Reading the audit log, and handing it who read: one snapshot of PostgreSQL, so that a ledger which writes meanwhile changes nothing.

Rows come as they are stored, in pages; what they should say is for the reader to tell.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg

from anesthesia.leaf import Event
from anesthesia.reading import Bed
from backbone.database import CONNECT_TIMEOUT_S, answering, normalised

PAGE: Final = 2000
BEFORE_ALL: Final = -(2**63)
RECORD: Final = (
    "case_id",
    "second",
    "site",
    "bed",
    "simulated",
    "outcome",
    "tier",
    "value",
    "low",
    "high",
    "reason",
    "caveats",
    "model",
    "model_digest",
    "input_hash",
    "observed_until",
    "complete_at",
    "payload",
)
LEAF_COLUMNS: Final = 'l."index", l.kind, l.case_id, l."second", l.entry, l.leaf_hash, l.recorded_at'
LEAVES: Final = f"""
SELECT {LEAF_COLUMNS}, r.case_id, r."second", r.site, r.bed, r.simulated, r.outcome, r.tier, r.value, r.low, r.high, r.reason,
       r.caveats, r.model, r.model_digest, r.input_hash, r.observed_until, r.complete_at, r.payload
FROM leaves l LEFT JOIN records r ON l.kind = 'record' AND r.case_id = l.case_id AND r."second" = l."second"
WHERE l."index" > %s ORDER BY l."index" LIMIT {PAGE}
"""  # noqa: S608  the parts are constants of this file
CHECKPOINTS: Final = f"SELECT size, root, note FROM checkpoints WHERE size > %s ORDER BY size LIMIT {PAGE}"  # noqa: S608
WITHOUT_LEAF: Final = """
SELECT r.case_id, r."second" FROM records r LEFT JOIN leaves l ON l.kind = 'record' AND l.case_id = r.case_id AND l."second" = r."second"
WHERE l."index" IS NULL LIMIT %s
"""
DOUBLED: Final = """
SELECT case_id, "second", min("index") FROM leaves WHERE kind = 'record' GROUP BY case_id, "second" HAVING count(*) > 1 LIMIT %s
"""
IDENTITIES: Final = """
SELECT case_id, l."index", l.entry, i.pseudonym, i.site, i.bed, i.sealed_identity, i.started_at, i.ended_at, i.simulated
FROM identities i FULL JOIN
     (SELECT DISTINCT ON (case_id) case_id, "index", entry FROM leaves WHERE kind = 'occupancy' ORDER BY case_id, "index" DESC) l
     USING (case_id) ORDER BY case_id
"""
INTAKE: Final = """
SELECT a.id, a.entry, a.leaf, l.entry, l.recorded_at FROM audit_intake a LEFT JOIN leaves l ON l."index" = a.leaf
WHERE a.leaf IS NOT NULL AND a.id > %s ORDER BY a.id LIMIT 2000
"""
ARCHIVES: Final = """
SELECT case_id, partition, site, bed, wrapped_key, chunks, size, entries, digest, first_entry, last_entry, closed_at FROM archives
"""
CLOSED: Final = """
SELECT DISTINCT ON (case_id) case_id, "index", entry FROM leaves
WHERE kind = 'event' AND case_id IS NOT NULL AND position('"kind":"archive_closed"'::bytea IN entry) > 0 ORDER BY case_id, "index" DESC
"""
PREDICTIONS: Final = """
SELECT "second" FROM records WHERE case_id = %s AND outcome = 'prediction' ORDER BY "second"
"""
PAYLOADS: Final = """
SELECT "second", payload FROM records WHERE case_id = %s AND "second" <= %s ORDER BY "second"
"""
OF_CASE: Final = f'SELECT {LEAF_COLUMNS} FROM leaves l WHERE l.case_id = %s ORDER BY l."index" LIMIT %s'  # noqa: S608
AT_INDEX: Final = f'SELECT {LEAF_COLUMNS} FROM leaves l WHERE l."index" = %s'  # noqa: S608
NEWEST_LEAVES: Final = f'SELECT {LEAF_COLUMNS} FROM leaves l ORDER BY l."index" DESC LIMIT %s'  # noqa: S608
HASHES: Final = f'SELECT "index", leaf_hash FROM leaves WHERE "index" > %s AND "index" < %s ORDER BY "index" LIMIT {PAGE}'  # noqa: S608


@dataclass(frozen=True, slots=True)
class StoredLeaf:
    """A row of `leaves`."""

    index: int
    kind: str
    case_id: UUID | None
    second: int | None
    entry: bytes
    leaf_hash: bytes
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A row of `checkpoints`."""

    size: int
    root: bytes
    note: str


@dataclass(frozen=True, slots=True)
class StoredIntake:
    """A row of `audit_intake` that has its leaf, and what that leaf says (None: there is none)."""

    number: int
    entry: bytes
    index: int
    leaf_entry: bytes | None
    recorded_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """A case's row of `identities` beside the newest leaf of its Occupancy; either may be missing (all None)."""

    case_id: UUID
    index: int | None
    entry: bytes | None
    pseudonym: str | None
    site: str | None
    bed: str | None
    sealed_identity: bytes | None
    started_at: datetime | None
    ended_at: datetime | None
    simulated: bool | None


@dataclass(frozen=True, slots=True)
class StoredArchive:
    """A row of `archives`: what the file of a case must be. `wrapped_key` None: erased; `first_entry` empty: no chunk yet."""

    case_id: UUID
    partition: int
    bed: Bed
    wrapped_key: bytes | None
    chunks: int
    size: int
    entries: int
    digest: bytes
    first_entry: str
    last_entry: str
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The row of `tree`."""

    size: int
    roots: bytes
    records: int


class Snapshot:
    """One instant of the audit log; make it with `snapshot`. Blocking."""

    def __init__(self, connection: "psycopg.Connection[Any]", ahead: ThreadPoolExecutor) -> None:
        """Take a connection in the snapshot's transaction, and a thread that fetches the next page while one is read."""
        self._connection, self._ahead = connection, ahead

    def _all(self, query: LiteralString, *arguments: object) -> list[Any]:
        with answering(), self._connection.cursor(binary=True) as cursor:
            return cursor.execute(query, arguments).fetchall()

    def _set(self, query: LiteralString) -> None:
        with answering():
            self._connection.execute(query)

    def _pages(self, query: LiteralString) -> Iterator[list[Any]]:
        """Yield pages of a query whose first column rises and is its one argument."""
        coming = self._ahead.submit(self._all, query, BEFORE_ALL)
        while page := coming.result():
            coming = self._ahead.submit(self._all, query, page[-1][0])
            yield page

    def head(self) -> Head | None:
        """Return the row of `tree`, None when the ledger never ran."""
        found = self._all("SELECT size, roots, records FROM tree LIMIT 1")
        return Head(*found[0]) if found else None

    def leaves(self) -> Iterator[tuple[StoredLeaf, dict[str, Any] | None]]:
        """Yield each leaf in order, with the row of the record that it names (None: no such row, or no leaf of a record)."""
        # Page after page by the primary keys, whatever the planner's statistics say of tables that grow while it looks.
        self._set("SET LOCAL enable_hashjoin = off")
        self._set("SET LOCAL enable_mergejoin = off")
        cut = len(fields(StoredLeaf))
        for page in self._pages(LEAVES):
            for row in page:
                found = None if row[cut] is None else dict(zip(RECORD, row[cut:], strict=True))
                yield StoredLeaf(*row[:cut]), found
        self._set("SET LOCAL enable_hashjoin = on")
        self._set("SET LOCAL enable_mergejoin = on")

    def checkpoints(self) -> Iterator[StoredCheckpoint]:
        """Yield all checkpoints, rising."""
        for page in self._pages(CHECKPOINTS):
            yield from (StoredCheckpoint(*row) for row in page)

    def newest_checkpoint(self) -> StoredCheckpoint | None:
        """Return the newest checkpoint."""
        found = self._all("SELECT size, root, note FROM checkpoints ORDER BY size DESC LIMIT 1")
        return StoredCheckpoint(*found[0]) if found else None

    def without_leaf(self, limit: int) -> list[tuple[UUID, int]]:
        """Return records that have no leaf, at most so many."""
        return [(row[0], row[1]) for row in self._all(WITHOUT_LEAF, limit)]

    def doubled(self, limit: int) -> list[tuple[UUID, int, int]]:
        """Return (case, second, first index) of records with more than one leaf, at most so many."""
        return [(row[0], row[1], row[2]) for row in self._all(DOUBLED, limit)]

    def identities(self) -> Iterator[StoredIdentity]:
        """Yield each case that has an identity or the leaf of an Occupancy: some a day, so they come at once."""
        yield from (StoredIdentity(*row) for row in self._all(IDENTITIES))

    def intake(self) -> Iterator[StoredIntake]:
        """Yield each row of `audit_intake` that has its leaf."""
        for page in self._pages(INTAKE):
            yield from (StoredIntake(*row) for row in page)

    def archives(self) -> Iterator[StoredArchive]:
        """Yield each archive: some a day, so they come at once."""
        yield from (_archive(row) for row in self._all(f"{ARCHIVES} ORDER BY case_id"))

    def archives_closed(self) -> dict[UUID, tuple[int, bytes]]:
        """Return, by case, index and entry of the newest leaf that says how its archive was closed."""
        return {row[0]: (row[1], row[2]) for row in self._all(CLOSED)}

    def archive_of(self, case_id: UUID) -> StoredArchive | None:
        """Return the archive of a case, None when it has none."""
        found = self._all(f"{ARCHIVES} WHERE case_id = %s", case_id)
        return _archive(found[0]) if found else None

    def archive_positions(self) -> dict[int, str]:
        """Return the last entry id of each partition's `frames` that the archives hold, where they need it."""
        return dict(self._all("SELECT partition, entry_id FROM archive_position"))

    def predicted(self) -> list[tuple[UUID, int]]:
        """Return each case with its number of Predictions."""
        query = "SELECT case_id, count(*) FROM records WHERE outcome = 'prediction' GROUP BY case_id ORDER BY case_id"
        return [(row[0], row[1]) for row in self._all(query)]

    def predictions_of(self, case_id: UUID) -> list[int]:
        """Return the seconds of a case that have a Prediction, rising."""
        return [row[0] for row in self._all(PREDICTIONS, case_id)]

    def payloads(self, case_id: UUID, until: int) -> list[tuple[int, bytes]]:
        """Return the records of a case up to a second, as (second, bytes), rising."""
        return [(row[0], row[1]) for row in self._all(PAYLOADS, case_id, until)]

    def hashes(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the leaf hashes of `[start, end)`."""
        last = start - 1
        while page := self._all(HASHES, last, end):
            yield from (row[1] for row in page)
            last = page[-1][0]

    def of_case(self, case_id: UUID, limit: int) -> list[StoredLeaf]:
        """Return the leaves of a case, rising."""
        return [StoredLeaf(*row) for row in self._all(OF_CASE, case_id, limit)]

    def at(self, index: int) -> StoredLeaf | None:
        """Return one leaf."""
        found = self._all(AT_INDEX, index)
        return StoredLeaf(*found[0]) if found else None

    def newest_leaves(self, limit: int) -> list[StoredLeaf]:
        """Return the newest leaves, rising."""
        return [StoredLeaf(*row) for row in reversed(self._all(NEWEST_LEAVES, limit))]


def _archive(row: Sequence[Any]) -> StoredArchive:
    case_id, partition, site, bed, *rest = row
    return StoredArchive(case_id, partition, Bed(site, bed), *rest)


def _connect(url: str) -> "psycopg.Connection[Any]":
    address = normalised(url).set(drivername="postgresql").render_as_string(hide_password=False)
    options = "-c statement_timeout=0 -c timezone=UTC"
    return psycopg.connect(address, connect_timeout=CONNECT_TIMEOUT_S, options=options, application_name="sopor-audit")


def hand_in(url: str, event: Event) -> None:
    """Hand an event to the ledger, which gives it a leaf; DatabaseDown when it could not be."""
    with answering(), _connect(url) as connection:
        connection.execute("INSERT INTO audit_intake (entry) VALUES (%s)", (event.encode(),))


@contextmanager
def snapshot(url: str) -> Iterator[Snapshot]:
    """Yield a Snapshot of a database URL; DatabaseDown when PostgreSQL does not answer, or has no audit log."""
    with answering(), _connect(url) as connection:
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with ThreadPoolExecutor(1, thread_name_prefix="audit") as ahead:
            yield Snapshot(connection, ahead)
