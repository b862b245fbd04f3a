"""The demo's EHR, for real: its patients, its login, what a restart keeps, and the counting of what the writer wrote."""

import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from backbone.clock import SystemClock
from backbone.site import Mode
from backbone.supervisor.ehr import MRN_SYSTEM, ehr
from backbone.supervisor.embedded import running
from backbone.supervisor.outbox import SUPPRESSED, count_written, read_planned
from backbone.supervisor.state import prepare
from cli.demo_ehr import observations_in, patients_of
from services.device_simulator.hl7 import FACILITY
from services.device_simulator.scenario import read_scenario
from services.ehr_writer.codes import WINDOW_ID, absent_concept, concept
from services.ehr_writer.codes import Code as FhirCode
from services.ehr_writer.ehr import Ehr
from services.ehr_writer.targets import TargetMode, read_targets
from tests.ehr_records import T0, end_case
from tests.ehr_writer import drain, one_minute, plan, target_at
from tests.servers import free_port

pytestmark = pytest.mark.integration
CANARIES = (b"ZZSIM", b"SIM0001", b"SIM0003", b"1979-04-02")


class House:
    """A state folder with the demo's EHR in it."""

    def __init__(self, folder):
        self.state = prepare(folder, None)
        self.port = free_port()
        self.server = self.prepared()

    def prepared(self):
        return ehr(self.state, self.port, patients_of(), after=())

    def patients(self):
        found = self.server.access.ask("GET", "/Patient?_count=50")
        return {entry["resource"]["identifier"][0]["value"]: entry["resource"] for entry in found["entry"]}


@pytest.fixture
def house():
    outer = Path(tempfile.mkdtemp(prefix="sopor-", dir="/tmp"))
    yield House(outer / "state")
    shutil.rmtree(outer)


def observation(number, **more):
    code = FhirCode.AUDIT if more.pop("audit", False) else FhirCode.INDEX
    identifier = [{"system": WINDOW_ID, "value": f"w{number}"}]
    return {"resourceType": "Observation", "status": "preliminary", "identifier": identifier, "code": concept(code), **more}


def stored(house, *observations):
    """Put them into the EHR."""
    entries = [{"resource": one, "request": {"method": "POST", "url": "Observation"}} for one in observations]
    assert house.server.access.ask("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": entries})


def test_when_it_is_ready_it_knows_the_simulators_patients_as_their_adt_names_them(house):
    sent = {room.patient.id: room.patient for room in read_scenario("demo").rooms}

    with running(house.server.spec, house.state):
        known = house.patients()

    assert known.keys() == sent.keys()
    for name, patient in known.items():
        assert patient["birthDate"] == sent[name].birth_date.isoformat()
        assert patient["gender"] == {"F": "female", "M": "male"}[sent[name].sex]
        assert patient["identifier"][0]["system"] == MRN_SYSTEM
        assert patient["identifier"][0]["assigner"]["display"] == FACILITY


def test_a_restart_keeps_what_was_there_and_changes_nothing(house):
    with running(house.server.spec, house.state) as child:
        stored(house, observation(1))
        before, written = house.patients(), observations_in(house.server.access)
        child.kill()
    files = {path.name: path.read_bytes() for path in house.server.targets.parent.iterdir() if path.is_file()}

    house.server = house.prepared()
    with running(house.server.spec, house.state):
        after = house.patients()
        still_written = observations_in(house.server.access)

    assert after == before
    assert still_written == written
    assert len(written) == 1
    assert {path.name: path.read_bytes() for path in house.server.targets.parent.iterdir() if path.is_file()} == files


def test_the_writer_logs_in_with_its_key_and_finds_a_patient(house):
    target = read_targets(house.server.targets, Mode.SIMULATION)[0]

    with running(house.server.spec, house.state):
        writer = Ehr(target, SystemClock(), 5.0)
        writer.within(10.0)
        found = writer.find_patient("SIM0002")
        writer.close()

    assert (target.mode, target.auth) == (TargetMode.LIVE, "smart")
    assert found["birthDate"] == "1988-11-17"


def test_without_a_token_it_shows_nothing(house):
    with running(house.server.spec, house.state):
        stranger = type(house.server.access)(house.port, "wrong")
        answer = stranger.ask("GET", "/Patient")

    assert answer is None


def test_only_its_data_holds_identities_and_its_files_are_ours_alone(house):
    with running(house.server.spec, house.state):
        observations_in(house.server.access)
    data = house.server.targets.parent / "data"
    files = [path for path in house.state.folder.rglob("*") if path.is_file()]

    outside = [path for path in files if data not in path.parents]
    leaks = [path.name for path in outside if any(canary in path.read_bytes() for canary in CANARIES)]
    secrets = [path for path in outside if path.parent == data.parent]

    assert leaks == []
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    assert {path.name for path in secrets} >= {"client.pem", "reader.token", "settings.yaml", "targets.toml"}


def test_all_observations_of_ours_are_read_back_over_several_pages_and_told_apart(house):
    absent = {"dataAbsentReason": absent_concept("no_eeg")}
    ours = [observation(n) for n in range(210)] + [observation(n, **absent) for n in range(210, 215)] + [observation(215, audit=True)]
    other = {**observation(999), "identifier": [{"system": "urn:other", "value": "x"}]}

    with running(house.server.spec, house.state):
        stored(house, *ours, other)
        found = observations_in(house.server.access)

    kinds = list(found.values())
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"summary": 210, "withheld": 5, "audit-summary": 1}


def test_an_ehr_that_does_not_answer_is_not_an_empty_one(house):
    found = observations_in(house.server.access)

    assert found is None


def test_a_recorded_minute_without_its_row_and_a_due_row_are_not_settled(engine, database_url, peer, writer):
    target = target_at(peer.base_url)
    case = one_minute(engine, peer)

    seen = [read_planned(database_url)]
    plan(engine, target)
    seen.append(read_planned(database_url))
    drain(writer(target))
    seen.append(read_planned(database_url))

    assert [(one.cases, one.unplanned, one.open, one.settled) for one in seen] == [(1, 1, 0, False), (1, 0, 1, False), (1, 0, 0, True)]
    assert list(seen[-1].done.values()) == ["summary"]
    assert (seen[-1].minutes, seen[-1].audits, count_written(database_url)) == (1, 0, 1)

    end_case(engine, case, T0 + 60)
    assert read_planned(database_url).unplanned == 1


def test_a_closed_case_is_settled_with_its_audit_summary(engine, database_url, peer, writer):
    target = target_at(peer.base_url)
    end_case(engine, one_minute(engine, peer), T0 + 60)

    plan(engine, target)
    drain(writer(target))

    account = read_planned(database_url)
    assert account.settled
    assert sorted(account.done.values()) == ["audit-summary", "summary"]
    assert (account.minutes, account.audits, account.count(SUPPRESSED)) == (1, 1, 0)


def test_without_the_schema_nothing_is_known(database_url):
    assert read_planned(database_url) is None
    assert count_written(database_url) is None
