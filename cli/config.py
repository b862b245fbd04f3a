"""`sopor config`: the site file."""

from pathlib import Path
from typing import Annotated

import typer

from backbone.site import SiteFile, read_site
from cli.config_plan import plan
from cli.place import settings
from cli.talk import JsonFlag, give, give_rows, give_text, say
from cli.whole_site import read_whole_site

app = typer.Typer(help="The site file: check it, show it, its schema.", no_args_is_help=True)
app.command("plan")(plan)
PathArgument = Annotated[Path | None, typer.Argument(help="Site file; else SOPOR_SITE.", show_default=False)]


def _path(argument: Path | None) -> Path:
    return argument or settings().site


@app.command()
def check(path: PathArgument = None, as_json: JsonFlag = False) -> None:
    """Check a site file, and the mappings and the model that it names; faults are told as file:line, with exit code 3."""
    where = _path(path)
    site = read_whole_site(where, settings().mappings)
    say(f"{where}: right: site {site.site!r}, mode {site.mode}, {len(site.bed)} beds, {len(site.source)} sources")
    if as_json:
        give({"path": str(where), "ok": True})


@app.command()
def show(path: PathArgument = None, as_json: JsonFlag = False) -> None:
    """Show what a site file means, defaults included."""
    site = read_site(_path(path))
    if as_json:
        give_text(site.model_dump_json(indent=2))
        return
    for name, value in site.model_dump(mode="json", exclude={"bed", "source"}).items():
        give_text(f"{name}: {value}")
    beds = [{**bed.model_dump(mode="json"), "aliases": ", ".join(bed.aliases)} for bed in site.bed]
    give_rows(beds, ("name", "aliases", "theatre", "adult_only"), as_json=False)
    sources = [{**source.model_dump(mode="json"), "latency_s": source.latency_s} for source in site.source]
    give_rows(sources, ("name", "kind", "sending_application", "mapping", "interval_s", "latency_s", "zone"), as_json=False)


@app.command()
def schema(as_json: JsonFlag = False) -> None:  # noqa: ARG001  it is JSON with or without
    """Print the JSON schema of the site file."""
    give(SiteFile.model_json_schema())
