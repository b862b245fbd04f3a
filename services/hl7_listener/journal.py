"""The journal: what was received, before it is answered. One writer thread; what queued while the last commit ran is one transaction.

A fault of SQLite or the disk ends the process: after a failed fsync nobody knows what is on the disk, and trying again may lie.
"""

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from anesthesia.errors import SoporError
from backbone.vault import Seal
from services.hl7_listener.day_file import DayFile, day_of, day_paths, path_of
from services.hl7_listener.journal_reader import JournalReader
from services.hl7_listener.record import Commit

LARGEST_BATCH: Final = 512


class JournalFailed(SoporError):
    """The disk or SQLite failed; the process must end. What was not answered is not accepted."""


class JournalInUse(SoporError):
    """Another process writes this folder."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    commit: Commit
    day: date
    done: "asyncio.Future[None]"


def _generation(folder: Path) -> str:
    """Return the folder's random id, made with it."""
    path = folder / "generation"
    if not path.exists():
        fresh = folder / "generation.new"
        with fresh.open("w", encoding="ascii") as file:
            file.write(uuid4().hex[:16])
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        _sync_folder(folder)
    return path.read_text(encoding="ascii")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Journal:
    """The journal of one listener. Make it inside the running loop; `failed` must be awaited by the process."""

    def __init__(self, folder: Path, seal: Seal) -> None:
        """Open the folder, or make it; JournalInUse when another process has it."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder, self._seal = folder, seal
        self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            self._lock.close()
            raise JournalInUse(f"journal {folder}: another process writes it; one listener has one journal") from fault
        self.generation = _generation(folder)
        reader = JournalReader(folder)
        self._last_sequence = self.committed = reader.last_sequence()
        reader.close()
        self.bytes_used = sum(path.stat().st_size for path in folder.glob("journal-*"))
        self._file: DayFile | None = None
        self._file_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._failure: asyncio.Future[None] = self._loop.create_future()
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._listeners: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    def next_sequence(self) -> int:
        """Return the next sequence; it must be committed, in this order."""
        self._last_sequence += 1
        return self._last_sequence

    def commit(self, commit: Commit, now: datetime) -> "asyncio.Future[None]":
        """Queue a commit; the future ends when it is on the disk, or with JournalFailed."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._queue.put(_Waiting(commit, now.astimezone(UTC).date(), done))
        return done

    def on_commit(self, call: Callable[[], None]) -> None:
        """Call this, in the loop, after each transaction."""
        self._listeners.append(call)

    async def failed(self) -> None:
        """Wait for the failure that ends the process."""
        await asyncio.shield(self._failure)

    async def close(self) -> None:
        """Write what is queued and close."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        if not self._failure.done():
            self._failure.cancel()
        self._lock.close()

    # ---- the writer thread -----------------------------------------------------------------------------------------------

    def _write(self) -> None:
        while True:
            batch, last = self._batch()
            if batch:
                try:
                    self._write_batch(batch)
                except (sqlite3.Error, OSError) as fault:
                    self._tell(self._on_failure, batch, f"journal: {type(fault).__name__} while committing")
                    return
                self._tell(self._on_committed, batch)
            if last:
                if self._file is not None:
                    self._file.close()
                return

    def _batch(self) -> tuple[list[_Waiting], bool]:
        """Return what queued; True when it was the last."""
        batch: list[_Waiting] = []
        first = self._queue.get()
        if first is None:
            return batch, True
        batch.append(first)
        while len(batch) < LARGEST_BATCH:
            try:
                more = self._queue.get_nowait()
            except queue.Empty:
                break
            if more is None:
                return batch, True
            batch.append(more)
        return batch, False

    def _write_batch(self, batch: list[_Waiting]) -> None:
        before = self._turn_to(batch[-1].day)
        assert self._file is not None
        self._file.write([waiting.commit for waiting in batch], before)
        if before is not None or self._file_bytes == 0:
            _sync_folder(self.folder)
        size = self._file.bytes_used()
        self.bytes_used += size - self._file_bytes
        self._file_bytes = size

    def _turn_to(self, day: date) -> Path | None:
        """Open the file of a day; return the file whose state it must take over when it is new. Days never go back."""
        paths = day_paths(self.folder)
        if self._file is None or day > day_of(self._file.path):
            newest = paths[-1] if paths else None
            path = max(path_of(self.folder, day), newest) if newest else path_of(self.folder, day)
            if self._file is not None:
                self._file.close()
            self._file = DayFile(path, self._seal)
            self._file_bytes = self._file.bytes_used() if path in paths else 0
            return _begun_before(paths, path)
        return None

    def _tell(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    # ---- in the loop -----------------------------------------------------------------------------------------------------

    def _on_committed(self, batch: list[_Waiting]) -> None:
        rows = [waiting.commit.row.sequence for waiting in batch if waiting.commit.row is not None]
        self.committed = max([self.committed, *rows])
        for waiting in batch:
            if not waiting.done.done():
                waiting.done.set_result(None)
        for call in self._listeners:
            call()

    def _on_failure(self, batch: list[_Waiting], text: str) -> None:
        for waiting in batch:
            if not waiting.done.done():
                waiting.done.set_exception(JournalFailed(text))
        if not self._failure.done():
            self._failure.set_exception(JournalFailed(text))


def _begun_before(paths: list[Path], path: Path) -> Path | None:
    """Return the newest file before a path whose first transaction was committed."""
    for earlier in reversed([known for known in paths if known < path]):
        connection = sqlite3.connect(f"file:{earlier}?mode=ro", uri=True)
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0]:
                return earlier
        finally:
            connection.close()
    return None
