"""The audit log as commands use it: a snapshot to read, and the leaf that each look at something of a patient leaves first."""

import getpass
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


def look(kind: EventKind, case: UUID | None, **about: Scalar) -> Event:
    """Return the event of a look, now, by the operator at this terminal."""
    return Event(kind, SystemClock().now(), f"operator:{getpass.getuser()}", case, about)


def note(seen: Event, state: Path | None) -> None:
    """Hand a look to the log before anything is shown; when that cannot be done, the command ends and nothing is."""
    try:
        hand_in(database_url_of(running_state(state)), seen)
    except DatabaseDown as fault:
        raise CommandFault(f"{fault}: the audit log cannot note that you look, so nothing is shown", ExitCode.UNREACHABLE) from fault
