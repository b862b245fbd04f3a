"""What runs, as a file: the supervisor rewrites it each second, `sopor status` reads it, the next `up` finds leftovers by it."""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from backbone.supervisor.state import State


class ProcessStatus(BaseModel):
    """One process of the table."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: str  # waiting | starting | ready | backing-off | stopping | stopped | held
    pid: int | None = None
    born: float | None = None  # creation time as the system tells it: with the pid it names one process for ever
    since: str = ""  # of the state, ISO 8601
    restarts: int = 0
    status: str = ""
    last_exit: str = ""


class Status(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True)

    pid: int
    state: str  # starting | up | stopping | stopped
    started_at: str
    site: str = ""
    addresses: Mapping[str, str] = {}
    processes: tuple[ProcessStatus, ...] = ()


def write(state: State, status: Status) -> None:
    """Replace the file at once: a reader sees the old one or the new one."""
    fresh = state.status.with_suffix(".new")
    fresh.write_text(status.model_dump_json(indent=1) + "\n", encoding="utf-8")
    fresh.replace(state.status)


def read(state: State) -> Status | None:
    """Return what the file says, or None when there is none, or it is not ours."""
    try:
        return Status.model_validate_json(state.status.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def born(pid: int) -> float | None:
    """Return the creation time of a process, or None when it is gone."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def living(process: ProcessStatus) -> psutil.Process | None:
    """Return the system's process of this entry, if that very one still runs."""
    if process.pid is None:
        return None
    try:
        found = psutil.Process(process.pid)
        same = process.born is not None and abs(found.create_time() - process.born) < 1.0
        return found if same and found.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def rss_bytes(process: ProcessStatus) -> int:
    """Return the resident memory of a process and what it started (0: it is gone)."""
    parent = living(process)
    if parent is None:
        return 0
    total = 0
    with contextlib.suppress(psutil.Error):
        for one in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += one.memory_info().rss
    return total


def as_data(process: ProcessStatus) -> dict[str, Any]:
    """Return an entry with its memory, for people and scripts."""
    return {**json.loads(process.model_dump_json(exclude={"born"})), "rss_mb": round(rss_bytes(process) / 1e6, 1)}
