"""The table of processes: which, in which order, with which settings. More of them are more rows."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backbone.supervisor.account import Account, server_account
from backbone.supervisor.ehr import EhrAccess, EhrPatient, ehr
from backbone.supervisor.postgres import postgres
from backbone.supervisor.settings import CODE_ROOT
from backbone.supervisor.spec import ProcessSpec
from backbone.supervisor.state import State
from backbone.supervisor.valkey import valkey
from backbone.vault import make_keys

DRAIN_S: Final = 15.0
BROKER_DATABASE: Final = 1  # of our own Valkey; the streams are in 0
EHR_ROWS: Final = ("ehr", "ehr_writer")  # the page is live without them
# The demo's EHR is a neighbour on loopback with six rooms: it answers at once or not at all.
EHR_PATIENCE: Final = {
    "SOPOR_EHR_JITTER_S": "1",
    "SOPOR_EHR_LEASE_S": "10",
    "SOPOR_EHR_REQUEUE_S": "3",
    "SOPOR_EHR_LONGEST_BACKOFF_S": "5",
}
EHR_AFTER: Final = ("model_server",)  # by then the start of the others leaves a core
# Planner and one worker in one process, one row at a time: half the memory. A row's tries have deadlines of their own.
WRITER: Final = (
    *("-m", "celery", "--quiet", "-A", "services.ehr_writer.tasks", "worker", "--plan"),
    *("--without-mingle", "--without-gossip", "--without-heartbeat", "--pool", "solo", "--concurrency", "1"),
)


@dataclass(frozen=True, slots=True)
class EhrPlan:
    """The EHR of a demo: our own, on loopback."""

    port: int
    patients: tuple[EhrPatient, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What an `up` was asked for."""

    site: Path
    model: str
    mappings: Path
    web_port: int | None  # None: no page (a site in mode silent shows records to no one)
    inspect_port: int
    redis_url: str | None = None  # None: our own Valkey
    database_url: str | None = None  # None: our own PostgreSQL
    listen_port: int | None = None  # for devices, instead of the site file's
    simulate_to: int | None = None  # the port that the simulator sends to; None: no simulator
    ehr: EhrPlan | None = None  # None: nothing is written to an EHR


@dataclass(frozen=True, slots=True)
class Prepared:
    """The table, and where its servers are."""

    specs: tuple[ProcessSpec, ...]
    redis_url: str
    database_url: str
    ehr: EhrAccess | None = None


def simulator_socket(state: State) -> Path:
    """Return the simulator's control socket."""
    return state.socket("simulator.sock")


def simulator_log(state: State) -> Path:
    """Return the simulator's log of what it sent and what was answered."""
    return state.folder / "simulator.jsonl"


def _python(module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module)


def _servers(state: State, plan: Plan, account: Account | None, say: Callable[[str], None]) -> Prepared:
    specs: list[ProcessSpec] = []
    redis_url, database_url = plan.redis_url, plan.database_url
    if redis_url is None:
        spec, redis_url = valkey(state, account, say)
        specs.append(spec)
    if database_url is None:
        spec, database_url = postgres(state, account, say)
        specs.append(spec)
    return Prepared(tuple(specs), redis_url, database_url)


def _own(state: State, plan: Plan, shared: Mapping[str, str]) -> tuple[ProcessSpec, ...]:
    """Return Sopor's own processes in their order."""
    model = f"unix:{state.socket('model.sock')}"

    servers = tuple(name for name, given in (("valkey", plan.redis_url), ("postgres", plan.database_url)) if given is None)

    def row(name: str, env: Mapping[str, str], after: tuple[str, ...] | None, ready_within_s: float = 60.0) -> ProcessSpec:
        module = name if name == "model_server" else f"services.{name}"
        return ProcessSpec(name, _python(module), {**shared, **env}, ready_within_s, DRAIN_S, folder=CODE_ROOT, after=after)

    listener = {"SOPOR_LISTENER_JOURNAL": str(state.journal), "SOPOR_LISTENER_INSPECT_PORT": str(plan.inspect_port)}
    if plan.listen_port is not None:
        listener["SOPOR_LISTENER_PORT"] = str(plan.listen_port)
    rows: tuple[ProcessSpec, ...] = (
        row("model_server", {"SOPOR_MODEL_LISTEN": model, "SOPOR_MODEL_MODEL": plan.model}, (), 120.0),
        row("ledger", {"SOPOR_LEDGER_ARCHIVE": str(state.archive)}, servers),
        row("depth_scorer", {"SOPOR_SCORER_MODEL_TARGET": model}, (*servers, "model_server")),
        row("hl7_listener", listener, servers),
    )
    if plan.web_port is not None:
        rows = (*rows, row("web", {"SOPOR_WEB_PORT": str(plan.web_port)}, (*servers, "ledger")))
    return rows


def _simulator(state: State, port: int, shared: Mapping[str, str], after: tuple[str, ...]) -> ProcessSpec:
    env = {
        "SOPOR_SIMULATOR_PORT": str(port),
        "SOPOR_SIMULATOR_LOG": str(simulator_log(state)),
        "SOPOR_SIMULATOR_CONTROL": str(simulator_socket(state)),
        "SOPOR_SIMULATOR_SCENARIO": "demo",
    }
    return ProcessSpec(
        "device_simulator", _python("services.device_simulator"), {**shared, **env}, 60.0, DRAIN_S, folder=CODE_ROOT, after=after
    )


def _broker(redis_url: str) -> str:
    """Return the URL of the broker beside the streams: the same server, a database of its own."""
    return f"{redis_url.partition('?')[0]}?db={BROKER_DATABASE}"


def _writer(targets: Path, shared: Mapping[str, str]) -> ProcessSpec:
    env = {**shared, **EHR_PATIENCE, "SOPOR_BROKER_URL": _broker(shared["SOPOR_REDIS_URL"]), "SOPOR_EHR_TARGETS": str(targets)}
    return ProcessSpec("ehr_writer", (sys.executable, *WRITER), env, 60.0, DRAIN_S, folder=CODE_ROOT, after=("ehr", "ledger"))


def table_of(state: State, plan: Plan, say: Callable[[str], None]) -> Prepared:
    """Make the keys and the servers' folders where they are missing, and return the table in its order."""
    make_keys(state.keys)
    servers = _servers(state, plan, server_account(), say)
    shared = {
        "SOPOR_SITE": str(plan.site.resolve()),
        "SOPOR_KEYS": str(state.keys),
        "SOPOR_REDIS_URL": servers.redis_url,
        "SOPOR_DATABASE_URL": servers.database_url,
        "SOPOR_MAPPINGS": str(plan.mappings.resolve()),
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",  # glibc's arenas for each thread hold memory that nobody uses
        "PYTHONUNBUFFERED": "1",
    }
    rows = (*servers.specs, *_own(state, plan, shared))
    needed, access = tuple(row.name for row in rows), None
    if plan.ehr is not None:
        server = ehr(state, plan.ehr.port, plan.ehr.patients, after=EHR_AFTER)
        rows, access = (*rows, server.spec, _writer(server.targets, shared)), server.access
    if plan.simulate_to is not None:  # last, so that it stops first; it does not wait for the EHR
        rows = (*rows, _simulator(state, plan.simulate_to, shared, needed))
    return Prepared(rows, servers.redis_url, servers.database_url, access)
