"""`sopor config plan`: what a proposed mapping would have made of the messages of the last hour. Counts only, and no effect."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Final

import typer

from backbone.clock import SystemClock
from backbone.site import SiteFile, read_site
from backbone.supervisor.state import State
from backbone.vault import open_vault
from backbone.wire import instant, microseconds
from cli.exits import CommandFault, ExitCode
from cli.place import SiteOption, StateOption, running_state, settings
from cli.talk import JsonFlag, give_rows, say
from services.hl7_listener.day_file import PURPOSE
from services.hl7_listener.journal_reader import JournalReader
from services.hl7_listener.mapping import bytes_of, parse_mapping
from services.hl7_listener.mapping_folder import MappingFolder
from services.hl7_listener.plan import Heard, changes_of

COLUMNS: Final = ("signal", "gained", "lost", "changed", "same")


def plan(
    mapping: Annotated[str, typer.Argument(metavar="MAPPING", help="Its candidate is set against what is live.")],
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="How far back messages are read again.")] = 60,
    site: SiteOption = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Read the journal's last hour again with a proposed mapping: readings gained, lost and changed, by Signal."""
    folder, place = MappingFolder(settings().mappings), running_state(state)
    path = folder.path(mapping)
    before, after = parse_mapping(bytes_of(path), path.name), parse_mapping(folder.draft(mapping), f"candidate {path.name}")
    if not place.journal.is_dir():
        raise CommandFault(f"{place.journal}: no journal; --state names the folder of a listener that ran here", ExitCode.NOT_FOUND)
    changes = changes_of(_heard(place, read_site(site or settings().site), mapping, timedelta(minutes=minutes)), before, after)
    say(f"{mapping}: {before.digest[:12]} (live) -> {after.digest[:12]}, over the last {minutes} min")
    give_rows(({"signal": signal, **asdict(change)} for signal, change in changes.items()), COLUMNS, as_json=as_json)


def _heard(place: State, site: SiteFile, mapping: str, back: timedelta) -> Iterator[Heard]:
    """Yield the messages of a mapping's sources that were read into readings, oldest first."""
    sources = {source.name: source for source in site.source if source.mapping == mapping}
    seal, since_us = open_vault(place.keys).journal, microseconds(SystemClock().now() - back)
    with closing(JournalReader(place.journal)) as reader:
        for row in reader.mapped_since(since_us):
            if row.source in sources:
                content = seal.open(row.sealed, PURPOSE)
                yield Heard(sources[row.source], content, instant(row.received_at_us), timedelta(seconds=row.clock_offset_s))
