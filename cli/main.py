"""`sopor`: the command line."""

import os
import sys
from collections.abc import Sequence

import typer

from anesthesia.errors import SoporError
from anesthesia.prediction import FIXED_TEXT
from backbone.site import BadSite
from backbone.supervisor.errors import BadState, NoServer, NotReady
from backbone.vault import BadKey
from cli import audit, code, config, message, sim
from cli.demo import demo
from cli.doctor import doctor
from cli.exits import CommandFault, ExitCode
from cli.talk import say
from cli.up import down, status, up
from services.hl7_listener.mapping import BadMapping

CODES: tuple[tuple[type[SoporError], ExitCode], ...] = (
    (BadSite, ExitCode.CONFIG),
    (BadState, ExitCode.CONFIG),
    (BadMapping, ExitCode.CONFIG),
    (BadKey, ExitCode.INTEGRITY),
    (NoServer, ExitCode.UNREACHABLE),
    (NotReady, ExitCode.UNREACHABLE),
)

app = typer.Typer(
    name="sopor",
    help=f"Depth of anesthesia in real time from HL7 device messages. {FIXED_TEXT}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, up, down, status, doctor):
    app.command()(command)
for noun, group in (("audit", audit.app), ("config", config.app), ("code", code.app), ("message", message.app), ("sim", sim.app)):
    app.add_typer(group, name=noun)


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
