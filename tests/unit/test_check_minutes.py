"""What the EHR should hold of a case, by the clinical rules; and that it is what the EHR writer's own parts would say."""

from uuid import UUID

import pytest

from anesthesia.case import instant_of
from anesthesia.prediction import RefusalReason, Tier
from backbone.supervisor.records import StoredRecord
from cli.check.minutes import NAMESPACE, audit_of, by_case, identifier_of, minutes_of
from services.ehr_writer import resources
from services.ehr_writer.summary import LEAST_SCORED_S
from tests.check_accounts import EEG, INDEX, T0, record

pytestmark = pytest.mark.unit
BOTH = (("no_eeg", 60), ("sqi_low", 60), ("sqi_low", 60), ("no_eeg", 60))


def told(*parts, start=T0):
    """Return records from `start` on: parts are (reason or value, how many seconds)."""
    found, second = [], start
    for what, count in parts:
        for _ in range(count):
            found.append(record(second, reason=what) if isinstance(what, str) else record(second, value=what))
            second += 1
    return found


def said(*parts, start=T0):
    """Return what the minutes say: (minutes after T0, value or reason)."""
    due = minutes_of(told(*parts, start=start))
    return [((one.start - T0) // 60, one.numbers.value if one.numbers else one.reason) for one in due]


def test_thirty_scored_seconds_make_a_summary_and_one_fewer_does_not():
    assert said(("no_eeg", 30), (50.0, 30)) == [(0, 50.0)]
    assert said(("no_eeg", 31), (50.0, 29)) == [(0, "no_eeg")]


def test_a_summary_has_median_lowest_highest_and_seconds_scored():
    due = next(minutes_of(told((40.0, 10), (44.0, 15), (60.0, 15), ("clipped", 20))))

    assert (due.numbers.value, due.numbers.minimum, due.numbers.maximum) == (44.0, 40.0, 60.0)
    assert (due.scored, due.start, due.first, due.stop, due.reason) == (40, T0, T0, T0 + 60, None)


def test_a_part_of_a_minute_is_due_when_enough_of_it_is_scored_and_else_says_nothing():
    assert said((50.0, 40), start=T0 + 20) == [(0, 50.0)]
    assert said((50.0, 60), (51.0, 30)) == [(0, 50.0), (1, 51.0)]
    assert said((50.0, 60), (51.0, 29)) == [(0, 50.0)]
    assert said(("no_eeg", 59), start=T0 + 1) == []


def test_the_last_part_of_a_minute_ends_with_the_case():
    *_, last = minutes_of(told((50.0, 95)))

    assert (last.start, last.first, last.stop, last.scored) == (T0 + 60, T0 + 60, T0 + 95, 35)


def test_the_first_withheld_minute_and_each_change_of_reason_are_due():
    assert said(*BOTH) == [(0, "no_eeg"), (1, "sqi_low"), (3, "no_eeg")]


def test_after_a_number_a_withheld_minute_is_news_again():
    assert said(("no_eeg", 60), (50.0, 60), ("no_eeg", 60)) == [(0, "no_eeg"), (1, 50.0), (2, "no_eeg")]


def test_a_conflict_with_the_device_is_never_written_and_changes_nothing_of_what_was_said():
    assert said(("no_eeg", 60), ("conflict_with_device", 60), ("no_eeg", 60)) == [(0, "no_eeg")]


def test_a_devices_own_index_is_no_eeg():
    due = list(minutes_of([record(T0 + n, INDEX, Tier.D) for n in range(120)]))

    assert [(one.reason, one.scored, one.bed) for one in due] == [("no_eeg", 0, "OR 5")]


def test_the_reason_of_most_unscored_seconds_counts_the_earliest_of_equals():
    assert said(("clipped", 20), ("sqi_low", 20), (50.0, 20)) == [(0, "clipped")]
    assert said(("clipped", 10), ("sqi_low", 21), (50.0, 29)) == [(0, "sqi_low")]


def test_seconds_without_a_record_count_as_model_unavailable():
    records = told(("no_eeg", 60))

    due = list(minutes_of([*records[:5], *records[-5:]]))

    assert [one.reason for one in due] == ["model_unavailable"]


def test_the_audit_summary_counts_seconds_by_outcome():
    due = audit_of([*told((50.0, 3), ("no_eeg", 2)), StoredRecord(EEG, "OR 1", T0 + 5, "D", 40.0, None, None, instant_of(T0))])

    assert (due.first, due.stop, due.scored, due.refused, due.device_index) == (T0, T0 + 6, 3, 2, 1)


def test_records_are_told_apart_by_case_and_rise():
    cases = by_case([record(T0 + 1), record(T0, INDEX, Tier.D), record(T0)])

    assert {case: [one.second for one in found] for case, found in cases.items()} == {EEG: [T0, T0 + 1], INDEX: [T0]}


def test_identifiers_are_those_that_the_writer_gives():
    case = UUID(int=7)

    assert resources.EHR_NAMESPACE == NAMESPACE
    assert resources.window_id(case, instant_of(T0)) == identifier_of(case, "60s", T0)
    assert resources.window_id(case, instant_of(T0 + 7), "audit") == identifier_of(case, "audit", T0 + 7)


def test_the_least_of_scored_seconds_is_that_of_the_clinical_rules():
    assert LEAST_SCORED_S == 30
    assert RefusalReason.NO_EEG == "no_eeg"
