"""PostgreSQL as an embedded server: its own cluster, no TCP port, small memory, fsync on."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.errors import DuplicateDatabase, InvalidCatalogName

from backbone.supervisor.account import Account
from backbone.supervisor.child import spawn
from backbone.supervisor.errors import BadState, NoServer
from backbone.supervisor.spec import ProcessSpec
from backbone.supervisor.state import PRIVATE, State, make_folder
from backbone.supervisor.wheels import POSTGRES_MAJOR, postgres_binaries

DATABASE: Final = "sopor"
SUPERUSER: Final = "postgres"
PROBE_TIMEOUT_S: Final = 2
INITDB_WITHIN_S: Final = 120.0
# Plain C, so that a sort order never changes under an index with the machine's locale library.
INITDB: Final = ("--no-instructions", f"--username={SUPERUSER}", "--auth=trust", "--encoding=UTF8", "--locale=C")
# Trust is limited by the socket's folder, 0700. A laptop's memory: one connection costs more than the shared buffers.
SETTINGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "32MB",
    "max_connections": "40",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "huge_pages": "off",
    "io_method": "sync",
    "max_parallel_workers_per_gather": "0",
    "max_logical_replication_workers": "0",
    "max_wal_size": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def _initialise(state: State, binaries: Path, account: Account | None) -> None:
    """Make the cluster, complete or not at all: under another name first."""
    fresh = state.postgres / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    spec = ProcessSpec("initdb", (str(binaries / "initdb"), *INITDB, f"--pgdata={fresh}"), env={"LC_ALL": "C"}, account=account)
    with tempfile.TemporaryFile() as output:
        process = spawn(spec, output=output.fileno(), extra_env={})
        try:
            code = process.wait(INITDB_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        output.seek(0)
        said = output.read().decode(errors="replace").strip()
    if code != 0:
        raise NoServer(f"initdb ended with code {code}; its words:\n{said[-1500:]}")
    fresh.replace(state.postgres / "data")


def _check_version(data: Path) -> None:
    major = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    if major != str(POSTGRES_MAJOR):
        raise BadState(
            f"{data}: made by PostgreSQL {major}, this is {POSTGRES_MAJOR}; dump it with the older release, or give another state folder"
        )


def _answers(url: str, maintenance_url: str) -> bool:
    """Tell whether a real connection to the database answers; make the database when it is the first time."""
    try:
        with psycopg.connect(url, connect_timeout=PROBE_TIMEOUT_S) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as fault:
        if isinstance(fault, InvalidCatalogName) or f'database "{DATABASE}" does not exist' in str(fault):
            _create_database(maintenance_url)
        return False
    return True


def _create_database(maintenance_url: str) -> None:
    create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE))
    with (
        contextlib.suppress(psycopg.OperationalError, DuplicateDatabase),
        psycopg.connect(maintenance_url, connect_timeout=PROBE_TIMEOUT_S, autocommit=True) as connection,
    ):
        connection.execute(create)


def postgres(state: State, account: Account | None, say: Callable[[str], None]) -> tuple[ProcessSpec, str]:
    """Prepare PostgreSQL's folders and, the first time, its cluster; return its spec and the URL that it will serve."""
    binaries = postgres_binaries(state, account, say)
    data, sockets = state.postgres / "data", state.socket("postgres")
    make_folder(state.postgres, PRIVATE, account)
    make_folder(sockets, PRIVATE, account)
    if not data.exists():
        began_s = time.monotonic()
        _initialise(state, binaries, account)
        say(f"made the PostgreSQL cluster in {time.monotonic() - began_s:.1f} s")
    _check_version(data)
    settings = {**SETTINGS, "unix_socket_directories": os.fspath(sockets)}
    host = quote(os.fspath(sockets), safe="")
    url, maintenance_url = (f"postgresql://{SUPERUSER}@/{name}?host={host}" for name in (DATABASE, "postgres"))
    spec = ProcessSpec(
        name="postgres",
        argv=(str(binaries / "postgres"), "-D", str(data), *(part for item in settings.items() for part in ("-c", "=".join(item)))),
        env={"LC_ALL": "C"},
        ready_within_s=60.0,  # recovery after a crash takes time
        stop_signal=signal.SIGINT,  # fast shutdown; SIGTERM would wait for every client
        probe=partial(_answers, url, maintenance_url),
        account=account,
    )
    return spec, url
