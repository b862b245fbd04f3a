"""`sopor`: the command line."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from anesthesia.errors import SoporError
from anesthesia.prediction import FIXED_TEXT
from backbone.site import BadSite
from backbone.supervisor.errors import BadState, NoServer, NotReady
from backbone.vault import BadKey
from cli.exits import CommandFault, ExitCode
from cli.talk import say
from services.hl7_listener.mapping import BadMapping

CODES: tuple[tuple[type[SoporError], ExitCode], ...] = (
    (BadSite, ExitCode.CONFIG),
    (BadState, ExitCode.CONFIG),
    (BadMapping, ExitCode.CONFIG),
    (BadKey, ExitCode.INTEGRITY),
    (NoServer, ExitCode.UNREACHABLE),
    (NotReady, ExitCode.UNREACHABLE),
)

WORDS: Final = {
    "demo": "cli.demo:demo",
    "up": "cli.up:up",
    "down": "cli.up:down",
    "status": "cli.up:status",
    "doctor": "cli.doctor:doctor",
    "audit": "cli.audit:app",
    "fhir": "cli.fhir:app",
    "config": "cli.config:app",
    "code": "cli.code:app",
    "message": "cli.message:app",
    "model": "cli.model:app",
    "sim": "cli.sim:app",
    "bench": "cli.bench:app",
}


class Words(Mapping[str, Any]):
    """The words after `sopor`, each imported when it is asked for: a demo must not carry the libraries of all others for hours."""

    def __getitem__(self, word: str) -> Any:  # noqa: ANN401  typer keeps its class of commands to itself
        module, _, name = WORDS[word].partition(":")
        found = getattr(import_module(module), name)
        if isinstance(found, typer.Typer):
            group = get_group(found)
            group.name = word
            return group
        alone = typer.Typer(add_completion=False)
        alone.command(word)(found)
        return get_command(alone)

    def __iter__(self) -> Iterator[str]:
        return iter(WORDS)

    def __len__(self) -> int:
        return len(WORDS)


class Sopor(TyperGroup):
    """The group of all words."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401  typer's own
        super().__init__(**{**attributes, "commands": Words()})

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401  as above
        """Return the words without importing them."""
        del ctx
        return list(WORDS)


app = typer.Typer(
    name="sopor",
    cls=Sopor,
    help=f"Depth of anesthesia in real time from HL7 device messages. {FIXED_TEXT}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _sopor() -> None:
    """Stand for the group: typer makes none without a word of its own."""


def code_of(fault: SoporError) -> ExitCode:
    """Return the exit code of an error."""
    return next((code for kind, code in CODES if isinstance(fault, kind)), ExitCode.CHECK_FAILED)


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (its own arguments, when none are given); each error on purpose is one text and one exit code."""
    try:
        app(args=arguments)
    except CommandFault as fault:
        say(str(fault), "red")
        sys.exit(fault.code)
    except SoporError as fault:
        say(str(fault), "red")
        sys.exit(code_of(fault))
    except BrokenPipeError:
        # The reader of our data left (`| head`): nothing more to say, and nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.CHECK_FAILED)


if __name__ == "__main__":
    run()
