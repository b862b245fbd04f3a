"""`sopor message`: what the journal holds, and what the listener would make of stored messages."""

from typing import Annotated

import typer

from cli.exits import CommandFault, ExitCode
from cli.explain import explain
from cli.journal import DEADLINE_S, instant, journal, listener_address
from cli.place import StateOption
from cli.talk import JsonFlag, give_rows, say
from protos.journal.v1 import journal_pb2

app = typer.Typer(help="Messages: in the listener's journal, and in files.", no_args_is_help=True)
app.command("explain")(explain)
COLUMNS = ("sequence", "received", "source", "control_id", "code", "reason")


@app.command("list")
def list_(
    quarantine: Annotated[bool, typer.Option("--quarantine", help="Messages that were kept but not used.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, newest first.")] = 100,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List messages of the journal; what they say of patients stays in it."""
    if not quarantine:
        raise CommandFault("the journal lists its quarantine only: add --quarantine", ExitCode.USAGE)
    with journal(listener_address(state)) as listener:
        found = listener.ListQuarantine(journal_pb2.ListQuarantineRequest(limit=limit), timeout=DEADLINE_S).messages
    rows = [
        {**{name: getattr(one, name) for name in COLUMNS if name != "received"}, "received": instant(one.received_at_us)} for one in found
    ]
    say(f"{len(rows)} message(s) in quarantine")
    give_rows(rows, COLUMNS, as_json=as_json)
