"""The EHR writer against an EHR that cuts, throttles, refuses, forgets and lies: a scripted one over real HTTP."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from sqlalchemy import Engine, func, text, update

from backbone.ehr_tables import OutboxRow
from services.ehr_writer.targets import TargetMode
from tests.ehr_records import T0, open_case, record, scored
from tests.ehr_writer import QUICK, SEAL, deliver_due, drain, one_minute, part, plan, rows, seven_minutes, states, target_at
from tests.fakes.ehr_peer import Answers, Cuts, StoresThen
from tests.servers import until

STRATEGIES = {
    "own-id": {"updateCreate": True, "interaction": [{"code": "update"}]},
    "conditional": {"conditionalCreate": True},
    "search-first": {},
}


def waiting_for_a_lock(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))


@pytest.mark.parametrize("offers", STRATEGIES.values(), ids=STRATEGIES)
@pytest.mark.parametrize("move", [Cuts(stored=True), Cuts(stored=False), StoresThen(500), Answers(503)], ids=str)
def test_a_lost_or_false_answer_stores_nothing_twice(peer, engine, writer, offers, move):
    case = one_minute(engine, peer)
    peer.offers = offers
    peer.script = [move] * 3  # Device, Observation and Provenance: each of them once

    deliver_due(engine, writer, target_at(peer.base_url))

    assert [len(peer.of(kind)) for kind in ("Device", "Observation", "Provenance")] == [1, 1, 1]
    assert states(engine, case) == [("summary", "done")]


def test_a_throttled_row_waits_as_long_as_it_is_told(peer, engine, writer):
    case = one_minute(engine, peer)
    peer.script = [Answers(429, {"Retry-After": "120"})]

    deliver_due(engine, writer, target_at(peer.base_url))

    (row,) = rows(engine, case)
    assert (row.state, row.reason, row.faults) == ("due", "http_429", 0)
    assert 100 < (row.next_attempt_at - datetime.now(UTC)).total_seconds() <= 121


def test_a_retry_after_as_a_date_is_kept_and_the_row_written_then(peer, engine, writer):
    case = one_minute(engine, peer)
    peer.script = [Answers(503, {"Retry-After": format_datetime(datetime.now(UTC) - timedelta(seconds=5), usegmt=True)})]

    deliver_due(engine, writer, target_at(peer.base_url))

    assert states(engine, case) == [("summary", "done")]
    assert rows(engine, case)[0].attempts == 2


def test_a_refused_resource_is_dead_and_the_servers_words_are_sealed(peer, engine, writer):
    case = one_minute(engine, peer)
    issue = {"severity": "error", "code": "business-rule", "diagnostics": f"no room for MRN {case.mrn}"}
    peer.script = [Answers(201), Answers(422, body={"resourceType": "OperationOutcome", "issue": [issue]})]

    deliver_due(engine, writer, target_at(peer.base_url, resources=["Observation", "Device"]))

    (row,) = rows(engine, case)
    assert (row.state, row.reason) == ("dead", "http_422")
    assert case.mrn.encode() not in row.sealed_words
    assert case.mrn in SEAL.open(row.sealed_words, "ehr-words").decode()


def test_a_resource_that_always_fails_is_dead_after_so_many_tries(peer, engine, writer):
    case = one_minute(engine, peer)
    peer.script = [Answers(500)] * 99

    deliver_due(engine, writer, target_at(peer.base_url))

    assert states(engine, case) == [("summary", "dead")]
    assert rows(engine, case)[0].attempts == QUICK.most_faults


def test_an_outage_never_kills_a_row(peer, engine, writer):
    case = one_minute(engine, peer)
    peer.script = [Answers(503)] * 20

    deliver_due(engine, writer, target_at(peer.base_url))

    assert states(engine, case) == [("summary", "done")]
    assert rows(engine, case)[0].attempts == 21


@pytest.mark.parametrize(
    ("patients", "reason"),
    [
        ([], "patient_absent"),
        ([{}, {}], "patient_ambiguous"),
        ([{"birthDate": "1999-09-09"}], "birth_date_differs"),
        ([{"active": False}], "patient_absent"),
    ],
)
def test_a_patient_in_doubt_holds_the_row_and_shows_it(peer, engine, writer, patients, reason):
    case = open_case(engine, SEAL)
    record(engine, scored(case, T0, 120))
    for patient in patients:
        peer.admit(case.mrn, **patient)
    target = target_at(peer.base_url)
    courier = writer(target, replace(QUICK, held_s=60.0))

    plan(engine, target)
    drain(courier)

    assert states(engine, case) == [("summary", "held"), ("summary", "due")]
    assert [(s.case_id, s.reason) for s in courier.outbox.shown(["held"])] == [(case.case_id, reason)]
    assert peer.writes() == []


def test_a_held_row_is_written_once_the_patient_is_there(peer, engine, writer):
    case = open_case(engine, SEAL)
    record(engine, scored(case, T0, 120))
    target = target_at(peer.base_url)
    courier = writer(target)
    plan(engine, target)
    courier.deliver(rows(engine, case)[0].id)
    assert states(engine, case)[0] == ("summary", "held")

    peer.admit(case.mrn)
    drain(courier)

    assert states(engine, case) == [("summary", "done")] * 2


def test_the_identifier_stands_in_no_url_and_no_row(peer, engine, writer):
    case = one_minute(engine, peer)

    deliver_due(engine, writer, target_at(peer.base_url))

    assert all(case.mrn not in seen.path for seen in peer.seen)
    assert all(case.mrn not in str(row) for row in rows(engine, case))
    assert all(seen.headers.get("x-request-id") for seen in peer.seen)


def test_minutes_are_written_in_order_one_at_a_time(peer, engine, writer):
    case = open_case(engine, SEAL)
    record(engine, scored(case, T0, 180))
    peer.admit(case.mrn)
    target = target_at(peer.base_url)
    plan(engine, target)
    courier = writer(target)

    for row in reversed(rows(engine, case)):
        courier.deliver(row.id)

    assert states(engine, case) == [("summary", "done"), ("summary", "due"), ("summary", "due")]


def test_a_row_whose_worker_is_gone_comes_back(peer, engine, writer):
    case = one_minute(engine, peer)
    target = target_at(peer.base_url)
    plan(engine, target)
    courier = writer(target)
    row_id = rows(engine, case)[0].id
    assert courier.outbox.claim(row_id, lease_s=0.0) is not None

    assert courier.outbox.expire(most_faults=4) == 1
    drain(courier)

    assert states(engine, case) == [("summary", "done")]
    assert rows(engine, case)[0].attempts == 2


def test_a_waking_that_meets_the_planners_note_is_not_lost(peer, engine, writer):
    case = one_minute(engine, peer)
    target = target_at(peer.base_url)
    plan(engine, target)
    courier = writer(target)
    row_id = rows(engine, case)[0].id

    with ThreadPoolExecutor(1) as worker:
        with engine.begin() as planner:
            planner.execute(update(OutboxRow).where(OutboxRow.id == row_id).values(queued_at=func.clock_timestamp()))
            woken = worker.submit(courier.outbox.claim, row_id, 0.0)
            until("the worker waits for the row, or has given it up", lambda: waiting_for_a_lock(engine) or woken.done(), 5)
        claim = woken.result(timeout=5)

    assert claim is not None
    assert claim.row_id == row_id


def test_a_worker_that_lost_its_lease_changes_nothing(peer, engine, writer):
    case = one_minute(engine, peer)
    target = target_at(peer.base_url)
    plan(engine, target)
    courier = writer(target)
    late = courier.outbox.claim(rows(engine, case)[0].id, lease_s=0.0)
    courier.outbox.expire(most_faults=4)
    drain(courier)

    assert late is not None
    assert not courier.outbox.finish(late, "dead", {}, reason="late")
    assert states(engine, case) == [("summary", "done")]


def test_a_row_that_kills_its_workers_is_dead(engine, writer, peer):
    case = one_minute(engine, peer)
    target = target_at(peer.base_url)
    plan(engine, target)
    outbox = writer(target).outbox

    for _ in range(4):
        outbox.claim(rows(engine, case)[0].id, lease_s=0.0)
        outbox.expire(most_faults=4)

    (row,) = rows(engine, case)
    assert (row.state, row.reason) == ("dead", "worker_lost")


def test_a_redirect_is_not_followed(peer, engine, writer):
    case = one_minute(engine, peer)
    peer.script = [Answers(307, {"Location": "http://127.0.0.1:9/fhir/Observation"})]
    target = target_at(peer.base_url)

    plan(engine, target)
    writer(target).deliver(rows(engine, case)[0].id)

    assert [(r.state, r.reason) for r in rows(engine, case)] == [("held", "redirected")]


def test_a_dry_run_builds_everything_and_sends_nothing(peer, engine, writer):
    case = seven_minutes(engine)
    peer.admit(case.mrn)

    deliver_due(engine, writer, target_at(peer.base_url, mode="dry-run"))

    assert {state for _, state in states(engine, case)} == {"dry-run", "suppressed"}
    assert peer.seen == []


def test_a_target_that_is_off_gets_no_rows(peer, engine):
    one_minute(engine, peer)

    assert plan(engine, target_at(peer.base_url, mode=TargetMode.OFF)) == 0


def test_simulated_cases_are_not_written_outside_simulation(peer, engine):
    one_minute(engine, peer)

    assert plan(engine, target_at(peer.base_url), simulation=False) == 0


def test_an_ehr_that_takes_observations_only_gets_model_and_inputs_in_components(peer, engine, writer):
    case = one_minute(engine, peer)

    deliver_due(engine, writer, target_at(peer.base_url, resources=["Observation"]))

    (observation,) = peer.of("Observation")
    assert "device" not in observation
    assert part(observation, "model")["valueString"] == "depth-eeg@0.1.0"
    assert part(observation, "input-sha256")["valueString"] == rows(engine, case)[0].content["counted"]["input_hash"]
    assert (peer.of("Device"), peer.of("Provenance")) == ([], [])


def test_a_row_that_waits_long_is_told_to_the_broker_less_often(peer, engine, writer):
    one_minute(engine, peer)
    target = target_at(peer.base_url)
    plan(engine, target)
    outbox = writer(target).outbox
    now = datetime.now(UTC)

    def told_ago(seconds: int) -> int:
        values = {"next_attempt_at": now - timedelta(seconds=100), "queued_at": now - timedelta(seconds=seconds)}
        with engine.begin() as connection:
            connection.execute(update(OutboxRow).values(**values))
        return len(outbox.to_queue(["main"], requeue_s=10.0))

    assert [told_ago(seconds) for seconds in (5, 20, 60)] == [0, 0, 1]
