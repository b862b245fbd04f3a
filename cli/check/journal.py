"""The journal: what was kept of each message, read from the listener's SQLite files. Read-only; the listener may write meanwhile."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.check.sent import run_of

# What was acknowledged: a refused message has no effect, and time alone is no message.
MESSAGES: Final = "SELECT source, control_id FROM messages WHERE state NOT IN ('refused', 'time')"
EFFECTS: Final = "SELECT count(*), count(*) FILTER (WHERE case_id IS NULL) FROM effects"


@dataclass(frozen=True, slots=True)
class Journal:
    """The account: kept messages as (source, control id), how many rows hold them; stream entries to be, and how many are Frames."""

    messages: frozenset[tuple[str, str]]
    rows: int
    entries: int
    frames: int

    def of_runs(self, runs: Iterable[str]) -> frozenset[str]:
        """Return the control ids of messages that the simulator's runs sent; anyone else may send to a demo, too."""
        known = frozenset(runs)
        return frozenset(control_id for _, control_id in self.messages if run_of(control_id) in known)


def read_journal(folder: Path) -> Journal | None:
    """Return the account of a journal folder; None when a file cannot be read."""
    from services.hl7_listener.day_file import BUSY_S, begun, day_paths

    messages: list[tuple[str, str]] = []
    entries = frames = 0
    try:
        for path in day_paths(folder):
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_S)) as day:
                if not begun(day):
                    continue
                messages += day.execute(MESSAGES)
                counted = day.execute(EFFECTS).fetchone()
                entries, frames = entries + counted[0], frames + counted[1]
    except sqlite3.Error:
        return None
    return Journal(frozenset(messages), len(messages), entries, frames)
