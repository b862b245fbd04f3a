"""The verdict: it agrees when everything does, and each broken rule turns it red and says which."""

from dataclasses import replace

import pytest

from anesthesia.prediction import Tier
from cli.check.accounts import Audited, Course, Replay
from cli.check.ehr import InEhr
from cli.check.figures import percentile_ms
from cli.check.journal import Journal
from cli.check.sent import sent_of
from cli.check.share import MadeFault
from cli.check.streams import InStreams
from cli.check.verdict import COUNTS, verdict_of
from tests.check_accounts import DISCHARGED, EEG, INDEX, OPENED, T0, WARD, WARM, accounts, at, log, message, record, records

pytestmark = pytest.mark.unit
KEYS = [
    *("rooms", "sent", "acked", "journaled", "frames", "expected_seconds", "scored", "refused", "scored_share_eeg_rooms"),
    *("excluded_seconds", "summaries_due", "summaries_in_ehr", "withheld_due", "withheld_in_ehr", "duplicates", "audit_leaves"),
    *("audit_verified", "replayed_equal", "p50_ms", "p99_ms", "first_record_s", "first_score_s"),
]


def broken(**changed):
    """Return the rules that a verdict calls broken."""
    return [failure.rule for failure in verdict_of(accounts(**changed)).failures]


def journal_of(*ids, rows=None, entries=4):
    return Journal(frozenset(("source", one) for one in ids), len(ids) if rows is None else rows, entries=entries, frames=2)


def ehr_of(change):
    base = accounts().ehr
    return InEhr(tuple(change(list(base.observations))), base.patients)


def test_accounts_that_agree_make_a_verdict_without_failures():
    verdict = verdict_of(accounts())

    assert verdict.failures == ()
    assert verdict.lines()[-1] == "verdict: they agree"


def test_the_json_has_every_figure_in_its_place():
    data = verdict_of(accounts()).as_data()

    assert list(data)[: len(KEYS)] == KEYS
    assert (data["rooms"], data["sent"], data["acked"], data["journaled"], data["frames"]) == (2, 2, 2, 2, 2)
    assert data["expected_seconds"] == 2 * (DISCHARGED - OPENED)
    assert data["scored"] == {"E": DISCHARGED - WARM, "D": DISCHARGED - OPENED, "P": 0}
    assert data["refused"] == {"no_eeg": 21}
    assert (data["scored_share_eeg_rooms"], data["excluded_seconds"]) == (1.0, 0)
    assert (data["summaries_due"], data["summaries_in_ehr"], data["withheld_due"], data["withheld_in_ehr"]) == (2, 2, 1, 1)
    assert (data["duplicates"], data["audit_leaves"], data["audit_verified"], data["replayed_equal"]) == (0, 300, True, 20)
    assert (data["p50_ms"], data["p99_ms"], data["first_record_s"], data["first_score_s"]) == (50.0, 50.0, 9.5, 29.5)
    assert (data["agrees"], data["failures"]) == (True, [])


def test_nothing_sent_is_not_agreement():
    assert "messages" in broken(sent=sent_of([]))


def test_a_message_without_a_positive_answer_is_found():
    sent = sent_of(log(message(3, ack="AE")), WARD.eeg_rooms)

    assert broken(sent=sent, journal=journal_of("run-1", "run-2", "run-3")) == ["messages"]


def test_a_message_that_was_acknowledged_before_it_was_kept_is_found():
    sent = sent_of(log(message(3)), WARD.eeg_rooms)

    verdict = verdict_of(accounts(sent=sent))

    assert [failure.rule for failure in verdict.failures] == ["journal"]
    assert (verdict.figures.sent, verdict.figures.acked, verdict.figures.journaled) == (3, 3, 2)
    assert "1 message(s) were acknowledged but are not in it (run-3)" in str(verdict.failures[0])


def test_a_message_in_the_journal_that_was_never_sent_is_found():
    assert broken(journal=journal_of("run-1", "run-2", "run-9")) == ["journal"]


def test_a_message_that_stands_twice_in_the_journal_is_found():
    assert broken(journal=journal_of("run-1", "run-2", rows=3)) == ["journal"]


def test_what_others_sent_to_a_demo_is_not_counted():
    verdict = verdict_of(accounts(journal=journal_of("run-1", "run-2", "my-own-message")))

    assert verdict.agrees
    assert verdict.figures.journaled == 2


def test_a_message_under_way_when_the_simulator_was_killed_is_nobodys_fault():
    again = [message(7).replace("run-7", "next-7")]
    lines = [*log()[:-3], *again, *log()[-3:]]
    sent = sent_of(lines, WARD.eeg_rooms)

    assert broken(sent=sent, journal=journal_of("run-1", "run-2", "run-3", "next-7")) == []
    assert broken(sent=sent, journal=journal_of("run-1", "run-2", "next-7", "next-8")) == ["journal"]
    many = [f"run-{n}" for n in range(1, 9)]
    assert broken(sent=sent, journal=journal_of(*many, "next-7")) == ["journal"]


def test_a_dropped_second_is_found_with_its_room_and_time():
    found = tuple(one for one in records() if not (one.case_id == INDEX and one.second == T0 + 5))

    failures = verdict_of(accounts(records=found)).failures

    assert "OR 5: 1 expected second(s) have no record, the first at" in str(failures[0])
    assert {failure.rule for failure in failures} == {"records"}


def test_a_record_that_nobody_expects_is_found():
    found = (*records(), record(DISCHARGED, INDEX, Tier.D))

    assert "records" in broken(records=found)


def test_a_room_without_a_discharge_leaves_the_expected_seconds_unknown():
    lines = [line for line in log() if not ('"case"' in line and "OR 5" in line)]

    verdict = verdict_of(accounts(sent=sent_of(lines, WARD.eeg_rooms)))

    assert verdict.figures.expected_seconds is None
    assert "OR 5: no discharge was sent" in str(verdict.failures[0])


def test_too_few_scored_seconds_are_found():
    found = tuple(
        record(one.second, reason="model_unavailable") if one.second > T0 + 110 and one.case_id == EEG else one for one in records()
    )

    verdict = verdict_of(accounts(records=found))

    assert [failure.rule for failure in verdict.failures] == ["scored share"]
    assert verdict.figures.scored_share_eeg_rooms == pytest.approx(100 / 119, abs=1e-4)


def test_half_a_minute_after_each_fault_is_left_out_and_counted():
    found = tuple(
        record(one.second, reason="model_unavailable") if one.second > T0 + 110 and one.case_id == EEG else one for one in records()
    )
    course = Course((MadeFault(T0 + 110.5), MadeFault(T0 + 20.0, "OR 5")))

    verdict = verdict_of(accounts(records=found, course=course))

    assert verdict.agrees
    assert verdict.figures.excluded_seconds == 20


def test_a_fault_that_could_not_be_made_is_no_success():
    assert broken(course=Course((), ("kill_web: not done, it does not run",))) == ["faults"]


def test_a_room_with_eeg_without_a_minute_to_write_is_found():
    found = tuple(record(one.second, reason="sqi_low") if one.case_id == EEG else one for one in records())

    assert broken(records=found) == ["scored share", "minutes"]


def without_first(observations):
    return observations[1:]


def with_value(observations):
    return [replace(observations[0], value=observations[0].value + 0.1), *observations[1:]]


def with_count(observations):
    return [replace(observations[0], numbers={**observations[0].numbers, "seconds-scored": 1}), *observations[1:]]


def of_another_patient(observations):
    return [replace(observations[0], subject="Patient/b"), *observations[1:]]


def at_another_time(observations):
    return [replace(observations[0], first=observations[0].first - 60), *observations[1:]]


def with_another_reason(observations):
    return [replace(one, reason="model_unavailable") if one.reason else one for one in observations]


def with_one_more(observations):
    return [*observations, replace(observations[0], identifier="of-nobody", resource_id="x")]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without_first, "not in the EHR"),
        (with_value, "value 45.1 instead of 45.0"),
        (with_count, "seconds-scored 1 instead of"),
        (of_another_patient, "another patient"),
        (at_another_time, "period"),
        (with_another_reason, "reason model_unavailable instead of no_eeg"),
        (with_one_more, "Observation x: in the EHR, but not due"),
    ],
)
def test_an_observation_that_is_not_what_the_records_give_is_found(change, says):
    verdict = verdict_of(accounts(ehr=ehr_of(change)))

    assert [failure.rule for failure in verdict.failures] == ["EHR"]
    assert says in str(verdict.failures[0])


def test_a_doubled_observation_is_found():
    verdict = verdict_of(accounts(ehr=ehr_of(lambda told: [*told, replace(told[0], resource_id="copy")])))

    assert verdict.figures.duplicates == 1
    assert [failure.rule for failure in verdict.failures] == ["duplicates"]


def test_entries_that_stand_twice_in_the_streams_are_found():
    assert broken(streams=InStreams(4, 1, 0)) == ["duplicates"]
    assert broken(streams=InStreams(4, 0, 2)) == ["duplicates"]


def test_entries_that_the_streams_do_not_hold_are_found():
    assert broken(streams=InStreams(3, 0, 0)) == ["streams"]


def test_an_edited_leaf_is_found():
    verdict = verdict_of(accounts(audited=Audited(300, 280, 1, ("record_differs at leaf 7",))))

    assert verdict.figures.audit_verified is False
    assert "record_differs at leaf 7" in str(verdict.failures[0])


def test_a_record_without_a_leaf_is_found():
    assert broken(audited=Audited(279, 279, 0)) == ["audit log"]


def test_a_prediction_that_cannot_be_computed_again_is_found():
    assert broken(replay=Replay(20, 19, ("different value",))) == ["replay"]
    assert broken(replay=Replay(12, 12)) == ["replay"]


@pytest.mark.parametrize(
    ("who", "rules"),
    [
        ("journal", ["journal"]),
        ("streams", ["streams"]),
        ("ehr", ["EHR"]),
        ("audited", ["audit log"]),
        ("replay", ["replay"]),
    ],
)
def test_who_does_not_answer_has_not_agreed(who, rules):
    assert broken(**{who: None}) == rules


def test_without_postgresql_nothing_is_claimed():
    verdict = verdict_of(accounts(records=None))

    assert "PostgreSQL did not answer" in " ".join(map(str, verdict.failures))
    assert (verdict.figures.scored, verdict.figures.summaries_due, verdict.figures.duplicates) == (None, None, None)


def test_while_the_last_seconds_come_in_only_the_counts_are_asked_for():
    assert verdict_of(accounts(streams=None, audited=None, replay=None), COUNTS).agrees


def test_the_percentiles_are_nearest_ranks():
    hundred = [n / 1000 for n in range(1, 101)]

    assert (percentile_ms(hundred, 0.5), percentile_ms(hundred, 0.99), percentile_ms([], 0.5)) == (50.0, 99.0, None)


def ended_early(**changed):
    """Return the rules broken of a demo that its visitor ended after twenty seconds."""
    seconds = range(OPENED, OPENED + 15)
    found = (*(record(s, reason="no_eeg") for s in seconds), *(record(s, INDEX, Tier.D) for s in seconds))
    sent = sent_of([line.replace(at(DISCHARGED, 0.4), at(OPENED + 15)) for line in log()], WARD.eeg_rooms)
    return broken(sent=sent, records=found, **changed)


def test_a_visitor_may_end_a_demo_before_there_is_anything_to_score_and_a_check_may_not():
    few = {"replay": Replay(3, 3), "audited": Audited(40, 30, 0)}

    assert ended_early(course=Course(visited=True), **few) == []
    assert ended_early(course=Course(), **few) == ["scored share", "minutes", "replay"]


def test_after_longer_than_the_streams_are_kept_their_entries_are_not_counted():
    base = accounts()

    assert broken(ward=replace(WARD, streams_keep_s=60.0), streams=InStreams(1, 0, 0), ehr=base.ehr) == []
