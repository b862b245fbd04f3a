"""The journal as others read it: the forwarder its effects, the intake its duplicates, the inspection its lists. Read-only.

One object a thread; every daily file is opened once and stays open.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from services.hl7_listener.day_file import BUSY_S, begun, day_of, day_paths

_EPOCH_DAY: Final = date(1970, 1, 1)
_DAY_US: Final = 86_400_000_000
_IN_QUARANTINE: Final = "state IN ('refused', 'unrouted', 'clock')"  # word for word as in the index


@dataclass(frozen=True, slots=True)
class StoredEffect:
    """One entry for a stream, as the journal holds it."""

    sequence: int
    partition: int
    case_id: UUID | None
    payload: bytes


@dataclass(frozen=True, slots=True)
class Unapplied:
    """An ADT message that should have moved a patient and moved nobody."""

    sequence: int
    received_at_us: int
    source: str
    message_type: str
    code: str


@dataclass(frozen=True, slots=True)
class Mapped:
    """A message that a mapping was used on, its content sealed."""

    source: str
    received_at_us: int
    clock_offset_s: float
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Totals:
    """The whole journal in a few numbers."""

    last_sequence: int
    messages: int
    traffic: tuple[tuple[str, str, int, int, int], ...]  # source, bed, messages, refused, last receipt in microseconds


class JournalReader:
    """Read access to all daily files of a folder."""

    def __init__(self, folder: Path) -> None:
        """Look into a folder; files that come later are found when they are there."""
        self._folder = folder
        self._open: dict[Path, sqlite3.Connection] = {}

    def close(self) -> None:
        """Close the files."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def digest_of(self, identity: bytes, since_us: int) -> bytes | None:
        """Return the SHA-256 of the newest message of this identity that was not refused, received since an instant."""
        query = "SELECT sha256 FROM messages WHERE identity = ? AND received_at_us >= ? AND state <> 'refused' ORDER BY sequence DESC"
        for connection in self._newest_first(since_us):
            found = connection.execute(query, (identity, since_us)).fetchone()
            if found:
                return bytes(found[0])
        return None

    def after(self, sequence: int, limit: int, partition: int | None = None) -> list[StoredEffect]:
        """Return the effects after a sequence, oldest first; about `limit` of them, but all of the last sequence."""
        found: list[StoredEffect] = []
        where, given = ("", ()) if partition is None else ("partition = ? AND", (partition,))
        query = f"SELECT sequence, partition, case_id, payload FROM effects WHERE {where} sequence > ? ORDER BY sequence, place"  # noqa: S608
        for connection in self._connections():
            last = self._last(connection)
            if last is None or last <= sequence:
                continue
            for row in connection.execute(query, (*given, sequence)):
                if len(found) >= limit and row[0] != found[-1].sequence:
                    return found
                found.append(StoredEffect(row[0], row[1], UUID(bytes=row[2]) if row[2] else None, row[3]))
        return found

    def waiting(self, sequence: int) -> int:
        """Return how many effects come after a sequence."""
        query = "SELECT count(*) FROM effects WHERE sequence > ?"
        return sum(int(connection.execute(query, (sequence,)).fetchone()[0]) for connection in self._connections())

    def kept(self, kind: str) -> dict[str, str]:
        """Return what was kept of a kind, from the newest file."""
        newest = next(self._newest_first(), None)
        return dict(newest.execute("SELECT key, value FROM state WHERE kind = ?", (kind,))) if newest else {}

    def counters(self) -> dict[str, int]:
        """Return the counters of all days."""
        newest = next(self._newest_first(), None)
        return dict(newest.execute("SELECT name, value FROM counters")) if newest else {}

    def totals(self) -> Totals:
        """Return the numbers of a status."""
        newest = next(self._newest_first(), None)
        traffic = tuple(newest.execute("SELECT source, bed, messages, refused, last_us FROM traffic")) if newest else ()
        return Totals(self.last_sequence(), sum(row[2] for row in traffic), traffic)

    def last_sequence(self) -> int:
        """Return the newest sequence; -1 when nothing was written yet."""
        for connection in self._newest_first():
            last = self._last(connection)
            if last is not None:
                return last
        return -1

    def quarantine(self, limit: int) -> list[tuple[int, int, str, str, str, str]]:
        """Return sequence, receipt, source, control id, code, reason of the newest quarantined messages."""
        columns = "sequence, received_at_us, source, control_id, code, reason"
        query = f"SELECT {columns} FROM messages WHERE {_IN_QUARANTINE} ORDER BY sequence DESC LIMIT ?"  # noqa: S608
        found: list[Any] = []
        for connection in self._newest_first():
            found += connection.execute(query, (limit - len(found),))
            if len(found) >= limit:
                break
        return found

    def unapplied(self, after: int, limit: int) -> list[Unapplied]:
        """Return the moves in quarantine after a sequence, oldest first, at most so many."""
        columns, moves = "sequence, received_at_us, source, message_type, code", "'ADT^A01', 'ADT^A02', 'ADT^A03'"
        where = f"{_IN_QUARANTINE} AND sequence > ? AND message_type IN ({moves})"
        query = f"SELECT {columns} FROM messages WHERE {where} ORDER BY sequence LIMIT ?"  # noqa: S608  names of this file
        found: list[Unapplied] = []
        for connection in self._connections():
            last = self._last(connection)
            if last is not None and last > after:
                found += [Unapplied(*row) for row in connection.execute(query, (after, limit - len(found)))]
        return found

    def mapped_since(self, since_us: int) -> Iterator[Mapped]:
        """Yield the messages received since an instant that a mapping was used on, oldest first."""
        columns = "source, received_at_us, clock_offset_s, sealed"
        query = f"SELECT {columns} FROM messages WHERE received_at_us >= ? AND mapping_digest <> '' ORDER BY sequence"  # noqa: S608
        for connection in reversed(list(self._newest_first(since_us))):
            for row in connection.execute(query, (since_us,)):
                yield Mapped(*row)

    def unmapped(self) -> list[tuple[str, str, str, str, str, str, int, int]]:
        """Return source, code, system, name, unit, reason, count, last seen of the rows that became no reading."""
        newest = next(self._newest_first(), None)
        query = "SELECT source, code, system, name, unit, reason, count, last_us FROM unmapped ORDER BY count DESC"
        return list(newest.execute(query)) if newest else []

    # ---- files -------------------------------------------------------------------------------------------------------

    def _last(self, connection: sqlite3.Connection) -> int | None:
        found = connection.execute("SELECT max(sequence) FROM messages").fetchone()[0]
        return None if found is None else int(found)

    def _newest_first(self, since_us: int | None = None) -> Iterator[sqlite3.Connection]:
        paths = day_paths(self._folder)[::-1]
        if since_us is not None:
            # The day of the instant, and one more: a clock that was set back writes into the newest file.
            first = (_EPOCH_DAY + timedelta(days=since_us // _DAY_US - 1)).isoformat()
            paths = [path for path in paths if day_of(path).isoformat() >= first]
        return self._of(paths)

    def _connections(self) -> Iterator[sqlite3.Connection]:
        return self._of(day_paths(self._folder))

    def _of(self, paths: Iterable[Path]) -> Iterator[sqlite3.Connection]:
        for path in paths:
            connection = self._open.get(path)
            if connection is None:
                connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_S, check_same_thread=False)
                if not begun(connection):
                    connection.close()
                    continue
                self._open[path] = connection
            yield connection


def kept_in(folder: Path, kinds: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return what a journal kept of each kind."""
    with closing(JournalReader(folder)) as reader:
        return {kind: reader.kept(kind) for kind in kinds}
