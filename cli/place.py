"""Which state folder and site file a command means: its options, else the environment, else the defaults."""

import os
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from backbone.settings import read_settings
from backbone.supervisor.postgres import DATABASE, SUPERUSER
from backbone.supervisor.settings import SupervisorSettings
from backbone.supervisor.state import State, default_folder, holder
from cli.exits import CommandFault, ExitCode

StateOption = Annotated[Path | None, typer.Option("--state", metavar="DIR", help="State folder; else SOPOR_STATE.", show_default=False)]
SiteOption = Annotated[Path | None, typer.Option("--site", metavar="PATH", help="Site file; else SOPOR_SITE.", show_default=False)]


def settings() -> SupervisorSettings:
    """Return what the environment says; a wrong variable ends the process (exit 3)."""
    return read_settings(SupervisorSettings)


def state_folder(option: Path | None) -> Path:
    """Return the state folder, absolute."""
    given = settings()
    default = default_folder(root=os.geteuid() == 0, home=Path.home(), state_home=given.state_home)
    return (option or given.state or default).resolve()


def state_of(option: Path | None) -> State:
    """Return the names inside the state folder; it may not be there."""
    return State(state_folder(option))


def running_state(option: Path | None) -> State:
    """Return the state folder that a command about something running means: this one, or the demo's below it when only that runs."""
    state = state_of(option)
    demo = State(state.folder / "demo")
    return demo if holder(state) is None and holder(demo) is not None else state


def database_url_of(place: State) -> str:
    """Return where the log is: SOPOR_DATABASE_URL, else the embedded PostgreSQL of what runs in the state folder."""
    given = settings().database_url
    if given is not None:
        return given
    if holder(place) is None:
        text = f"{place.folder}: nothing runs here; start it with `sopor up`, or set SOPOR_DATABASE_URL"
        raise CommandFault(text, ExitCode.UNREACHABLE)
    return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(str(place.socket('postgres')), safe='')}"
