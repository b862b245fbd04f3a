"""`sopor demo --check`: green after a run of its own, and red for the right reason when a fault is planted in what it judges.

One demo runs once and stays up after its verdict; each test plants one fault, asks everyone again, and takes it back.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
import redis

from backbone.redis.streams import key
from backbone.site import read_site
from backbone.supervisor import status
from backbone.supervisor.ehr import EhrAccess
from backbone.supervisor.state import State
from cli.check.accounts import Course
from cli.check.ehr import read_ehr
from cli.check.reading import Sources
from cli.check.verdict import Verdict
from cli.demo_ward import ward_of
from tests.servers import until

ROOT = Path(__file__).parents[2]
SITE = read_site(ROOT / "deploy" / "demo" / "sopor.toml")
SECONDS = 90
UP_S, DRAIN_S, ASKING_S = 60, 90, 30
pytestmark = pytest.mark.timeout(480)


@dataclass
class Checked:
    """The demo after its verdict: everything still runs but the simulator."""

    state: State
    process: subprocess.Popen
    told: dict = field(default_factory=dict)

    def sources(self) -> Sources:
        url = status.read(self.state).addresses["ehr"]
        access = EhrAccess(int(url.split(":")[2].split("/")[0]), (self.state.folder / "ehr" / "reader.token").read_text())
        valkey, postgres = self.state.socket("valkey/valkey.sock"), self.state.socket("postgres")
        database_url = f"postgresql://postgres@/sopor?host={postgres}"
        return Sources(self.state, SITE, f"unix://{valkey}?db=0", database_url, access, ward_of(SITE))

    def verdict(self) -> Verdict:
        return self.sources().whole(Course())

    def broken(self) -> set[str]:
        return {failure.rule for failure in self.verdict().failures}

    def summary(self) -> dict:
        """Return an Observation with a number, as the EHR has it."""
        access = self.sources().ehr
        found = next(one for one in read_ehr(access).observations if one.value is not None)
        return access.ask("GET", f"/Observation/{found.resource_id}")

    def put(self, resource: dict) -> None:
        self._ehr({"resource": resource, "request": {"method": "PUT", "url": f"Observation/{resource['id']}"}})

    def delete(self, resource: dict) -> None:
        self._ehr({"request": {"method": "DELETE", "url": f"Observation/{resource['id']}"}})

    def _ehr(self, entry: dict) -> None:
        assert self.sources().ehr.ask("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": [entry]})

    @contextlib.contextmanager
    def database(self):
        with psycopg.connect(self.sources().database_url) as connection:
            yield connection


@pytest.fixture(scope="module")
def checked():
    folder = Path(tempfile.mkdtemp(prefix="sopor-"))
    folder.chmod(0o711)
    verdict, out = folder / "verdict.json", folder.with_suffix(".out")
    command = ["demo", "--check", "--json", "--seconds", str(SECONDS), "--state", str(folder), "--port", "18090"]
    with out.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "fakes" / "staying_demo.py"), *command],
            cwd=ROOT,
            env=os.environ | {"STAYING_VERDICT": str(verdict), "PYTHONPATH": str(ROOT)},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        until("the verdict is made", lambda: verdict.exists() or process.poll() is not None, UP_S + SECONDS + DRAIN_S + ASKING_S)
        assert process.poll() is None, out.read_text()
        yield Checked(State(folder / "demo"), process, json.loads(verdict.read_text()))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, out.read_text()
    finally:
        process.kill()
        out.unlink()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_check_is_green(checked):
    told = checked.told

    assert told["failures"] == []
    assert told["rooms"] == 6
    assert told["sent"] == told["acked"] == told["journaled"] > 400
    assert told["expected_seconds"] == sum(told["scored"].values()) + sum(told["refused"].values()) >= 6 * (SECONDS - 2)
    assert told["scored_share_eeg_rooms"] >= 0.9
    assert told["summaries_in_ehr"] == told["summaries_due"] >= 4
    assert told["withheld_in_ehr"] == told["withheld_due"]
    assert (told["duplicates"], told["audit_verified"], told["replayed_equal"]) == (0, True, 20)
    assert told["audit_leaves"] >= told["expected_seconds"]
    assert 0 < told["p50_ms"] <= told["p99_ms"]
    assert 0 < told["first_record_s"] < told["first_score_s"]


def test_asked_again_everyone_says_the_same(checked):
    again = checked.verdict()

    assert again.failures == ()
    times = {"first_record_s": None, "first_score_s": None, "audit_leaves": None}
    assert {**again.as_data(), **times} == {**checked.told, **times}


def test_a_dropped_second_is_found(checked):
    with checked.database() as connection:
        where = "WHERE (case_id, second) = (SELECT case_id, second FROM records WHERE bed = 'OR 5' ORDER BY second OFFSET 30 LIMIT 1)"
        connection.execute(f"CREATE TABLE kept AS SELECT * FROM records {where}")
        connection.execute(f"DELETE FROM records {where}")

    try:
        verdict = checked.verdict()
    finally:
        with checked.database() as connection:
            connection.execute("INSERT INTO records SELECT * FROM kept")
            connection.execute("DROP TABLE kept")

    assert "OR 5: 1 expected second(s) have no record" in " ".join(map(str, verdict.failures))
    assert {"records", "audit log"} <= {failure.rule for failure in verdict.failures}
    assert verdict.figures.records == verdict.figures.expected_seconds - 1
    assert checked.broken() == set()


def test_a_doubled_observation_is_found(checked):
    doubled = {**checked.summary(), "id": "doubled"}
    checked.put(doubled)

    verdict = checked.verdict()
    checked.delete(doubled)

    assert verdict.figures.duplicates == 1
    assert {failure.rule for failure in verdict.failures} == {"duplicates"}
    assert checked.broken() == set()


def test_a_changed_observation_is_found(checked):
    before = checked.summary()
    value = before["valueQuantity"]["value"] + 5.0
    checked.put({**before, "valueQuantity": {**before["valueQuantity"], "value": value}})

    verdict = checked.verdict()
    checked.put(before)

    assert {failure.rule for failure in verdict.failures} == {"EHR"}
    assert f"value {value}" in str(verdict.failures[0])
    assert checked.broken() == set()


def test_a_deleted_observation_is_found(checked):
    before = checked.summary()
    checked.delete(before)

    verdict = checked.verdict()
    checked.put(before)

    assert verdict.figures.summaries_in_ehr == verdict.figures.summaries_due - 1
    assert {failure.rule for failure in verdict.failures} == {"EHR"}
    assert checked.broken() == set()


def test_an_edited_leaf_is_found(checked):
    with checked.database() as connection:
        index, entry = connection.execute("SELECT \"index\", entry FROM leaves WHERE kind = 'record' LIMIT 1 OFFSET 50").fetchone()
        edited = json.dumps({**json.loads(entry), "value": "12.5"}).encode()
        connection.execute('UPDATE leaves SET entry = %s WHERE "index" = %s', (edited, index))

    verdict = checked.verdict()
    with checked.database() as connection:
        connection.execute('UPDATE leaves SET entry = %s WHERE "index" = %s', (entry, index))

    assert verdict.figures.audit_verified is False
    assert {failure.rule for failure in verdict.failures} == {"audit log"}
    assert f"leaf {index}" in str(verdict.failures[0])
    assert checked.broken() == set()


def test_an_entry_that_stands_twice_in_a_stream_is_found(checked):
    with redis.Redis(unix_socket_path=str(checked.state.socket("valkey/valkey.sock"))) as client:
        place = next(key(p, "frames") for p in range(16) if client.exists(key(p, "frames")))
        _, fields = client.xrevrange(place, count=1)[0]
        doubled = client.xadd(place, fields)

        verdict = checked.verdict()
        client.xdel(place, doubled)

    assert verdict.figures.duplicates == 1
    assert {failure.rule for failure in verdict.failures} == {"duplicates"}
    assert checked.broken() == set()
