"""`sopor code`: the codes that devices send."""

import typer

from cli.journal import DEADLINE_S, instant, journal, listener_address
from cli.place import StateOption
from cli.talk import JsonFlag, give_rows, say
from protos.journal.v1 import journal_pb2

app = typer.Typer(help="The codes that devices send.", no_args_is_help=True)
COLUMNS = ("source", "code", "coding_system", "name", "unit", "reason", "count", "last_seen")


@app.callback()
def _noun() -> None:
    """Keep `unmapped` a word of its own while it is the only one."""


@app.command()
def unmapped(state: StateOption = None, as_json: JsonFlag = False) -> None:
    """List codes that no mapping knows, or on which mapping and message disagree."""
    with journal(listener_address(state)) as listener:
        codes = listener.ListUnmapped(journal_pb2.ListUnmappedRequest(), timeout=DEADLINE_S).codes
    rows = [
        {**{name: getattr(code, name) for name in COLUMNS if name != "last_seen"}, "last_seen": instant(code.last_seen_us)}
        for code in codes
    ]
    say(f"{len(rows)} unmapped code(s)")
    give_rows(rows, COLUMNS, as_json=as_json)
