"""`sopor sim`: let something go wrong in a running demo."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from backbone.supervisor.table import simulator_socket
from cli.control import NoAnswer, ask, demo_socket
from cli.exits import CommandFault, ExitCode
from cli.faults import KINDS, BadFault, Kind, kind_of
from cli.place import StateOption, running_state
from cli.talk import JsonFlag, give, give_rows, say

app = typer.Typer(help="A running demo: break something in it, on purpose.", no_args_is_help=True)
DEADLINE_S: Final = 5.0
COLUMNS: Final = ("name", "where", "does", "watch")
Room = Annotated[str | None, typer.Option("--room", help='Which room, such as "OR 2"; for faults of a room.', show_default=False)]


def _row(kind: Kind) -> dict[str, Any]:
    return {"name": kind.name, "where": "room" if kind.in_room else "demo", "does": kind.does, "watch": kind.watch.format(room="it")}


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """List the faults, each with where it happens and what it does."""
    give_rows([_row(kind) for kind in KINDS], COLUMNS if as_json else COLUMNS[:-1], as_json=as_json)


def _asked(kind: Kind, room: str | None, state: Path | None) -> dict[str, Any]:
    """Return the answer of the demo, which then knows of it; for a fault of a room that of the simulator, where only that runs."""
    place = running_state(state)
    command = {"fault": kind.name, **({} if room is None else {"room": room})}
    alone = room is not None and not demo_socket(place).exists()
    try:
        return ask(simulator_socket(place) if alone else demo_socket(place), command, DEADLINE_S)
    except NoAnswer as fault:
        raise CommandFault(f"{fault}; only a running `sopor demo` takes faults", ExitCode.UNREACHABLE) from fault


@app.command()
def fault(
    name: Annotated[str, typer.Argument(help="One of `sopor sim list`.")],
    room: Room = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Pull a plug, stop the EHR, kill a process, tamper with the audit log: let a fault happen, and say what to watch."""
    try:
        kind = kind_of(name, room)
    except BadFault as wrong:
        raise CommandFault(str(wrong), ExitCode.USAGE) from wrong
    answer = _asked(kind, room, state)
    if not answer.get("ok"):
        raise CommandFault(str(answer.get("error", "refused")), ExitCode.USAGE if kind.in_room else ExitCode.CHECK_FAILED)
    done = str(answer.get("done", kind.told(room)))
    say(done)
    if as_json:
        give({"ok": True, "fault": name, "room": room, "done": done})
