"""`sopor up`, `down`, `status`: the processes of one machine."""

import os
import signal
import time
from collections.abc import Mapping
from typing import Annotated, Final

import typer

from backbone.site import Mode
from backbone.supervisor import status as status_file
from backbone.supervisor.account import server_account
from backbone.supervisor.state import State, holder, locked, prepare
from backbone.supervisor.supervisor import EXIT_FAILED, About, Supervisor
from backbone.supervisor.table import Plan, table_of
from cli.exits import CommandFault, ExitCode
from cli.place import SiteOption, StateOption, running_state, settings, state_folder
from cli.ports import LOOPBACK, is_free
from cli.screen import Screen
from cli.talk import JsonFlag, give, give_rows, say
from cli.whole_site import read_whole_site

DOWN_WITHIN_S: Final = 180.0  # a demo makes its verdict first: up to 90 s for the last seconds, then everyone is asked
COLUMNS: Final = ("name", "state", "pid", "since", "restarts", "rss_mb", "last_exit")


def addresses_of(plan: Plan, device_port: int) -> Mapping[str, str]:
    """Return what the status file tells other commands and people: where to find what."""
    found = {"devices": f"127.0.0.1:{device_port}", "inspect": f"127.0.0.1:{plan.inspect_port}"}
    if plan.web_port is not None:
        found["web"] = f"http://127.0.0.1:{plan.web_port}"
    return found


def check_ports(plan: Plan, device_host: str, device_port: int) -> None:
    """End the command when a port is taken: said here, in one line, and not by a process that dies of it again and again."""
    wanted = (
        ("devices", device_host, device_port, "listen.port in the site file"),
        ("inspection", LOOPBACK, plan.inspect_port, "SOPOR_LISTENER_INSPECT_PORT"),
        ("page", LOOPBACK, plan.web_port or 0, "SOPOR_WEB_PORT"),
    )
    taken = [
        f"port {port} ({what}) is in use by another process: set {setting}"
        for what, host, port, setting in wanted
        if not is_free(port, host)
    ]
    if taken:
        raise CommandFault("\n".join(taken), ExitCode.CONFIG)


def up(site: SiteOption = None, state: StateOption = None, as_json: JsonFlag = False) -> None:
    """Start all processes in order and keep them running, in the foreground."""
    given = settings()
    path = (site or given.site).resolve()
    about = read_whole_site(path, given.mappings)
    web_port = None if about.mode is Mode.SILENT else given.web_port
    plan = Plan(path, about.model, given.mappings, web_port, given.inspect_port, given.redis_url, given.database_url)
    place = prepare(state_folder(state), server_account())
    with locked(place):
        check_ports(plan, about.listen.host, about.listen.port)
        prepared = table_of(place, plan, lambda text: say(f"  {text}"))
        screen = Screen([spec.name for spec in prepared.specs], as_json=as_json)
        code = Supervisor(place, prepared.specs, screen, About(str(path), addresses_of(plan, about.listen.port))).run()
        if code == EXIT_FAILED:
            screen.say_why()
    raise typer.Exit(code)


def _wait_until_free(place: State, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if holder(place) is None:
            return True
        time.sleep(0.1)
    return False


def down(state: StateOption = None, as_json: JsonFlag = False) -> None:
    """Stop what `sopor up` or `sopor demo` started in this state folder, and wait until it has drained."""
    place = running_state(state)
    pid = holder(place)
    if pid is None:
        raise CommandFault(f"{place.folder}: nothing runs here", ExitCode.NOT_FOUND)
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError as fault:
        raise CommandFault(f"process {pid} is another user's", ExitCode.AUTH) from fault
    if not _wait_until_free(place, DOWN_WITHIN_S):
        raise CommandFault(f"process {pid} has not ended within {DOWN_WITHIN_S:g} s", ExitCode.CHECK_FAILED)
    say(f"process {pid} has drained and ended")
    if as_json:
        give({"stopped": pid})


def status(
    state: StateOption = None,
    as_json: JsonFlag = False,
    all_ready: Annotated[bool, typer.Option("--check", help="Exit 1 unless every process is ready.")] = False,
) -> None:
    """Show each process: state, since when, restarts, memory."""
    place = running_state(state)
    found = status_file.read(place)
    if holder(place) is None or found is None:
        raise CommandFault(f"{place.folder}: nothing runs here; `sopor up` or `sopor demo` starts it", ExitCode.NOT_FOUND)
    rows = [status_file.as_data(process) for process in found.processes]
    total = round(sum(row["rss_mb"] for row in rows), 1)
    if as_json:
        head = {"pid": found.pid, "state": found.state, "started_at": found.started_at, "site": found.site}
        give({**head, "addresses": dict(found.addresses), "rss_mb": total, "processes": rows})
    else:
        say(f"{found.state} since {found.started_at}, {total:g} MB in all; " + "  ".join(f"{k} {v}" for k, v in found.addresses.items()))
        give_rows(rows, COLUMNS, as_json=False)
    if all_ready and any(row["state"] != "ready" for row in rows):
        raise typer.Exit(ExitCode.CHECK_FAILED)
