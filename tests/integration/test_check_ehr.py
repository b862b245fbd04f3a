"""What the check says by the clinical rules alone, beside what the EHR writer really wrote: the same, from every outcome of a minute."""

from dataclasses import replace

import pytest

from anesthesia.prediction import RefusalReason
from backbone.supervisor.outbox import count_written
from backbone.supervisor.records import read_records
from cli.check.accounts import Accounts
from cli.check.ehr import InEhr, observation_of
from cli.check.sent import Sent
from cli.check.written import differences_of
from tests.check_accounts import WARD
from tests.ehr_records import T0, device_index, end_case, open_case, record, refused, scored
from tests.ehr_writer import SEAL, drain, plan, seven_minutes, target_at

pytestmark = pytest.mark.integration


def eventful(engine):
    """Begins and ends within a minute; numbers, withheld minutes, a conflict, a return of a reason."""
    case, start = open_case(engine, SEAL), T0 + 25
    reasons = (RefusalReason.NO_EEG, RefusalReason.CONFLICT_WITH_DEVICE, RefusalReason.NO_EEG, RefusalReason.SQI_LOW)
    record(engine, scored(case, start, 95))
    for n, reason in enumerate(reasons):
        record(engine, refused(case, T0 + 120 + 60 * n, 60, reason))
    record(engine, device_index(case, T0 + 360, 31) + scored(case, T0 + 391, 29) + scored(case, T0 + 420, 33, 61.0))
    end_case(engine, case, T0 + 453)
    return case


def short(engine):
    """Too short for any minute."""
    case = open_case(engine, SEAL)
    record(engine, scored(case, T0, 29))
    end_case(engine, case, T0 + 29)
    return case


@pytest.fixture
def written(engine, database_url, peer, writer):
    """Return the accounts after the writer wrote a case into an EHR that knows its patient."""

    def of(make):
        case = make(engine)
        patient = f"Patient/{peer.admit(case.mrn)}"
        plan(engine, target_at(peer.base_url))
        drain(writer(target_at(peer.base_url)))
        ehr = InEhr(tuple(observation_of(one) for one in peer.of("Observation")), {case.mrn: patient})
        ward = replace(WARD, patients={"OR 1": case.mrn})
        return Accounts(ward, Sent(), records=read_records(database_url), ehr=ehr)

    return of


@pytest.mark.parametrize("make", [seven_minutes, eventful, short])
def test_the_writer_writes_exactly_what_the_rules_ask_for(written, database_url, make):
    accounts = written(make)

    assert [str(one) for one in differences_of(accounts, accounts.ehr)] == []
    assert count_written(database_url) == len(accounts.due_minutes) + 1


def test_what_is_due_of_an_eventful_case(written):
    accounts = written(eventful)

    said = [((due.start - T0) // 60, due.reason or due.numbers.value) for due in accounts.due_minutes]
    assert said == [(0, 47.0), (1, 47.0), (2, "no_eeg"), (5, "sqi_low"), (6, "no_eeg"), (7, 61.0)]
