"""The audit log as commands use it: a snapshot to read, and the leaf that each look at something of a patient leaves first."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from anesthesia.leaf import Event, EventKind, Scalar
from backbone.audit import Snapshot, hand_in, snapshot
from backbone.clock import SystemClock
from backbone.database import DatabaseDown
from cli.exits import CommandFault, ExitCode
from cli.place import database_url_of, running_state


@contextmanager
def reading(state: Path | None) -> Iterator[Snapshot]:
    """Yield a snapshot; a database that does not answer, or has no log, ends the command with exit code 4."""
    try:
        with snapshot(database_url_of(running_state(state))) as found:
            yield found
    except DatabaseDown as fault:
        raise CommandFault(f"{fault}: no audit log can be read there", ExitCode.UNREACHABLE) from fault


def operator() -> str:
    """Return who is at this terminal: the account of the process, whatever its environment says; its number where it has no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def look(kind: EventKind, case: UUID | None, **about: Scalar) -> Event:
    """Return the event of a look, now, by the operator at this terminal."""
    return Event(kind, SystemClock().now(), f"operator:{operator()}", case, about)


def note(seen: Event, state: Path | None, otherwise: str = "that you look, so nothing is shown") -> None:
    """Hand an event to the log before what it tells is done; when that cannot be, the command ends and nothing is."""
    try:
        hand_in(database_url_of(running_state(state)), seen)
    except DatabaseDown as fault:
        raise CommandFault(f"{fault}: the audit log cannot note {otherwise}", ExitCode.UNREACHABLE) from fault
