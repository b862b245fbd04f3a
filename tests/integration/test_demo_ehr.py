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
from backbone.supervisor.outbox import count_written
from backbone.supervisor.records import count_records, read_records
from backbone.supervisor.state import prepare
from cli.check.ehr import read_ehr
from cli.demo_ward import patients_of
from services.device_simulator.hl7 import FACILITY
from services.device_simulator.scenario import read_scenario
from services.ehr_writer.codes import WINDOW_ID, absent_concept, concept
from services.ehr_writer.codes import Code as FhirCode
from services.ehr_writer.ehr import Ehr
from services.ehr_writer.targets import TargetMode, read_targets
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
    period = {"start": "2026-11-21T04:39:00Z", "end": "2026-11-21T04:40:00Z"}
    told = {"identifier": identifier, "code": concept(code), "effectivePeriod": period}
    return {"resourceType": "Observation", "status": "preliminary", **told, **more}


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
        before, written = house.patients(), read_ehr(house.server.access)
        child.kill()
    files = {path.name: path.read_bytes() for path in house.server.targets.parent.iterdir() if path.is_file()}

    house.server = house.prepared()
    with running(house.server.spec, house.state):
        after = house.patients()
        still_written = read_ehr(house.server.access)

    assert after == before
    assert still_written == written
    assert len(written.observations) == 1
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
        read_ehr(house.server.access)
    data = house.server.targets.parent / "data"
    files = [path for path in house.state.folder.rglob("*") if path.is_file()]

    outside = [path for path in files if data not in path.parents]
    leaks = [path.name for path in outside if any(canary in path.read_bytes() for canary in CANARIES)]
    secrets = [path for path in outside if path.parent == data.parent]

    assert leaks == []
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    assert {path.name for path in secrets} >= {"client.pem", "reader.token", "settings.yaml", "targets.toml"}


def test_all_observations_of_ours_are_read_back_over_several_pages_and_told_apart(house):
    depth = {"valueQuantity": {"value": 45.5, "unit": "{index}"}}
    absent = {"dataAbsentReason": absent_concept("no_eeg")}
    numbers = [observation(n, **depth) for n in range(210)]
    ours = [*numbers, *(observation(n, **absent) for n in range(210, 215)), observation(215, audit=True)]
    other = {**observation(999), "identifier": [{"system": "urn:other", "value": "x"}]}

    with running(house.server.spec, house.state):
        stored(house, *ours, other)
        found = read_ehr(house.server.access)

    assert (found.summaries, found.withheld, found.audits) == (210, 5, 1)
    assert {one.identifier for one in found.observations} == {f"w{n}" for n in range(216)}
    assert {one.value for one in found.observations} == {45.5, None}


def test_the_patients_are_read_back_by_their_identifiers(house):
    with running(house.server.spec, house.state):
        found = read_ehr(house.server.access)
        known = house.patients()

    assert found.patients == {identifier: f"Patient/{patient['id']}" for identifier, patient in known.items()}


def test_an_ehr_that_does_not_answer_is_not_an_empty_one(house):
    assert read_ehr(house.server.access) is None


def test_without_the_schema_nothing_is_known(database_url):
    assert read_records(database_url) is None
    assert count_records(database_url) is None
    assert count_written(database_url) is None
