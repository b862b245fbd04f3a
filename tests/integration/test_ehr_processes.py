"""Planner and Celery workers as processes of their own, killed at the worst moment."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis
from sqlalchemy import Engine, select

from backbone.database import engine_of, upgrade
from backbone.ehr_tables import OutboxRow
from backbone.vault import Seal, make_keys, open_vault
from tests.ehr_records import T0, TestCase, open_case, record, scored
from tests.fakes.ehr_peer import MRN_SYSTEM, EhrPeer, Hangs, ehr_peer
from tests.servers import until

ROOT = Path(__file__).parents[2]
PLANNER = [sys.executable, "-m", "services.ehr_writer"]
WORKER = [sys.executable, "-m", "celery", "--quiet", "-A", "services.ehr_writer.tasks", "worker", "--without-mingle", "--without-gossip"]
WORKER += ["--without-heartbeat", "--concurrency", "1"]
ALONE = [*WORKER, "--pool", "solo", "--plan"]
WORKER += ["--pool", "prefork"]
TOGETHER = pytest.mark.parametrize("commands", [(WORKER, PLANNER), (ALONE,)], ids=["planner and worker", "one process"])
SITE = """
site = "demo"
[[bed]]
name = "OR 1"
theatre = true
[[source]]
name = "sim-adt"
kind = "adt"
sending_application = "SIM_ADT"
"""
TARGETS = """
[[target]]
name = "main"
base_url = "{url}"
mode = "live"
auth = "none"
identifier_system = "{system}"
"""


class House:
    """One writer: its database, broker, EHR and processes."""

    def __init__(self, folder: Path, database_url: str, redis_url: str, peer: EhrPeer) -> None:
        """Write the files; nothing runs yet."""
        make_keys(folder / "keys")
        (folder / "sopor.toml").write_text(SITE)
        (folder / "targets.toml").write_text(TARGETS.format(url=peer.base_url, system=MRN_SYSTEM))
        upgrade(database_url)
        self.engine: Engine = engine_of(database_url)
        self.folder, self.peer, self.redis_url = folder, peer, redis_url
        self.seal: Seal = open_vault(folder / "keys").identity
        self.running: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ,
            "SOPOR_SITE": str(folder / "sopor.toml"),
            "SOPOR_KEYS": str(folder / "keys"),
            "SOPOR_DATABASE_URL": database_url,
            "SOPOR_BROKER_URL": redis_url,
            "SOPOR_EHR_TARGETS": str(folder / "targets.toml"),
            "SOPOR_EHR_TICK_S": "0.1",
            "SOPOR_EHR_JITTER_S": "0",
            "SOPOR_EHR_LEASE_S": "5",
            "SOPOR_EHR_REQUEUE_S": "1",
            "SOPOR_EHR_BACKOFF_S": "0.1",
        }

    def start(self, command: list[str]) -> "subprocess.Popen[bytes]":
        """Start a process and wait until it says READY=1."""
        path = f"/tmp/sopor-notify-{os.getpid()}-{len(self.running)}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, (self.folder / "log").open("ab") as log:
            notify.bind(path)
            notify.settimeout(30)
            environment = {**self.environment, "NOTIFY_SOCKET": path}
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
            self.running.append(process)
            assert notify.recv(256).startswith(b"READY=1")
        Path(path).unlink()
        return process

    def case(self, minutes: int = 1) -> TestCase:
        """Record a case of a patient whom the EHR knows."""
        case = open_case(self.engine, self.seal)
        record(self.engine, scored(case, T0, 60 * minutes))
        self.peer.admit(case.mrn)
        return case

    def states(self) -> list[str]:
        """Return the states of all rows, in order."""
        with self.engine.connect() as connection:
            return list(connection.scalars(select(OutboxRow.state).order_by(OutboxRow.id)))

    def all_done(self, count: int) -> Callable[[], bool]:
        """Return a question: are there so many rows, all done?"""
        return lambda: self.states() == ["done"] * count

    def log(self) -> str:
        """Return what all processes said."""
        return (self.folder / "log").read_text()

    def end(self) -> None:
        """Stop what still runs."""
        for process in self.running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.engine.dispose()


@pytest.fixture
def house(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[House]:
    """A writer with a scripted EHR."""
    with ehr_peer() as peer:
        house = House(tmp_path, database_url, redis_url, peer)
        yield house
        house.end()


@TOGETHER
def test_a_case_reaches_the_ehr_and_no_patient_the_log(house, commands):
    case = house.case(minutes=3)
    running = [house.start(command) for command in commands]

    until("three minutes are written", house.all_done(3))

    for process in running:
        process.terminate()
    assert [process.wait(20) for process in running] == [0] * len(commands)
    assert len(house.peer.of("Observation")) == 3
    assert '"event": "written"' in house.log()
    assert case.mrn not in house.log()
    assert "Testpatient" not in house.log()


def test_a_worker_killed_in_mid_task_doubles_and_loses_nothing(house):
    house.peer.script = [Hangs(30)]
    house.case(minutes=2)
    worker = house.start(WORKER)
    house.start(PLANNER)
    until("the worker is in mid-task", house.peer.writes)

    os.killpg(worker.pid, signal.SIGKILL)
    house.start(WORKER)

    until("both minutes are written", house.all_done(2))
    assert [len(house.peer.of(kind)) for kind in ("Device", "Observation", "Provenance")] == [1, 2, 2]


def test_a_killed_child_leaves_its_row_to_the_next(house):
    house.peer.script = [Hangs(30)]
    house.case()
    worker = house.start(WORKER)
    house.start(PLANNER)
    until("the worker is in mid-task", house.peer.writes)

    for child in psutil.Process(worker.pid).children(recursive=True):
        child.kill()

    until("the minute is written", house.all_done(1))
    assert worker.poll() is None
    assert len(house.peer.of("Observation")) == 1


def test_a_broker_that_lost_everything_loses_no_row(house):
    house.case(minutes=2)
    house.start(PLANNER)
    until("the broker has the first row", lambda: house.states() == ["due", "due"])
    with redis.Redis.from_url(house.redis_url) as client:
        until("the broker has a message", lambda: client.keys("sopor.ehr:*"))
        client.flushall()

    house.start(WORKER)

    until("both minutes are written", house.all_done(2))


@TOGETHER
def test_planner_and_worker_go_on_when_the_broker_comes_back(house, valkey, commands):
    running = [house.start(command) for command in commands]
    house.case()
    until("the first minute is written", house.all_done(1))

    valkey.stop()
    house.case()
    until("the second minute is planned", lambda: len(house.states()) == 2)
    valkey.start()

    until("the second minute is written", house.all_done(2), 40)
    assert [process.poll() for process in running] == [None] * len(commands)


def test_a_wrong_targets_file_ends_each_process_with_its_line(house):
    (house.folder / "targets.toml").write_text(TARGETS.format(url="https://ehr.example/fhir", system=MRN_SYSTEM))

    ends = [
        subprocess.run(c, cwd=ROOT, env=house.environment, capture_output=True, timeout=30, check=False) for c in (PLANNER, WORKER, ALONE)
    ]

    assert [end.returncode for end in ends] == [3, 3, 3]
    assert all(b"targets.toml:5: target.0.mode: live needs go-live" in end.stderr for end in ends)
