"""One day of the journal: an SQLite file (WAL, synchronous=FULL), its tables and how a batch is written into it.

What must outlive the day (board, clocks, tallies) is copied into the next file in the transaction that begins it.
"""

import sqlite3
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Final

from backbone.vault import Seal
from backbone.wire import microseconds
from services.hl7_listener.record import Commit, MessageRow, State

PREFIX: Final = "journal-"
SUFFIX: Final = ".sqlite"
VERSION: Final = 1
PURPOSE: Final = "journal"  # bound to every seal of a message
BUSY_S: Final = 10.0

# Kept for all days: copied into each new file.
_CARRIED: Final = ("state", "traffic", "unmapped", "counters")
_TABLES: Final = (
    """CREATE TABLE messages (
        sequence INTEGER PRIMARY KEY, received_at_us INTEGER NOT NULL, source TEXT NOT NULL, control_id TEXT NOT NULL,
        message_type TEXT NOT NULL, bed TEXT NOT NULL, pseudonym TEXT NOT NULL, state TEXT NOT NULL, code TEXT NOT NULL,
        reason TEXT NOT NULL, mapping_digest TEXT NOT NULL, clock_offset_s REAL NOT NULL, identity BLOB NOT NULL,
        sha256 BLOB NOT NULL, sealed BLOB NOT NULL)""",
    "CREATE INDEX messages_by_identity ON messages (identity)",
    "CREATE INDEX quarantine ON messages (sequence) WHERE state IN ('refused', 'unrouted', 'clock')",
    """CREATE TABLE effects (
        sequence INTEGER NOT NULL, place INTEGER NOT NULL, partition INTEGER NOT NULL, case_id BLOB, payload BLOB NOT NULL,
        PRIMARY KEY (sequence, place)) WITHOUT ROWID""",
    "CREATE INDEX effects_by_partition ON effects (partition, sequence)",
    "CREATE TABLE state (kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID",
    """CREATE TABLE traffic (
        source TEXT NOT NULL, bed TEXT NOT NULL, messages INTEGER NOT NULL, refused INTEGER NOT NULL, last_us INTEGER NOT NULL,
        PRIMARY KEY (source, bed)) WITHOUT ROWID""",
    """CREATE TABLE unmapped (
        source TEXT NOT NULL, code TEXT NOT NULL, system TEXT NOT NULL, name TEXT NOT NULL, unit TEXT NOT NULL, reason TEXT NOT NULL,
        count INTEGER NOT NULL, last_us INTEGER NOT NULL, PRIMARY KEY (source, code, system, name, unit, reason)) WITHOUT ROWID""",
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
)


def path_of(folder: Path, day: date) -> Path:
    """Return the path of a day's file."""
    return folder / f"{PREFIX}{day:%Y%m%d}{SUFFIX}"


def day_of(path: Path) -> date:
    """Return the day of a file."""
    digits = path.name.removeprefix(PREFIX).removesuffix(SUFFIX)
    return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))


def day_paths(folder: Path) -> list[Path]:
    """Return the files of a journal folder, oldest first."""
    return sorted(folder.glob(f"{PREFIX}*{SUFFIX}"))


def begun(connection: sqlite3.Connection) -> bool:
    """Tell whether the file's first transaction was committed."""
    return bool(connection.execute("PRAGMA user_version").fetchone()[0] == VERSION)


class DayFile:
    """The file that is written to. Used by the journal's one writer thread only."""

    def __init__(self, path: Path, seal: Seal) -> None:
        """Open or make the file; its tables come with its first transaction."""
        self.path, self._seal = path, seal
        self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")

    def write(self, batch: Iterable[Commit], before: Path | None) -> None:
        """Write a batch in one transaction; the first one of a file also copies what is carried over from the day before."""
        fresh = not begun(self._db)
        if fresh and before is not None:
            self._db.execute("ATTACH ? AS before", (str(before),))
        self._db.execute("BEGIN IMMEDIATE")
        if fresh:
            self._begin(carry=before is not None)
        for commit in batch:
            self._add(commit)
        self._db.execute("COMMIT")
        if fresh and before is not None:
            self._db.execute("DETACH before")

    def close(self) -> None:
        """Close; SQLite folds the write-ahead log into the file."""
        self._db.close()

    def bytes_used(self) -> int:
        """Return the size of the file and its log."""
        log = self.path.with_name(self.path.name + "-wal")
        return self.path.stat().st_size + (log.stat().st_size if log.exists() else 0)

    def _begin(self, *, carry: bool) -> None:
        for table in _TABLES:
            self._db.execute(table)
        if carry:
            for table in _CARRIED:
                self._db.execute(f"INSERT INTO main.{table} SELECT * FROM before.{table}")  # noqa: S608  names of this file
        self._db.execute(f"PRAGMA user_version = {VERSION}")

    def _add(self, commit: Commit) -> None:
        if commit.row is not None:
            self._add_row(commit.row, commit)
        self._db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", [(k.kind, k.key, k.value) for k in commit.kept])
        counted = "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
        self._db.executemany(counted, list(commit.counts.items()))

    def _add_row(self, row: MessageRow, commit: Commit) -> None:
        at_us = microseconds(row.received_at)
        self._db.execute(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.sequence,
                at_us,
                row.source,
                row.control_id,
                row.message_type,
                row.bed,
                row.pseudonym,
                row.state,
                row.code,
                row.reason,
                row.mapping_digest,
                row.clock_offset_s,
                row.identity,
                row.digest,
                self._seal.close(row.content, PURPOSE),
            ),
        )
        self._db.executemany(
            "INSERT INTO effects VALUES (?, ?, ?, ?, ?)",
            [
                (row.sequence, place, effect.partition, effect.case_id.bytes if effect.case_id else None, effect.payload)
                for place, effect in enumerate(commit.effects)
            ],
        )
        if row.state is not State.TIME:
            self._db.execute(
                "INSERT INTO traffic VALUES (?, ?, 1, ?, ?) ON CONFLICT (source, bed) DO UPDATE SET messages = messages + 1, "
                "refused = refused + excluded.refused, last_us = excluded.last_us",
                (row.source, row.bed, int(row.state is State.REFUSED), at_us),
            )
        self._db.executemany(
            "INSERT INTO unmapped VALUES (?, ?, ?, ?, ?, ?, 1, ?) "
            "ON CONFLICT (source, code, system, name, unit, reason) DO UPDATE SET count = count + 1, last_us = excluded.last_us",
            [(row.source, u.code, u.system, u.name, u.unit, u.reason, at_us) for u in commit.unmapped],
        )
