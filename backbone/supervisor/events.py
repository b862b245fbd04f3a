"""What happened to a process: told to the person, and kept as a line in `supervisor.jsonl`."""

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from backbone.supervisor.child import Exit


class What(StrEnum):
    """Kinds of events."""

    STARTED = "started"
    READY = "ready"
    DIED = "died"
    LATE = "late"
    REFUSED = "refused"
    STOPPED = "stopped"
    KILLED = "killed"
    LEFTOVER = "leftover"
    HELD = "held"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one process."""

    at: datetime
    what: What
    process: str
    pid: int | None = None
    exit: Exit | None = None
    backoff_s: float | None = None
    elapsed_s: float | None = None
    text: str = ""
    restarts: int = 0


def line_of(event: Event) -> str:
    """Return the event as one JSON line. The process's own words stay in its log."""
    fields = {
        "time": event.at.isoformat(timespec="milliseconds"),
        "event": event.what.value,
        "process": event.process,
        "pid": event.pid,
        "exit_code": event.exit.code if event.exit else None,
        "signal": event.exit.by_signal if event.exit else None,
        "backoff_s": event.backoff_s,
        "elapsed_s": round(event.elapsed_s, 3) if event.elapsed_s is not None else None,
        "restarts": event.restarts,
    }
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def append(path: Path, event: Event) -> None:
    """Add the event to the file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(line_of(event) + "\n")
