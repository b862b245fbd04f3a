"""`sopor demo`: six simulated rooms on this machine, from nothing to the live page, and a verdict at the end."""

import contextlib
import os
import shutil
import sys
import time
import webbrowser
from functools import partial
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
from backbone.supervisor.table import EhrPlan, Plan, Prepared, simulator_log, table_of
from cli.demo_ehr import observations_in, patients_of
from cli.demo_screen import DemoScreen
from cli.exits import ExitCode
from cli.place import StateOption, settings, state_folder
from cli.ports import free_port
from cli.talk import JsonFlag, give, say
from cli.up import addresses_of
from cli.verdict import Verdict

SITE: Final = CODE_ROOT / "deploy" / "demo" / "sopor.toml"
EHR_PORT: Final = 8090


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


def _latency_s(site: SiteFile, application: str) -> float:
    """Return how late the readings of a sending application may be; of ADT nothing is awaited."""
    source = site.source_of(application, "")
    return source.latency_s if source is not None and source.kind != "adt" else 0.0


def _run(state: State, plan: Plan, prepared: Prepared, screen: DemoScreen) -> int:
    ehr = {"ehr": prepared.ehr.base_url} if prepared.ehr else {}
    about = About(str(SITE), {**addresses_of(plan, plan.listen_port or 0), **ehr})
    supervisor = Supervisor(state, prepared.specs, screen, about)
    screen.stop = supervisor.ask_to_stop
    return supervisor.run()


def _started_s() -> float:
    """Return when this process was started, on the monotonic clock: its imports count too."""
    age_s = SystemClock().now().timestamp() - psutil.Process().create_time()
    if sys.platform == "linux":
        # Field 22 of proc(5)'s stat: ticks after boot. The creation time above is rounded to the second of the boot.
        ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - max(0.0, age_s)


def demo(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page; another is taken when it is in use.")] = 8080,
    state: StateOption = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the page.")] = False,
    seconds: Annotated[float | None, typer.Option(min=1, help="Stop by itself after so many seconds.", show_default=False)] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run six simulated rooms with everything they need, until Ctrl-C; then say whether all that was sent was recorded and written."""
    started_s = _started_s()
    site = read_site(SITE)
    say(f"Sopor demo: {len(site.bed)} rooms, simulated. {FIXED_TEXT}", "bold")
    place = State(state_folder(state) / "demo")
    clear_previous(place)
    plan = plan_of(site, port)
    place = prepare(place.folder, server_account())
    with locked(place):
        prepared = table_of(place, plan, lambda text: say(f"  {text}"))
        screen = DemoScreen([spec.name for spec in prepared.specs], prepared.database_url, simulator_log(place), started_s)
        screen.page = f"http://127.0.0.1:{plan.web_port}"
        screen.open_page = None if no_browser else open_page
        screen.stop_after_s = seconds
        screen.latency_of = partial(_latency_s, site)
        if prepared.ehr is not None:
            screen.ehr_page, screen.observations = prepared.ehr.page, partial(observations_in, prepared.ehr)
        code = _run(place, plan, prepared, screen)
    if code == EXIT_FAILED:
        screen.say_why()
    if code != EXIT_OK or screen.verdict is None:
        raise typer.Exit(code)
    _tell(screen.verdict, as_json=as_json)


def _tell(verdict: Verdict, *, as_json: bool) -> None:
    for line in verdict.lines():
        say(f"  {line}")
    if as_json:
        give(verdict.as_data())
    if not verdict.agrees:
        raise typer.Exit(ExitCode.CHECK_FAILED)
