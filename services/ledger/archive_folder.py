"""The folder of the input archive: one file a case, appended to and synced before the database says so. Blocking."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

from backbone.audit import StoredArchive
from services.ledger.archive_file import BadArchive, chunks_of

PRIVATE: Final = 0o700
FILE: Final = 0o600
LOCK: Final = "lock"


class FolderInUse(OSError):
    """Another ledger, which may hang, still holds the folder."""


def path_of(folder: Path, case_id: UUID) -> Path:
    """Return the file of a case."""
    return folder / f"{case_id}.archive"


@contextmanager
def reading(folder: Path, case_id: UUID) -> Iterator[BinaryIO]:
    """Yield the open file of a case; BadArchive when it cannot be opened."""
    try:
        file = path_of(folder, case_id).open("rb")
    except OSError as fault:
        raise BadArchive(f"archive of case {case_id}: the file cannot be read ({fault.strerror})") from fault
    with file:
        yield file


def fault_of(folder: Path, stored: StoredArchive) -> str | None:
    """Return what is wrong with a case's file, None when it is what the ledger wrote; reads all of it, but needs no key."""
    try:
        with reading(folder, stored.case_id) as file:
            for _ in chunks_of(file, stored):
                pass
    except BadArchive as fault:
        return str(fault)
    return None


class ArchiveFolder:
    """The writer's side; one ledger at a time."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; `lock` makes it."""
        self.path = folder
        self._lock: int | None = None

    def lock(self) -> None:
        """Take the folder, made 0700 when it is missing; FolderInUse while another process has it."""
        if self._lock is not None:
            return
        self.path.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        handle = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            os.close(handle)
            raise FolderInUse(f"{self.path}: another ledger writes here") from fault
        self._lock = handle

    def unlock(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def append(self, stored: StoredArchive, chunk: bytes) -> None:
        """Write a chunk behind what is committed, and sync it; BadArchive when less than that is there.

        What a crash left behind the committed bytes is cut off first.
        """
        path = path_of(self.path, stored.case_id)
        fresh = not stored.chunks
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT if fresh else 0), FILE)
        except FileNotFoundError as fault:
            raise BadArchive(f"archive of case {stored.case_id}: the file is missing") from fault
        try:
            length = os.fstat(handle).st_size
            if length < stored.size:
                raise BadArchive(f"archive of case {stored.case_id}: {length} bytes of {stored.size} are there")
            os.ftruncate(handle, stored.size)
            _write(handle, chunk, stored.size)
            os.fdatasync(handle)
        finally:
            os.close(handle)
        if fresh:
            self._sync_names()

    def _sync_names(self) -> None:
        handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write(handle: int, data: bytes, at: int) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(handle, left, at)
        left, at = left[written:], at + written
