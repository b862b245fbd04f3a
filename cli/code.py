"""`sopor code`: the codes that devices send, and what they become."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import typer

from cli.code_change import approve, map_
from cli.journal import DEADLINE_S, instant, journal, listener_address
from cli.place import StateOption, settings
from cli.talk import JsonFlag, give_rows, say
from protos.journal.v1 import journal_pb2
from services.hl7_listener.mapping import bytes_of, file_of
from services.hl7_listener.mapping_folder import MappingFolder

app = typer.Typer(help="The codes that devices send, and what they become.", no_args_is_help=True)
app.command("map")(map_)
app.command("approve")(approve)
COLUMNS: Final = ("source", "code", "coding_system", "name", "unit", "reason", "count", "last_seen")
ROW_COLUMNS: Final = ("mapping", "kind", "becomes", "code", "unit", "ucum", "scale", "offset", "channel", "drugs", "code_status")


@app.command("list")
def list_(
    mapping: Annotated[str | None, typer.Option(metavar="NAME", help="Of this mapping only.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the rows of the mappings: which code in which unit becomes which Signal."""
    folder = MappingFolder(settings().mappings)
    names = folder.names() if mapping is None else [mapping]
    rows = [row for name in names for row in _rows(folder, name)]
    say(f"{len(rows)} row(s) of {len(names)} mapping(s)")
    give_rows(rows, ROW_COLUMNS, as_json=as_json)


def _rows(folder: MappingFolder, name: str) -> Iterator[Mapping[str, Any]]:
    path = folder.path(name)
    file = file_of(bytes_of(path), path.name)
    for _, coded, row in file.entries():
        yield {
            "mapping": name,
            "kind": row.kind.value,
            "becomes": row.signal,
            "code": coded.code,
            "unit": coded.unit,
            "ucum": file.units.get(coded.unit),
            "scale": coded.scale,
            "offset": coded.offset,
            "channel": row.channel.pattern if row.channel else None,
            "drugs": ", ".join(sorted(row.drugs)) or None,
            "code_status": coded.code_status.value,
        }


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
