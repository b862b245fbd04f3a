"""From an Observation in a real EHR back to the leaves of the audit log, and what the log is told of it."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, insert, select, update

from anesthesia.leaf import Event, EventKind, event_of
from anesthesia.merkle import leaf_hash, verify_inclusion
from backbone.audit import Snapshot, StoredLeaf, snapshot
from backbone.ehr_tables import OutboxRow
from backbone.tables import CheckpointRow, IntakeRow, LeafRow, RecordRow
from cli.main import run
from services.ehr_writer.codes import INPUT_HASH, LEAF, LEAVES_HASH
from services.ehr_writer.proof import claim_of, faults_of, meant
from services.ledger.book import Book
from services.ledger.checkpoint import PUBLIC, checked
from services.ledger.export import lines_of
from services.ledger.proof import inclusion_path, root_of_stream
from services.ledger.records import Batch
from tests.ehr_records import SIGNER, T0, TestCase, end_case, open_case, record, scored
from tests.ehr_writer import (
    QUICK,
    SEAL,
    deliver_due,
    delivered,
    drain,
    one_minute,
    part,
    plan,
    rows,
    seven_minutes,
    smart_target,
    states,
    target_at,
)
from tests.fakes.ehr_peer import Answers

SCRIPT = Path(__file__).parents[2] / "deploy" / "fhir" / "check_provenance.py"
ORIGIN = SIGNER.key.name


def identifiers(provenance: dict, system: str) -> list[str]:
    found = [entity["what"]["identifier"] for entity in provenance["entity"]]
    return [one["value"] for one in found if one["system"] == system]


def proved(found: Snapshot, leaf: StoredLeaf) -> bool:
    """Tell whether the leaf stands in the tree of the newest checkpoint, which our key has signed."""
    head = checked(found.newest_checkpoint().note, SIGNER.key).checkpoint
    path = inclusion_path(leaf.index, head.size, lambda start, end: root_of_stream(found.hashes(start, end)))
    return verify_inclusion(leaf_hash(leaf.entry), leaf.index, head.size, path, head.root)


def events(engine: Engine) -> list[Event]:
    with engine.connect() as connection:
        return [event_of(entry) for entry in connection.scalars(select(IntakeRow.entry).order_by(IntakeRow.id))]


def told(engine: Engine) -> list[str]:
    return [event.kind for event in events(engine)]


def two_interleaved(engine: Engine) -> tuple[TestCase, TestCase]:
    """Two cases whose leaves lie between each other's."""
    one, other = open_case(engine, SEAL), open_case(engine, SEAL)
    for n in range(0, 60, 10):
        record(engine, scored(one, T0 + n, 10))
        record(engine, scored(other, T0 + n, 10, 62.0))
    return one, other


def test_a_provenance_leads_to_leaves_that_hold_the_summarised_seconds(ehr, engine, writer, database_url):
    one, other = two_interleaved(engine)
    patient_id, _ = ehr.admit(one.mrn), ehr.admit(other.mrn)
    deliver_due(engine, writer, smart_target(ehr))

    (observation,) = ehr.search("Observation", f"patient={patient_id}")
    (provenance,) = ehr.search("Provenance", f"target=Observation/{observation['id']}")

    first, last = (name.rpartition("/") for name in identifiers(provenance, LEAF))
    assert (first[0], last[0]) == (ORIGIN, ORIGIN)
    with snapshot(database_url) as found:
        leaves = [found.at(int(first[2])), found.at(int(last[2]))]
        said = [json.loads(leaf.entry) for leaf in leaves]
        assert [one_said["second"] for one_said in said] == [T0, T0 + 59]
        assert {one_said["case_id"] for one_said in said} == {str(one.case_id)}
        assert [one_said["input_hash"] for one_said in said] == [n.to_bytes(32, "big").hex() for n in (T0, T0 + 59)]
        assert all(proved(found, leaf) for leaf in leaves)
        claim = claim_of(provenance)
        assert len(meant(claim, found.of_case(one.case_id, 1000))) == 60
        assert faults_of(claim, observation, ORIGIN, meant(claim, found.of_case(one.case_id, 1000))) == []
    assert [len(identifiers(provenance, system)) for system in (INPUT_HASH, LEAVES_HASH)] == [1, 1]


@pytest.mark.parametrize(
    "change",
    [
        lambda o, p: o["valueQuantity"].update(value=40.0),
        lambda o, p: p["entity"][0]["what"]["identifier"].update(value="00" * 32),
        lambda o, p: p["entity"][1]["what"]["identifier"].update(value=f"{ORIGIN}/1"),
        lambda o, p: p["entity"][1]["what"]["identifier"].update(value="another/log/0"),
        lambda o, p: p["entity"][3]["what"]["identifier"].update(value="00" * 32),
        lambda o, p: p["occurredPeriod"].update(start=p["occurredPeriod"]["end"]),
    ],
    ids=["value", "inputs", "leaf", "origin", "leaves", "period"],
)
def test_what_was_changed_in_the_ehr_is_found(peer, engine, writer, database_url, change):
    case = one_minute(engine, peer)
    deliver_due(engine, writer, target_at(peer.base_url))
    (observation,), (provenance,) = peer.of("Observation"), peer.of("Provenance")

    change(observation, provenance)

    claim = claim_of(provenance)
    with snapshot(database_url) as found:
        assert faults_of(claim, observation, ORIGIN, meant(claim, found.of_case(case.case_id, 1000)))


def test_the_audit_summary_gives_back_range_and_signed_checkpoint(ehr, engine, writer):
    case = seven_minutes(engine)
    patient_id = delivered(case, ehr, engine, writer)

    found = ehr.search("Observation", f"patient={patient_id}")
    audit = next(o for o in found if o["code"]["coding"][0]["code"] == "prediction-audit-summary")

    with engine.connect() as connection:
        indexes = list(connection.scalars(select(LeafRow.index).where(LeafRow.case_id == case.case_id)))
        newest = connection.scalars(select(CheckpointRow.note).order_by(CheckpointRow.size.desc())).first()
    note = checked(part(audit, "signed-checkpoint")["valueString"] + "\n", SIGNER.key)
    assert part(audit, "ledger-leaves")["valueString"] == f"{ORIGIN}/{min(indexes)}-{max(indexes)}"
    assert part(audit, "signed-checkpoint")["valueString"] + "\n" == newest
    assert part(audit, "checkpoint-root")["valueString"] == note.checkpoint.root.hex()
    assert note.checkpoint.size > max(indexes)


def test_each_count_of_the_audit_summary_is_that_of_the_tables(peer, engine, writer):
    case = seven_minutes(engine)
    peer.admit(case.mrn)
    target = target_at(peer.base_url)
    plan(engine, target)
    courier = writer(target)
    first = rows(engine, case)[0].id
    courier.deliver(first)
    peer.script = [Answers(422)]
    drain(courier)

    (audit,) = [o for o in peer.of("Observation") if o["code"]["coding"][0]["code"] == "prediction-audit-summary"]

    by_state = [(row.kind, row.state) for row in rows(engine, case)]
    assert part(audit, "summaries-written")["valueInteger"] == by_state.count(("summary", "done")) == 2
    assert part(audit, "summaries-not-accepted")["valueInteger"] == sum(state == "dead" for _, state in by_state) == 1
    assert part(audit, "minutes-withheld")["valueInteger"] == sum(kind == "withheld" for kind, _ in by_state) == 4
    with engine.connect() as connection:
        outcomes = list(connection.execute(select(RecordRow.outcome, RecordRow.tier, RecordRow.model_digest)))
    assert part(audit, "seconds-scored")["valueQuantity"]["value"] == sum(tier == "E" for _, tier, _ in outcomes) == 180
    assert part(audit, "seconds-refused")["valueQuantity"]["value"] == sum(outcome == "refusal" for outcome, _, _ in outcomes) == 180
    assert {part(audit, "model-digest")["valueString"]} == {digest for _, _, digest in outcomes if digest}


def test_a_second_that_is_recorded_late_does_not_change_the_leaves_that_were_named(peer, engine, writer, database_url):
    case = open_case(engine, SEAL)
    peer.admit(case.mrn)
    record(engine, scored(case, T0, 50))
    target = target_at(peer.base_url)
    plan(engine, target)

    record(engine, scored(case, T0 + 50, 10, 90.0))
    drain(writer(target))

    (observation,), (provenance,) = peer.of("Observation"), peer.of("Provenance")
    claim = claim_of(provenance)
    with snapshot(database_url) as found:
        leaves = meant(claim, found.of_case(case.case_id, 1000))
    assert (len(leaves), faults_of(claim, observation, ORIGIN, leaves)) == (50, [])


def test_an_observation_only_ehr_gets_the_leaves_in_the_observation(peer, engine, writer):
    one_minute(engine, peer)
    deliver_due(engine, writer, target_at(peer.base_url, resources=("Observation",)))

    (observation,) = peer.of("Observation")

    assert part(observation, "ledger-leaves")["valueString"] == f"{ORIGIN}/0-59"
    assert len(part(observation, "ledger-leaves-sha256")["valueString"]) == 64


def test_an_auditor_checks_a_minute_with_nothing_but_python(peer, engine, writer, database_url, tmp_path):
    one, _ = two_interleaved(engine)
    peer.admit(one.mrn)
    deliver_due(engine, writer, target_at(peer.base_url))
    (observation,), (provenance,) = peer.of("Observation"), peer.of("Provenance")
    with snapshot(database_url) as found:
        (tmp_path / "log.txt").write_text("".join(f"{line}\n" for line in lines_of(found, SIGNER.key)))
    files = {"provenance": provenance, "observation": observation, "changed": {**observation, "valueQuantity": {"value": 12.0}}}
    for name, resource in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(resource))

    def checked_alone(*names: str) -> tuple[int, str]:
        command = [sys.executable, "-I", "-S", str(SCRIPT), str(tmp_path / "log.txt"), *(str(tmp_path / f"{name}.json") for name in names)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    assert checked_alone("provenance", "observation") == (0, "EHR and audit log agree\n")
    assert checked_alone("provenance", "changed") == (7, "differs: value\n")
    (tmp_path / "log.txt").write_text((tmp_path / "log.txt").read_text().replace('"tier":"E"', '"tier":"e"', 1))
    assert checked_alone("provenance") == (7, "differs: hash over the leaves\n")
    assert checked_alone("observation")[0] == 2


# ---- what is not proved is not told ------------------------------------------------------------------------------------------


def test_a_minute_whose_record_has_no_leaf_is_not_planned_nor_what_follows(engine, peer):
    case = open_case(engine, SEAL)
    record(engine, scored(case, T0, 60))
    with engine.begin() as connection:
        connection.execute(insert(RecordRow), scored(case, T0 + 60, 1))
    end_case(engine, case, T0 + 61)

    plan(engine, target_at(peer.base_url))
    plan(engine, target_at(peer.base_url))

    assert states(engine, case) == [("summary", "due")]


@pytest.mark.parametrize("change", [{"value": 50.0}, {"input_hash": b"x" * 32}], ids=["value", "inputs"])
def test_a_record_that_says_something_else_than_its_leaf_is_not_told(engine, peer, change):
    case = one_minute(engine, peer)
    with engine.begin() as connection:
        connection.execute(update(RecordRow).where(RecordRow.second == T0 + 7).values(**change))

    plan(engine, target_at(peer.base_url))

    assert states(engine, case) == []


def test_a_closed_case_whose_leaf_was_taken_away_waits_for_people(peer, engine, writer):
    case = one_minute(engine, peer)
    end_case(engine, case, T0 + 60)
    target = target_at(peer.base_url)
    plan(engine, target)
    with engine.begin() as connection:
        connection.execute(delete(LeafRow).where(LeafRow.index == 7))

    drain(writer(target), rounds=3)

    assert states(engine, case) == [("summary", "done"), ("audit-summary", "held")]


def test_before_the_first_checkpoint_nothing_is_sent_and_nobody_looked_up(peer, engine, writer):
    case = open_case(engine, SEAL)
    peer.admit(case.mrn)
    record(engine, scored(case, T0, 60), signed=False)
    target = target_at(peer.base_url)
    plan(engine, target)
    courier = writer(target)

    drain(courier)

    (row,) = rows(engine, case)
    assert (row.state, row.reason, row.faults, peer.seen, told(engine)) == ("due", "no_checkpoint", 0, [], [])
    record(engine, scored(case, T0 + 60, 1))
    with engine.begin() as connection:
        connection.execute(update(OutboxRow).values(next_attempt_at=datetime.now(UTC)))
    drain(courier)
    assert states(engine, case) == [("summary", "done")]


# ---- what the log is told ----------------------------------------------------------------------------------------------------


def test_each_opened_identity_and_each_written_resource_is_told_and_gets_its_leaf(ehr, engine, writer, database_url):
    case = seven_minutes(engine)
    patient_id = delivered(case, ehr, engine, writer)

    written = [event for event in events(engine) if event.kind == EventKind.RESOURCE_WRITTEN]
    opened = [event for event in events(engine) if event.kind == EventKind.IDENTITY_OPENED]

    assert {event.about["resource"] for event in written} == {
        f"Observation/{o['id']}" for o in ehr.search("Observation", f"patient={patient_id}")
    }
    assert (len(written), len(opened)) == (7, 7)
    assert {event.case_id for event in (*written, *opened)} == {case.case_id}
    assert {event.actor for event in (*written, *opened)} == {"ehr_writer"}
    assert case.mrn not in str(events(engine))
    book = Book(database_url)
    assert book.lead()
    book.take(None)
    before = book.unsigned()
    book.write(Batch(), datetime.now(UTC))
    assert book.unsigned() - before == 14
    book.close()


def test_a_held_row_is_told_once_for_each_reason(peer, engine, writer):
    case = open_case(engine, SEAL)
    record(engine, scored(case, T0, 60))
    target = target_at(peer.base_url)
    plan(engine, target)
    courier = writer(target)

    drain(courier, rounds=3)
    peer.admit(case.mrn)
    peer.admit(case.mrn)
    drain(courier, rounds=3)

    held = [event.about["reason"] for event in events(engine) if event.kind == EventKind.RESOURCE_HELD]
    assert held == ["patient_absent", "patient_ambiguous"]
    assert told(engine).count("identity_opened") == rows(engine, case)[0].attempts == 6


def test_a_row_that_is_given_up_is_told(peer, engine, writer):
    one_minute(engine, peer)
    peer.script = [Answers(422)]

    deliver_due(engine, writer, target_at(peer.base_url))

    (given_up,) = [event for event in events(engine) if event.kind == EventKind.RESOURCE_GIVEN_UP]
    assert given_up.about == {"target": "main", "row": given_up.about["row"], "what": "summary", "minute": T0, "reason": "http_422"}


def test_a_row_whose_worker_died_too_often_is_told(peer, engine, writer):
    case = one_minute(engine, peer)
    target = target_at(peer.base_url)
    plan(engine, target)
    courier = writer(target)
    for _ in range(QUICK.most_faults):
        courier.outbox.claim(rows(engine, case)[0].id, lease_s=0.0)
        courier.outbox.expire(QUICK.most_faults)

    assert [(event.kind, event.about["reason"]) for event in events(engine)] == [("resource_given_up", "worker_lost")]


def test_a_worker_that_lost_its_lease_tells_nothing(peer, engine, writer):
    case = one_minute(engine, peer)
    target = target_at(peer.base_url)
    plan(engine, target)
    courier = writer(target)
    late = courier.outbox.claim(rows(engine, case)[0].id, lease_s=0.0)
    courier.outbox.expire(most_faults=4)

    courier.outbox.finish(late, "done", {"resource": "Observation/x"})

    assert told(engine) == []


# ---- the command -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sopor(database_url, monkeypatch, tmp_path, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs `sopor fhir show` on a state folder that has the log's public key; returns exit code, stdout, stderr."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / PUBLIC).write_text(SIGNER.key.text() + "\n")
    monkeypatch.setenv("SOPOR_DATABASE_URL", database_url)
    monkeypatch.setenv("SOPOR_STATE", str(tmp_path))

    def ended(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            run(("fhir", "show", *arguments))
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return ended


def targets_of(folder, url: str) -> str:
    file = folder / "targets.toml"
    file.write_text(f'[[target]]\nname = "main"\nbase_url = "{url}"\nmode = "live"\nauth = "none"\nidentifier_system = "urn:x"\n')
    return str(file)


def test_the_command_shows_observation_provenance_and_proof_side_by_side(peer, engine, writer, sopor, tmp_path):
    case = one_minute(engine, peer)
    deliver_due(engine, writer, target_at(peer.base_url))
    minute = f"{datetime.fromtimestamp(T0, UTC):%Y-%m-%dT%H:%M}"

    code, out, err = sopor(str(case.case_id), minute, "--targets", targets_of(tmp_path, peer.base_url), "--json")

    shown = json.loads(out.splitlines()[-1])
    assert (code, shown["leaves"], shown["faults"]) == (0, 60, []), err
    assert shown["observation"]["valueQuantity"]["value"] == 47.0
    assert shown["observation"]["subject"] == {"display": "masked"}
    assert [one["index"] for one in shown["proved"]] == [0, 59]
    assert all(one["proof"]["holds"] for one in shown["proved"])
    assert told(engine)[-1] == "resource_shown"


def test_the_command_ends_with_7_when_the_ehr_says_something_else(peer, engine, writer, sopor, tmp_path):
    case = one_minute(engine, peer)
    deliver_due(engine, writer, target_at(peer.base_url))
    peer.of("Observation")[0]["valueQuantity"]["value"] = 12.0
    minute = f"{datetime.fromtimestamp(T0, UTC):%Y-%m-%dT%H:%M:00Z}"

    code, _, err = sopor(str(case.case_id), minute, "--targets", targets_of(tmp_path, peer.base_url))

    assert (code, "not the median" in err) == (7, True)


def test_the_command_finds_nothing_where_nothing_was_written(peer, engine, sopor, tmp_path):
    case = one_minute(engine, peer)

    code, _, err = sopor(str(case.case_id), "2026-11-21T03:45", "--targets", targets_of(tmp_path, peer.base_url))

    assert (code, "no Observation" in err) == (6, True)
