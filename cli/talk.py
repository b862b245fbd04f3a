"""How commands speak: data on stdout, talk on stderr; colours only on a terminal, never with NO_COLOR."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

JsonFlag = Annotated[bool, typer.Option("--json", help="Data as JSON on stdout (lists: one object a line).")]


def say(text: str, style: str | None = None) -> None:
    """Tell the person something, on stderr."""
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(text, style=style)


def give(data: Mapping[str, Any]) -> None:
    """Write one JSON object on stdout."""
    typer.echo(json.dumps(data, ensure_ascii=False))


def give_text(text: str) -> None:
    """Write data that is text on stdout."""
    typer.echo(text)


def give_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Write rows on stdout: a table, or one JSON object a line."""
    if as_json:
        for row in rows:
            give(row)
        return
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*("" if row.get(name) is None else str(row[name]) for name in columns))
    Console(highlight=False, markup=False, width=None if Console().is_terminal else 160).print(table)
