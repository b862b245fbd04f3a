"""What the tests of the EHR writer share: a database, couriers, a scripted EHR, and one case with everything in it."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from random import Random

import pytest
from sqlalchemy import Engine, select

from anesthesia.prediction import RefusalReason
from backbone.clock import SystemClock
from backbone.database import engine_of, upgrade
from backbone.ehr_tables import OutboxRow
from backbone.vault import Seal
from services.ehr_writer.delivery import Courier, Patience
from services.ehr_writer.ehr import Ehr
from services.ehr_writer.outbox import Outbox
from services.ehr_writer.planner import Plan, Planner
from services.ehr_writer.targets import Target
from tests.ehr_records import T0, TestCase, device_index, end_case, open_case, record, refused, scored
from tests.fakes.ehr_peer import EhrPeer, ehr_peer
from tests.servers_ehr import CLIENT_ID, MRN_SYSTEM, Sekmet

SEAL = Seal(os.urandom(32))
QUICK = Patience(try_s=10, lease_s=30, held_s=0.0, backoff_s=0.0, longest_backoff_s=0.0, most_faults=4)
Writer = Callable[..., Courier]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The schema in an empty database."""
    upgrade(database_url)
    engine = engine_of(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def peer() -> Iterator[EhrPeer]:
    with ehr_peer() as running:
        yield running


def target_at(url: str, **more: object) -> Target:
    values = {"name": "main", "base_url": url, "mode": "live", "auth": "none", "identifier_system": MRN_SYSTEM, **more}
    return Target.model_validate(values)


def smart_target(ehr: Sekmet) -> Target:
    return target_at(ehr.base_url, auth="smart", client_id=CLIENT_ID, key_file=ehr.folder / "client.pem")


@pytest.fixture
def writer(engine: Engine) -> Iterator[Writer]:
    """Makes couriers for a target; their connections are closed at the end."""
    made = []

    def makes(target: Target, patience: Patience = QUICK, request_s: float = 5.0) -> Courier:
        ehr = Ehr(target, SystemClock(), request_s)
        made.append(ehr)
        return Courier(Outbox(engine), SEAL, {target.name: ehr}, {target.name: target}, patience, Random(1))

    yield makes
    for ehr in made:
        ehr.close()


def plan(engine: Engine, target: Target, *, simulation: bool = True) -> int:
    planner = Planner(engine, Plan((target,), 0.0, 24.0, simulation), Random(1))
    return planner.plan(datetime.now(UTC))


def drain(courier: Courier, rounds: int = 40) -> None:
    """Deliver what is due until nothing is, at most so many rounds."""
    for _ in range(rounds):
        ready = courier.outbox.to_queue(list(courier.targets), 0.0)
        if not ready:
            return
        for row_id, _ in ready:
            courier.deliver(row_id)


def deliver_due(engine: Engine, writer: Writer, target: Target) -> None:
    """Plan what is due for a target, and deliver it."""
    plan(engine, target)
    drain(writer(target))


def delivered(case: TestCase, ehr: Sekmet, engine: Engine, writer: Writer) -> str:
    """Admit the patient of a case and deliver what is due; return the Patient's id."""
    patient_id = ehr.admit(case.mrn)
    deliver_due(engine, writer, smart_target(ehr))
    return patient_id


def rows(engine: Engine, case: TestCase) -> list[OutboxRow]:
    with engine.connect() as connection:
        query = select(OutboxRow).where(OutboxRow.case_id == case.case_id).order_by(OutboxRow.window_start)
        return list(connection.execute(query).all())  # type: ignore[arg-type]


def states(engine: Engine, case: TestCase) -> list[tuple[str, str]]:
    return [(row.kind, row.state) for row in rows(engine, case)]


def seven_minutes(engine: Engine) -> TestCase:
    """Three minutes of tier E, two of cautery, one of lead off, one of a device's own index; then the case ends."""
    case = open_case(engine, SEAL)
    record(engine, scored(case, T0, 60) + scored(case, T0 + 60, 60, 52.0) + scored(case, T0 + 120, 60, 47.0, ("elderly",)))
    record(engine, refused(case, T0 + 180, 120, RefusalReason.CAUTERY) + refused(case, T0 + 300, 60, RefusalReason.LEAD_OFF))
    record(engine, device_index(case, T0 + 360, 60))
    end_case(engine, case, T0 + 420)
    return case


def part(observation: dict, code: str) -> dict:
    return next(c for c in observation["component"] if c["code"]["coding"][0]["code"] == code)


def one_minute(engine: Engine, peer: EhrPeer) -> TestCase:
    case = open_case(engine, SEAL)
    record(engine, scored(case, T0, 60))
    peer.admit(case.mrn)
    return case
