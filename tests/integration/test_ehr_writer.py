"""The EHR writer against a real PostgreSQL and a real sekmet-fhir: what is read back of a case."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import update

from anesthesia.prediction import FIXED_TEXT, RefusalReason
from backbone.ehr_tables import IdentityRow
from backbone.tables import Base
from tests.ehr_records import T0, end_case, open_case, record, refused, scored
from tests.ehr_writer import SEAL, deliver_due, delivered, drain, part, plan, rows, seven_minutes, smart_target, states, target_at
from tests.servers_ehr import Sekmet, claims_of


def test_a_case_is_read_back_with_exactly_its_resources(ehr, engine, writer):
    case = seven_minutes(engine)

    patient_id = delivered(case, ehr, engine, writer)

    found = sorted(ehr.search("Observation", f"patient={patient_id}"), key=lambda o: o["effectivePeriod"]["start"])
    summaries = [o for o in found if "valueQuantity" in o]
    withheld = [o for o in found if "dataAbsentReason" in o]
    audits = [o for o in found if o["code"]["coding"][0]["code"] == "prediction-audit-summary"]
    assert (len(found), len(summaries), len(withheld), len(audits)) == (7, 3, 3, 1)
    assert [o["valueQuantity"]["value"] for o in summaries] == [47.0, 52.0, 47.0]
    assert [part(o, "withheld-reason")["valueCodeableConcept"]["coding"][0]["code"] for o in withheld] == ["cautery", "lead_off", "no_eeg"]
    assert [o["dataAbsentReason"]["coding"][0]["code"] for o in withheld] == ["error", "error", "not-performed"]
    assert states(engine, case)[4] == ("withheld", "suppressed")
    assert {state for n, (_, state) in enumerate(states(engine, case)) if n != 4} == {"done"}


def test_a_summary_says_all_that_a_number_needs(ehr, engine, writer):
    case = seven_minutes(engine)

    patient_id = delivered(case, ehr, engine, writer)

    third = max(ehr.search("Observation", f"patient={patient_id}"), key=lambda o: ("valueQuantity" in o, o["effectivePeriod"]["start"]))
    begin = datetime.fromtimestamp(T0 + 120, UTC)
    assert third["status"] == "preliminary"
    assert third["effectivePeriod"] == {"start": f"{begin:%Y-%m-%dT%H:%M:%SZ}", "end": f"{begin + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"}
    assert third["meta"]["security"][0]["code"] == "AIAST"
    assert third["note"][0]["text"] == FIXED_TEXT
    assert FIXED_TEXT in third["method"]["text"]
    assert third["valueQuantity"]["code"] == "{index}"
    assert [part(third, c)["valueQuantity"]["value"] for c in ("interval-low", "interval-high", "minimum", "maximum")] == [
        40.5,
        54.5,
        47,
        48,
    ]
    assert [part(third, c)["valueQuantity"]["value"] for c in ("seconds-scored", "seconds-expected")] == [60, 60]
    assert part(third, "evidence-tier")["valueCodeableConcept"]["coding"][0]["code"] == "tier-e"
    assert part(third, "caveat")["valueCodeableConcept"]["text"] == "elderly patient"
    assert third["id"] == third["identifier"][0]["value"]


def test_provenance_names_model_and_inputs(ehr, engine, writer):
    case = seven_minutes(engine)

    patient_id = delivered(case, ehr, engine, writer)

    summary = next(o for o in ehr.search("Observation", f"patient={patient_id}") if "valueQuantity" in o)
    (provenance,) = ehr.search("Provenance", f"target=Observation/{summary['id']}")
    device = ehr.api("GET", provenance["agent"][0]["who"]["reference"])
    assert provenance["agent"][0]["who"] == summary["device"]
    assert device["deviceName"][0]["name"] == "depth-eeg@0.1.0"
    assert device["identifier"][1]["value"] == "ni:///sha-256;" + "ab" * 32
    hashes = {row.content["counted"]["input_hash"] for row in rows(engine, case) if row.content and "counted" in row.content}
    assert provenance["entity"][0]["what"]["identifier"]["value"] in hashes


def test_the_audit_summary_counts_what_became_of_the_case(ehr, engine, writer):
    case = seven_minutes(engine)

    patient_id = delivered(case, ehr, engine, writer)

    code = "https://sopor.example/fhir/CodeSystem/depth-of-anesthesia|prediction-audit-summary"
    (audit,) = ehr.search("Observation", f"patient={patient_id}&code={code}")
    counts = [part(audit, c)["valueQuantity"]["value"] for c in ("seconds-scored", "seconds-refused", "seconds-device-index")]
    assert counts == [180, 180, 60]
    assert [part(audit, c)["valueInteger"] for c in ("summaries-written", "minutes-withheld", "summaries-amended")] == [3, 4, 0]
    assert part(audit, "model-digest")["valueString"] == "ab" * 32


def test_running_every_task_twice_at_once_doubles_nothing(ehr, engine, writer):
    case = seven_minutes(engine)
    patient_id = ehr.admit(case.mrn)
    target = smart_target(ehr)
    plan(engine, target)
    plan(engine, target)
    couriers = [writer(target), writer(target)]

    for row in rows(engine, case):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda courier, row_id=row.id: courier.deliver(row_id), couriers))

    found = ehr.search("Observation", f"patient={patient_id}")
    assert len(found) == 7
    assert {o["meta"]["versionId"] for o in found} == {"1"}
    assert all(row.attempts == (row.state == "done") for row in rows(engine, case))


def test_an_expired_token_is_renewed_with_a_new_jti(engine, writer):
    with closing(Sekmet(token_life_s=1)) as short:
        case = open_case(engine, SEAL)
        record(engine, scored(case, T0, 60))
        patient_id = short.admit(case.mrn)
        target = smart_target(short)
        courier = writer(target)
        login = courier.ehrs["main"]._login
        login.header()
        login._renew_at_s = float("inf")  # as a server would have it whose clock runs faster than ours
        first_jti = claims_of(login._assertion("x"))["jti"]
        plan(engine, target)

        import time

        time.sleep(2.1)
        drain(courier)

        assert len(short.search("Observation", f"patient={patient_id}")) == 1
        assert claims_of(login._assertion("x"))["jti"] != first_jti


def test_a_case_that_was_unidentified_is_back_filled_once_it_is_attached(ehr, engine, writer):
    case = open_case(engine, SEAL)
    record(engine, scored(case, T0, 120))
    patient_id = ehr.admit(case.mrn)
    target = smart_target(ehr)
    with engine.begin() as connection:
        connection.execute(update(IdentityRow).values(pseudonym="unidentified"))
    assert plan(engine, target) == 0

    with engine.begin() as connection:
        connection.execute(update(IdentityRow).values(pseudonym="ab" * 12))
    deliver_due(engine, writer, target)

    assert len(ehr.search("Observation", f"patient={patient_id}")) == 2


def test_planning_minute_by_minute_says_the_same_as_planning_at_once(engine):
    at_once, by_minute = seven_minutes(engine), open_case(engine, SEAL)
    target = target_at("http://127.0.0.1:9/fhir")
    plan(engine, target)

    for start, row in enumerate(rows(engine, at_once)[:-1]):
        second = T0 + 60 * start
        reason = RefusalReason(row.content["reason"]) if row.kind == "withheld" else None
        record(engine, refused(by_minute, second, 60, reason) if reason else scored(by_minute, second, 60))
        plan(engine, target)
    end_case(engine, by_minute, T0 + 420)
    plan(engine, target)

    assert states(engine, by_minute) == states(engine, at_once)


def test_a_conflict_with_the_device_is_not_told_and_does_not_repeat_what_was_said(engine):
    case = open_case(engine, SEAL)
    record(engine, refused(case, T0, 60, RefusalReason.NO_EEG) + refused(case, T0 + 60, 60, RefusalReason.CONFLICT_WITH_DEVICE))
    record(engine, refused(case, T0 + 120, 60, RefusalReason.NO_EEG))

    plan(engine, target_at("http://127.0.0.1:9/fhir"))

    assert states(engine, case) == [("withheld", "due"), ("withheld", "suppressed"), ("withheld", "suppressed")]


def test_the_migrations_make_the_tables_that_the_code_declares(engine):
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Base.metadata)

    assert differences == []
