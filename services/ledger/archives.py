"""The table of archives, in the ledger's own transactions: what each case's file must be. Blocking, on the session of the Book."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, Row, Select, insert, select
from sqlalchemy.dialects import postgresql

from anesthesia.leaf import Event, EventKind, Scalar
from anesthesia.reading import Bed
from backbone.audit import StoredArchive
from backbone.ehr_tables import IdentityRow
from backbone.tables import ArchivePosition, ArchiveRow, IntakeRow

ACTOR = "ledger"


@dataclass(frozen=True, slots=True)
class OpenArchives:
    """Each open archive with the end of its Occupancy as far as it is known, and the positions by partition."""

    archives: tuple[tuple[StoredArchive, datetime | None], ...]
    positions: dict[int, str]


def opened(connection: Connection) -> OpenArchives:
    """Return what a new leader goes on with."""
    ends = _rows().add_columns(IdentityRow.ended_at).outerjoin(IdentityRow, IdentityRow.case_id == ArchiveRow.case_id)
    found = connection.execute(ends.where(ArchiveRow.closed_at.is_(None)))
    positions = connection.execute(select(ArchivePosition.partition, ArchivePosition.entry_id))
    return OpenArchives(tuple((_stored(row), row.ended_at) for row in found), {row.partition: row.entry_id for row in positions})


def of_case(connection: Connection, case_id: UUID) -> StoredArchive | None:
    """Return the archive of a case."""
    row = connection.execute(_rows().where(ArchiveRow.case_id == case_id)).one_or_none()
    return None if row is None else _stored(row)


def write(connection: Connection, archives: Sequence[StoredArchive], at: datetime) -> None:
    """Write what the files hold now; one that closes leaves an event. A key that was erased meanwhile stays erased."""
    if not archives:
        return
    statement = postgresql.insert(ArchiveRow)
    moved = {name: statement.excluded[name] for name in ("chunks", "size", "entries", "digest", "first_entry", "last_entry", "closed_at")}
    connection.execute(statement.on_conflict_do_update(index_elements=["case_id"], set_=moved), [_values(one) for one in archives])
    events = [_closing(one, at) for one in archives if one.closed_at is not None]
    if events:
        connection.execute(insert(IntakeRow), [{"entry": event.encode()} for event in events])


def _rows() -> Select[tuple[ArchiveRow]]:
    return select(ArchiveRow.__table__)


def _stored(row: Row[tuple[ArchiveRow]]) -> StoredArchive:
    numbers = (row.chunks, row.size, row.entries)
    ends = (row.digest, row.first_entry, row.last_entry, row.closed_at)
    return StoredArchive(row.case_id, row.partition, Bed(row.site, row.bed), row.wrapped_key, *numbers, *ends)


def _values(one: StoredArchive) -> dict[str, object]:
    return {
        "case_id": one.case_id,
        "partition": one.partition,
        "site": one.bed.site,
        "bed": one.bed.name,
        "wrapped_key": one.wrapped_key,
        "chunks": one.chunks,
        "size": one.size,
        "entries": one.entries,
        "digest": one.digest,
        "first_entry": one.first_entry,
        "last_entry": one.last_entry,
        "closed_at": one.closed_at,
    }


def _closing(one: StoredArchive, at: datetime) -> Event:
    about: dict[str, Scalar] = {"chunks": one.chunks, "size": one.size, "entries": one.entries, "digest": one.digest.hex()}
    return Event(EventKind.ARCHIVE_CLOSED, at, ACTOR, one.case_id, about)
