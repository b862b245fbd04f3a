"""The demo's verdict: three accounts, and when they agree."""

import json

import pytest

from backbone.ehr_tables import OutboxKind, OutboxState
from backbone.supervisor.outbox import AUDIT, DEAD, DUE, HELD, LEASED, SUMMARY, SUPPRESSED, WITHHELD, Planned
from backbone.supervisor.records import Recorded
from cli.verdict import Expected, Sent, Verdict, Written, sent_of

pytestmark = pytest.mark.unit
AT = 1_795_235_965  # 2026-11-21T04:39:25Z
SLOW = {"SLOW": 60.0}


def latency_of(application):
    return SLOW.get(application, 1.0)


def message(room="OR 1", application="FAST", ack="AA"):
    return json.dumps({"event": "message", "room": room, "application": application, "ack": ack})


def case(room="OR 1", until="2026-11-21T04:39:49.157+00:00"):
    return json.dumps({"event": "case", "room": room, "admitted": "2026-11-21T04:39:25.000+00:00", "discharged": until})


def recorded(**by_bed):
    return Recorded(tier_e=0, tier_d=0, cases=len(by_bed), by_bed={name.replace("_", " "): n for name, n in by_bed.items()})


def test_what_was_sent_and_acknowledged_is_added_up():
    lines = [message(), message(ack="AE"), message(ack="CA"), json.dumps({"event": "dropped", "deliveries": 0, "room": "OR 1"}), case()]

    sent = sent_of(lines, latency_of, AT + 3600)

    assert sent == Sent(sent=3, acknowledged=2, rooms={"OR 1": Expected(24)})


def test_a_line_cut_by_a_sudden_end_does_not_count():
    sent = sent_of([message(), message()[:20]], latency_of, AT)

    assert sent.sent == 1


def test_a_room_that_was_not_discharged_leaves_the_expected_seconds_unknown():
    sent = sent_of([message(), case(until=None)], latency_of, AT + 3600)

    assert sent.expected_s is None
    assert not Verdict(sent, recorded(OR_1=24)).agrees


def test_seconds_that_a_slow_feed_may_still_cover_are_not_due_yet():
    lines = [message(), case(), message("OR 6", "SLOW"), case("OR 6")]

    just_after = sent_of(lines, latency_of, AT + 24 + 10)
    later = sent_of(lines, latency_of, AT + 24 + 62)

    assert just_after.rooms == {"OR 1": Expected(24), "OR 6": Expected(24, not_due=24)}
    assert later.rooms == {"OR 1": Expected(24), "OR 6": Expected(24)}


@pytest.mark.parametrize(
    ("records", "wrong"),
    [
        ({"OR_1": 24, "OR_6": 3}, []),
        ({"OR_1": 24, "OR_6": 24}, []),
        ({"OR_1": 24}, []),
        ({"OR_1": 23, "OR_6": 24}, ["OR 1"]),
        ({"OR_1": 25, "OR_6": 3}, ["OR 1"]),
        ({"OR_1": 24, "OR_7": 1}, ["OR 7"]),
    ],
)
def test_a_room_is_wrong_when_a_due_second_is_missing_or_one_is_too_many(records, wrong):
    sent = Sent(10, 10, {"OR 1": Expected(24), "OR 6": Expected(24, not_due=24)})

    verdict = Verdict(sent, recorded(**records))

    assert verdict.wrong_rooms == wrong
    assert verdict.agrees is not bool(wrong)


def test_they_do_not_agree_when_a_message_was_not_acknowledged_or_nothing_is_known():
    assert not Verdict(Sent(10, 9, {"OR 1": Expected(24)}), recorded(OR_1=24)).agrees
    assert not Verdict(Sent(10, 10, {"OR 1": Expected(24)}), None).agrees
    assert not Verdict(Sent(0, 0, {}), recorded()).agrees


def test_what_is_open_is_told_as_not_due_only_when_the_accounts_agree():
    sent = Sent(10, 10, {"OR 1": Expected(24), "OR 6": Expected(24, not_due=24)})

    right, wrong = Verdict(sent, recorded(OR_1=24)), Verdict(sent, recorded(OR_1=23))

    assert "expected seconds    48, 24 of them not due yet (slow feeds)" in right.lines()
    assert "verdict: they DO NOT agree OR 1" in wrong.lines()


def outbox(ids=None, cases=1, **rows):
    counted = {("summary", state): count for state, count in rows.items()}
    return Planned(counted, cases=cases, unplanned=0, done=ids or {})


def with_ehr(planned, found):
    return Verdict(Sent(10, 10, {"OR 1": Expected(24)}), recorded(OR_1=24), Written(planned, found))


def test_the_ehr_agrees_when_a_search_finds_exactly_what_the_outbox_calls_done():
    verdict = with_ehr(outbox({"a": "summary", "b": "withheld"}, done=2, suppressed=3), {"b": "withheld", "a": "summary"})

    assert verdict.agrees
    assert verdict.as_data()["ehr"]["minutes_due"] == 2
    assert "in the EHR          2 Observations (1 with a number, 1 withheld, 0 audit summaries)" in verdict.lines()


@pytest.mark.parametrize(
    ("planned", "found"),
    [
        (outbox({"a": "summary"}, done=1), {}),
        (outbox({"a": "summary"}, done=1), {"a": "withheld"}),
        (outbox({"a": "summary"}, done=1), {"a": "summary", "b": "summary"}),
        (outbox({"a": "summary"}, done=1, due=1), {"a": "summary"}),
        (outbox({"a": "summary"}, done=1, leased=1), {"a": "summary"}),
        (outbox({"a": "summary"}, done=1, held=1), {"a": "summary"}),
        (outbox({"a": "summary"}, done=1, dead=1), {"a": "summary"}),
        (outbox(cases=0), {}),
        (None, {}),
        (outbox(), None),
    ],
)
def test_the_ehr_does_not_agree_when_something_is_missing_doubled_waiting_refused_or_unknown(planned, found):
    verdict = with_ehr(planned, found)

    assert not verdict.agrees
    assert "verdict: they DO NOT agree EHR" in verdict.lines()


def test_the_words_of_the_outbox_are_those_of_its_table():
    assert {SUMMARY, WITHHELD, AUDIT} < set(OutboxKind)
    assert {DUE, LEASED, HELD, DEAD, SUPPRESSED, "done"} < set(OutboxState)


def test_a_case_opens_with_its_first_reading_not_with_its_admission():
    stay = {"event": "case", "room": "OR 1", "admitted": "2026-11-21T04:39:25.000+00:00"}
    late = stay | {"first_observation": "2026-11-21T04:39:26.000+00:00", "discharged": "2026-11-21T04:39:36.400+00:00"}

    sent = sent_of([json.dumps(late)], lambda _: 0.0, 1e12)

    assert sent.rooms["OR 1"].seconds == 10
