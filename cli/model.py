"""`sopor model`: the bundles that score."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from anesthesia.errors import SoporError
from backbone import bundle as bundles
from cli.exits import CommandFault, ExitCode
from cli.talk import JsonFlag, give, give_rows, say
from cli.whole_site import MODELS

app = typer.Typer(help="The bundles that score: what they are worth.", no_args_is_help=True)
EEG_TO_BIS: Final = "eeg_to_bis"
WORK: Final = Path("build") / "leave-one-case-out"
VERSION: Final = re.compile(r"\d+\.\d+\.\d+")
COLUMNS: Final = ("what", "mae", "rmse", "ccc", "macro_state_accuracy", "scored_share")


@app.callback()
def _noun() -> None:
    """Keep `evaluate` a word of its own while it is the only one."""


def reference_of(name: str, models: Path) -> str:
    """Return `name@version`; a bare name means its highest version."""
    if "@" in name or not (models / name).is_dir():
        return name
    versions = [folder.name for folder in (models / name).iterdir() if VERSION.fullmatch(folder.name)]
    return f"{name}@{max(versions, key=lambda version: tuple(map(int, version.split('.'))))}" if versions else name


def _bundle(name: str, models: Path) -> bundles.Bundle:
    try:
        return bundles.read(models, reference_of(name, models))
    except bundles.UnknownBundle as fault:
        raise CommandFault(str(fault), ExitCode.NOT_FOUND) from fault
    except bundles.BundleError as fault:
        raise CommandFault(str(fault), ExitCode.INTEGRITY) from fault


def _rows(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the bundle and each baseline as rows of a table."""
    rows = [{"what": figures["bundle"], **figures}]
    return rows + [{"what": name, **baseline} for name, baseline in figures["baselines"].items() if baseline is not None]


@app.command()
def evaluate(  # noqa: PLR0913, PLR0917  one parameter is one option
    bundle: Annotated[str, typer.Option("--bundle", metavar="NAME", help="name@version; a bare name means its highest version.")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder of caseNN.npz, or the one above its eeg_bis_24.")],
    task: Annotated[str, typer.Option("--task", help=f"What is judged; known: {EEG_TO_BIS}.")] = EEG_TO_BIS,
    split: Annotated[str | None, typer.Option("--split", metavar="NAME", help="Only cases of this split in cases.csv.")] = None,
    leave_one_case_out: Annotated[
        bool, typer.Option("--leave-one-case-out", help="Fit the bundle's recipe anew for each case on the others; an hour of one core.")
    ] = False,
    fit_data: Annotated[
        Path | None, typer.Option("--fit-data", metavar="DIR", help="Cases that baselines are fitted on; else the other cases of --data.")
    ] = None,
    models: Annotated[Path, typer.Option("--models", metavar="DIR", help="Folder of bundles.", show_default=False)] = MODELS,
    work: Annotated[Path, typer.Option("--work", metavar="DIR", help="Where refitted networks are kept.")] = WORK,
    as_json: JsonFlag = False,
) -> None:
    """Judge a bundle on recorded cases, with the baselines beside it."""
    if task != EEG_TO_BIS:
        raise CommandFault(f"--task {task}: no such task; known: {EEG_TO_BIS}", ExitCode.USAGE)
    from training.datasets import DataMissing, read_recordings, read_table
    from training.evaluate_bundle import Request, evaluation

    chosen = _bundle(bundle, models)
    try:
        known = read_recordings(fit_data) if fit_data is not None else ()
        request = Request(read_recordings(data, split), read_table(data), known)
        figures = evaluation(chosen, request, say, refit_in=work if leave_one_case_out else None)
    except DataMissing as fault:
        raise CommandFault(str(fault), ExitCode.NOT_FOUND) from fault
    except SoporError as fault:
        raise CommandFault(str(fault), ExitCode.CHECK_FAILED) from fault
    if figures["seen_in_training"]:
        seen = figures["seen_cases"]
        text = (
            f"the weights were fitted on {len(seen)} of these {figures['cases']} cases: this is memory, not skill; use --leave-one-case-out"
        )
        say(f"SEEN IN TRAINING: {text}", "bold red")
    if as_json:
        give(figures)
        return
    give_rows(_rows(figures), COLUMNS, as_json=False)
