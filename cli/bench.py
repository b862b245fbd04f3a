"""`sopor bench`: what this machine can do, measured by the programs of benchmarks/ in a source tree."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from cli.exits import CommandFault, ExitCode
from cli.talk import JsonFlag, give, give_rows, say

app = typer.Typer(help="What this machine can do, measured.", no_args_is_help=True)
ROOT: Final = Path(__file__).parents[1]
COLUMNS: Final = ("server", "c64_per_s", "c64_p99_ms", "c1_p50_ms", "open40_p99_ms")
Python = Annotated[
    Path | None, typer.Option(metavar="PYTHON", help="Measure it too; made by benchmarks/peers/make.sh.", show_default=False)
]


@app.callback()
def _noun() -> None:
    """Keep `server` a word of its own while it is the only one."""


def _measured(program: str, *arguments: str) -> dict[str, Any]:
    """Run a program of benchmarks/ and return the object it prints; its talk goes to stderr."""
    if not (ROOT / "benchmarks" / f"{program}.py").is_file():
        raise CommandFault(f"{ROOT / 'benchmarks'}: no such program here; measure in a source tree", ExitCode.NOT_FOUND)
    command = [sys.executable, "-m", f"benchmarks.{program}", *arguments]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603  our own program
    if ended.returncode != 0:
        raise CommandFault(f"benchmarks/{program}.py ended with {ended.returncode}", ExitCode.CHECK_FAILED)
    figures: dict[str, Any] = json.loads(ended.stdout)
    return figures


@app.command()
def server(
    rounds: Annotated[int, typer.Option(min=1, help="Each figure is the median of so many rounds, in which the servers take turns.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="Of each measurement in a round.")] = 4,
    mlserver: Python = None,
    mosec: Python = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure the model server: 64 callers that wait for each answer, one alone, 40 cases once a second."""
    peers = [f"--{name}={python.absolute()}" for name, python in (("mlserver", mlserver), ("mosec", mosec)) if python is not None]
    figures = _measured("server", f"--rounds={rounds}", f"--seconds={seconds}", *peers)
    if as_json:
        give(figures)
        return
    own = {"c64_per_s": figures["streams64_scores_per_s"], "c64_p99_ms": figures["streams64_p99_ms"], "c1_p50_ms": figures["single_p50_ms"]}
    rows = [{"server": "sopor", **own, "open40_p99_ms": figures["open40_p99_ms"]}]
    give_rows(rows + [{"server": name, **peer} for name, peer in figures["peers"].items()], COLUMNS, as_json=False)
    say(f"load of the machine before and after: {figures['load'][0]} and {figures['load'][1]}, on {figures['cores']} cores")
