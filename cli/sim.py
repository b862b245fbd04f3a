"""`sopor sim`: let something happen in a simulated room."""

import json
import socket
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from backbone.supervisor.table import simulator_socket
from cli.exits import CommandFault, ExitCode
from cli.place import StateOption, running_state
from cli.talk import JsonFlag, give, say

app = typer.Typer(help="The device simulator of a running demo.", no_args_is_help=True)
DEADLINE_S: Final = 5.0
LONGEST_ANSWER: Final = 1_000_000


@app.callback()
def _noun() -> None:
    """Keep `fault` a word of its own while it is the only one."""


def ask(path: Path, command: dict[str, Any]) -> dict[str, Any]:
    """Send one command line to the simulator and return its answer."""
    try:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(DEADLINE_S)
            control.connect(str(path))
            control.sendall(json.dumps(command).encode() + b"\n")
            with control.makefile("rb") as answers:
                answer: dict[str, Any] = json.loads(answers.readline(LONGEST_ANSWER))
    except (OSError, ValueError) as fault:
        raise CommandFault("no simulator answers; `sopor demo` starts one", ExitCode.UNREACHABLE) from fault
    return answer


@app.command()
def fault(
    name: Annotated[str, typer.Argument(help="unplug_eeg, replug_eeg, lead_off, lead_on, bolus, double_send, conflict, agree")],
    room: Annotated[str, typer.Option(help='Which room, such as "OR 2".')],
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Pull a plug, give a bolus: let a fault happen in a room."""
    answer = ask(simulator_socket(running_state(state)), {"fault": name, "room": room})
    if not answer.get("ok"):
        raise CommandFault(str(answer.get("error", "the simulator refused")), ExitCode.USAGE)
    say(f"{name} in {room}")
    if as_json:
        give(answer)
