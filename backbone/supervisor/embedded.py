"""Valkey and PostgreSQL for one block of code: what tests and one-off commands need, without a whole `up`."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backbone.supervisor.account import server_account
from backbone.supervisor.child import Child
from backbone.supervisor.errors import NotReady
from backbone.supervisor.postgres import postgres
from backbone.supervisor.spec import ProcessSpec
from backbone.supervisor.state import State, locked, prepare
from backbone.supervisor.valkey import valkey

PROBE_EVERY_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the two servers are."""

    redis_url: str
    database_url: str


def wait_ready(child: Child) -> None:
    """Wait until the child is ready; NotReady with its last lines when it ends or the time is over."""
    while not child.ready():
        if child.exited is not None:
            raise NotReady(f"{child.spec.name} {child.exited}; its last lines:\n{child.tail()}")
        if child.lived_s > child.spec.ready_within_s:
            raise NotReady(f"{child.spec.name} was not ready within {child.spec.ready_within_s:g} s; its last lines:\n{child.tail()}")
        time.sleep(PROBE_EVERY_S)


@contextmanager
def running(spec: ProcessSpec, state: State) -> Iterator[Child]:
    """Run one process: ready at the start of the block, gone at its end."""
    child = Child(spec, state)
    try:
        wait_ready(child)
        yield child
    finally:
        child.stop()
        child.close()


def _silent(_: str) -> None:
    """Say nothing."""


@contextmanager
def embedded_servers(folder: Path, say: Callable[[str], None] = _silent) -> Iterator[Servers]:
    """Run both servers with their data under a folder."""
    account = server_account()
    state = prepare(folder, account)
    with ExitStack() as stack:
        stack.enter_context(locked(state))
        valkey_spec, redis_url = valkey(state, account, say)
        postgres_spec, database_url = postgres(state, account, say)
        for spec in (valkey_spec, postgres_spec):
            stack.enter_context(running(spec, state))
        yield Servers(redis_url, database_url)
