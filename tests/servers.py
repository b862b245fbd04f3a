"""Real servers for tests: REDIS_URL and DATABASE_URL where given, else Valkey and PostgreSQL from the wheels, started by the supervisor.

One of each for the whole session; every test gets an empty Valkey and a database of its own.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import redis

from backbone.supervisor.account import server_account
from backbone.supervisor.child import Child
from backbone.supervisor.embedded import wait_ready
from backbone.supervisor.postgres import postgres as prepare_postgres
from backbone.supervisor.spec import ProcessSpec
from backbone.supervisor.state import State, prepare
from backbone.supervisor.valkey import valkey as prepare_valkey


def free_port() -> int:
    """Return a port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: str, happens: Callable[[], object], within_s: float = 20.0) -> None:
    """Wait until `happens()` is true; fail with `what` when it does not within the time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if happens():
            return
        time.sleep(0.05)
    pytest.fail(f"not within {within_s} s: {what}")


class Server:
    """An embedded server that can be stopped and started again with its data."""

    def __init__(self, spec: ProcessSpec, state: State) -> None:
        """Start it."""
        self._spec, self._state = spec, state
        self._child: Child | None = None
        self.start()

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """Its process."""
        assert self._child is not None
        return self._child._process

    def start(self) -> None:
        """Start it with the data that is there, unless it runs."""
        if self._child is None:
            self._child = Child(self._spec, self._state)
            wait_ready(self._child)

    def stop(self) -> None:
        """Stop it; the data stays."""
        if self._child is not None:
            self._child.stop()
            self._child.close()
            self._child = None


class Valkey(Server):
    """A Valkey on a unix socket."""

    def __init__(self, state: State) -> None:
        """Start it."""
        spec, self.url = prepare_valkey(state, server_account(), print)
        super().__init__(spec, state)


class Postgres(Server):
    """A PostgreSQL on a unix socket."""

    def __init__(self, state: State) -> None:
        """Make a cluster and start it."""
        spec, self._url = prepare_postgres(state, server_account(), print)
        super().__init__(spec, state)

    def url(self, name: str) -> str:
        """Return the URL of a database."""
        return _with_name(self._url, name)


def _with_name(url: str, name: str) -> str:
    head, _, query = url.partition("?")
    base = head.rsplit("/", 1)[0]
    return f"{base}/{name}{'?' + query if query else ''}"


@pytest.fixture(scope="session")
def _servers_state() -> Iterator[State]:
    """A short path, whatever pytest's own temporary folder is: sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="sopor-", dir="/tmp"))
    folder.chmod(0o711)
    yield prepare(folder, server_account())
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _valkey(_servers_state: State) -> Iterator[Valkey]:
    server = Valkey(_servers_state)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def _postgres(_servers_state: State) -> Iterator[Postgres]:
    server = Postgres(_servers_state)
    yield server
    server.stop()


@pytest.fixture
def valkey(_valkey: Valkey) -> Iterator[Valkey]:
    """The session's Valkey, empty and as it was configured; a test may stop and start it, and change it."""
    _valkey.start()
    _valkey.process.send_signal(signal.SIGCONT)
    _flush(_valkey.url)
    with redis.Redis.from_url(_valkey.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 0)
    yield _valkey
    _valkey.start()


@pytest.fixture
def postgres(_postgres: Postgres) -> Iterator[Postgres]:
    """The session's PostgreSQL; a test may stop and start it."""
    _postgres.start()
    yield _postgres
    _postgres.start()


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty Redis or Valkey."""
    given = os.environ.get("REDIS_URL")
    if given is None:
        return str(request.getfixturevalue("valkey").url)
    _flush(given)
    return given


def _flush(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.function_flush()
        client.flushall()


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an empty database."""
    given = os.environ.get("DATABASE_URL")
    base = given if given is not None else request.getfixturevalue("postgres").url("postgres")
    name = f"sopor_{uuid4().hex[:12]}"
    with psycopg.connect(base, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield _with_name(base, name)
    if given is None:
        request.getfixturevalue("postgres").start()
    with psycopg.connect(base, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
