"""`sopor demo`: six simulated rooms on this machine, from nothing to the live page, and a verdict at the end."""

import contextlib
import os
import shutil
import sys
import time
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import psutil
import typer
from pydantic import Field

from anesthesia.prediction import FIXED_TEXT
from backbone.clock import SystemClock
from backbone.settings import ProcessSettings, read_settings
from backbone.site import SiteFile, read_site
from backbone.supervisor import leftovers, status
from backbone.supervisor.account import server_account
from backbone.supervisor.errors import AlreadyUp, BadState
from backbone.supervisor.settings import CODE_ROOT
from backbone.supervisor.state import State, holder, locked, prepare
from backbone.supervisor.supervisor import EXIT_FAILED, EXIT_OK, About, Supervisor
from backbone.supervisor.table import EhrPlan, Plan, Prepared, table_of
from cli.check.accounts import SURE_S, Ward
from cli.check.reading import Sources
from cli.check.verdict import Verdict
from cli.control import demo_socket
from cli.demo_screen import DemoScreen
from cli.demo_ward import patients_of, ward_of
from cli.exits import CommandFault, ExitCode
from cli.fault_plan import Moment, Schedule, TooShort, moments_of
from cli.faults import BadFault, Faults
from cli.keys import keyboard
from cli.panel import Panel
from cli.place import StateOption, settings, state_folder
from cli.ports import free_port
from cli.talk import JsonFlag, give, say
from cli.up import addresses_of

SITE: Final = CODE_ROOT / "deploy" / "demo" / "sopor.toml"
EHR_PORT: Final = 8090
CHECK_S: Final = 150.0
SECONDS_HELP: Final = "Stop by itself so many seconds after the first message; --check: 150."
FAULT_HELP: Final = "With --check: break something meanwhile; again for more. A name that a wrong one lists, or kill-each (600 s)."


class Display(ProcessSettings):
    """Whether there is a screen that a browser can open on."""

    x11: str | None = Field(default=None, validation_alias="DISPLAY")
    wayland: str | None = Field(default=None, validation_alias="WAYLAND_DISPLAY")


def open_page(url: str) -> None:
    """Open the page where there is a desktop; elsewhere the line with its address must do."""
    display = read_settings(Display)
    desktop = sys.platform == "darwin" or bool(display.x11 or display.wayland)
    if desktop and os.geteuid() != 0:
        with contextlib.suppress(webbrowser.Error, OSError):
            webbrowser.open(url)


def clear_previous(state: State) -> None:
    """Remove the previous demo's folder, and what still runs of it; refuse a folder that no demo made, or one in use."""
    if not state.folder.exists():
        return
    if holder(state) is not None:
        raise AlreadyUp(f"a demo runs in {state.folder} (process {holder(state)}): `sopor down` ends it, or give another --state")
    if not state.lock.exists() and any(state.folder.iterdir()):
        raise BadState(f"{state.folder} was not made by a demo, so it is not removed; give another --state")
    before = status.read(state)
    leftovers.end(before.processes if before else ())
    shutil.rmtree(state.folder)
    say(f"  removed the previous demo in {state.folder}")


def _port(what: str, preferred: int, taken: set[int]) -> int:
    port = free_port(preferred, taken)
    if port != preferred:
        say(f"  port {preferred} ({what}) is taken: using {port}")
    return port


def plan_of(site: SiteFile, web_port: int) -> Plan:
    """Return the plan of a demo: its own servers, every port free."""
    taken: set[int] = set()
    devices = _port("devices", site.listen.port, taken)
    return Plan(
        site=SITE,
        model=site.model,
        mappings=settings().mappings,
        web_port=_port("page", web_port, taken),
        inspect_port=_port("inspection", settings().inspect_port, taken),
        listen_port=devices,
        simulate_to=devices,
        ehr=EhrPlan(_port("EHR", EHR_PORT, taken), patients_of()),
    )


def _started_s() -> float:
    """Return when this process was started, on the monotonic clock: its imports count too."""
    age_s = SystemClock().now().timestamp() - psutil.Process().create_time()
    if sys.platform == "linux":
        # Field 22 of proc(5)'s stat: ticks after boot. The creation time above is rounded to the second of the boot.
        ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - max(0.0, age_s)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run was asked for: when it ends by itself, and what a check breaks meanwhile (None: no check, a visitor breaks things)."""

    seconds: float | None
    moments: tuple[Moment, ...] | None = None


def _asked(seconds: float | None, faults: Sequence[str] | None, ward: Ward, *, check: bool) -> Asked:
    """Return what was asked for; CommandFault (usage) when it does not fit together."""
    if not check:
        if faults:
            raise CommandFault("--fault belongs to --check; in a demo press its keys, or call `sopor sim fault`", ExitCode.USAGE)
        return Asked(seconds)
    asked_s = seconds or CHECK_S
    try:
        moments = moments_of(faults or (), asked_s, sorted(ward.eeg_rooms))
    except (BadFault, TooShort) as fault:
        raise CommandFault(str(fault), ExitCode.USAGE) from fault
    if asked_s < SURE_S:
        say(f"  fewer than {SURE_S:g} s: a room may have no minute with enough scored seconds, and then the check fails", "yellow")
    return Asked(asked_s, moments)


def _run(state: State, plan: Plan, prepared: Prepared, screen: DemoScreen, asked: Asked) -> int:
    ehr = {"ehr": prepared.ehr.base_url} if prepared.ehr else {}
    about = About(str(SITE), {**addresses_of(plan, plan.listen_port or 0), **ehr})
    screen.supervisor = Supervisor(state, prepared.specs, screen, about)
    keys = keyboard() if asked.moments is None else None
    faults = Faults(screen.supervisor, state, prepared.database_url)
    if asked.moments is not None:
        screen.schedule = Schedule(asked.moments, faults.do)
    with Panel(faults, demo_socket(state), keys) as screen.panel:
        return screen.supervisor.run()


def _sources(place: State, prepared: Prepared, site: SiteFile, ward: Ward) -> Sources:
    assert prepared.ehr is not None  # `plan_of` asks for one
    return Sources(place, site, prepared.redis_url, prepared.database_url, prepared.ehr, ward)


def demo(  # noqa: PLR0913, PLR0917  one option each
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page; another is taken when it is in use.")] = 8080,
    state: StateOption = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the page.")] = False,
    seconds: Annotated[float | None, typer.Option(min=1, help=SECONDS_HELP, show_default=False)] = None,
    check: Annotated[bool, typer.Option("--check", help="No visitor, no browser: stop by itself, exit 0 only if all agrees.")] = False,
    fault: Annotated[list[str] | None, typer.Option("--fault", metavar="NAME", help=FAULT_HELP, show_default=False)] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run six simulated rooms with everything they need, until Ctrl-C; then say whether all that was sent was recorded and written."""
    started_s, site = _started_s(), read_site(SITE)
    ward = ward_of(site)
    asked = _asked(seconds, fault, ward, check=check)
    say(f"Sopor demo: {len(site.bed)} rooms, simulated. {FIXED_TEXT}", "bold")
    place = State(state_folder(state) / "demo")
    clear_previous(place)
    plan = plan_of(site, port)
    place = prepare(place.folder, server_account())
    with locked(place):
        prepared = table_of(place, plan, lambda text: say(f"  {text}"))
        screen = DemoScreen([spec.name for spec in prepared.specs], _sources(place, prepared, site, ward), started_s)
        screen.page, screen.ehr_page = f"http://127.0.0.1:{plan.web_port}", screen.sources.ehr.page
        screen.open_page = None if no_browser or check else open_page
        screen.stop_after_s = asked.seconds
        code = _run(place, plan, prepared, screen, asked)
    if code == EXIT_FAILED:
        screen.say_why()
    if code != EXIT_OK:
        raise typer.Exit(code)
    for done in screen.panel.faults.done:
        say(f"  on purpose          {done}")
    _tell(screen.verdict, check=check, as_json=as_json)


def _tell(verdict: Verdict | None, *, check: bool, as_json: bool) -> None:
    if verdict is None:
        say("not checked: it was ended before everything could be asked")
        raise typer.Exit(ExitCode.CHECK_FAILED if check else ExitCode.OK)
    for line in verdict.lines():
        say(f"  {line}")
    if as_json:
        give(verdict.as_data())
    if verdict.figures.audit_verified is False:
        raise typer.Exit(ExitCode.INTEGRITY)
    if not verdict.agrees:
        raise typer.Exit(ExitCode.CHECK_FAILED)
