"""The simulator's log as an account: what was sent, what was answered, which seconds are expected, and what a fault excuses."""

import json

import pytest

from cli.check.sent import Sent, Stay, sent_of
from cli.check.share import MadeFault, WarmUp, share_of
from tests.check_accounts import OPENED, WARD, at, log, message, stay

pytestmark = pytest.mark.unit
UP = WarmUp(20.0, {"MONITOR": 1.0})


def fault(name, second, room="OR 1"):
    return json.dumps({"event": "fault", "room": room, "fault": name, "at": at(second)})


def seconds_of(sent, room="OR 1"):
    return sorted(sent.rooms[room].expected())


def test_messages_are_counted_once_however_often_they_went_out():
    sent = sent_of([message(1, deliveries=3), message(1), message(2, ack="CA"), message(3, ack="AE")])

    assert sent.ids == {"run-1", "run-2", "run-3"}
    assert sent.acknowledged == {"run-1", "run-2"}


def test_a_message_that_was_given_up_counts_as_sent_if_it_went_out():
    sent = sent_of([message(1, event="dropped", deliveries=2, ack=None), message(2, event="dropped", deliveries=0, ack=None)])

    assert (sent.ids, sent.acknowledged) == ({"run-1"}, set())


def test_a_line_cut_by_a_sudden_end_does_not_count():
    assert sent_of([message(1), message(2)[:40]]).ids == {"run-1"}


def test_the_first_message_is_the_one_that_went_out_first():
    sent = sent_of([message(1, first_sent=at(OPENED + 5)), message(2, first_sent=at(OPENED + 3))])

    assert sent.first_sent_s == OPENED + 3


def test_expected_seconds_run_from_the_first_reading_to_the_discharge():
    begun = json.loads(stay("admitted")) | {"first_observation": None}
    late = json.loads(stay("case", discharged=at(OPENED + 24, 0.9))) | {"first_observation": at(OPENED + 2)}

    sent = sent_of([json.dumps(begun), json.dumps(late)])

    assert seconds_of(sent) == list(range(OPENED + 2, OPENED + 24))
    assert Stay(opened_s=OPENED + 2, discharged_s=OPENED + 24, admitted_s=OPENED).expected() == range(OPENED + 2, OPENED + 24)
    assert Stay(discharged_s=OPENED + 4, admitted_s=OPENED).expected() == range(OPENED, OPENED + 4)


def test_a_room_that_was_not_discharged_leaves_the_expected_seconds_unknown():
    assert sent_of([message(1), stay("admitted")]).expected is None
    assert Sent().expected is None


def test_a_simulator_that_was_killed_admits_again_and_the_stay_goes_on():
    again = stay("admitted").replace(at(OPENED), at(OPENED + 50))
    end = stay("case", discharged=at(OPENED + 90)).replace(at(OPENED), at(OPENED + 50))

    sent = sent_of([stay("admitted"), stay("first_observation"), message(1), again, message(2).replace("run-2", "next-2"), end])

    assert seconds_of(sent) == list(range(OPENED, OPENED + 90))
    assert (sent.runs, sent.killed_runs) == ({"run", "next"}, {"run"})


def test_a_simulator_that_said_farewell_and_came_back_opens_a_new_stay():
    again = [stay(event).replace(at(OPENED), at(OPENED + 50)) for event in ("admitted", "first_observation")]
    end = stay("case", discharged=at(OPENED + 60)).replace(at(OPENED), at(OPENED + 50))
    first = [stay("admitted"), message(1), stay("case", discharged=at(OPENED + 10)), json.dumps({"event": "end"})]

    sent = sent_of([*first, *again, message(2).replace("run-2", "next-2"), end])

    assert seconds_of(sent) == [*range(OPENED, OPENED + 10), *range(OPENED + 50, OPENED + 60)]
    assert sent.killed_runs == set()


def scored_all_but(sent, missing):
    return {"OR 1": set(seconds_of(sent)) - set(missing)}


def test_warm_up_ends_with_the_models_least_eeg_and_the_feeds_latency_after_the_first_eeg():
    sent = sent_of(log(), WARD.eeg_rooms)

    share = share_of(sent, scored_all_but(sent, range(OPENED, OPENED + 21)), UP, ())

    assert (share.value, share.expected, share.excluded) == (1.0, len(seconds_of(sent)) - 21, 0)


def test_rooms_without_eeg_have_no_share():
    sent = sent_of(log(), ())

    assert (share_of(sent, {}, UP, ()).expected, share_of(sent, {}, UP, ()).value) == (0, 0.0)


def test_a_pulled_plug_is_left_out_until_half_a_minute_after_it_is_in_again():
    pulled, back = OPENED + 40, OPENED + 50
    sent = sent_of(log(fault("unplug_eeg", pulled), fault("replug_eeg", back)), WARD.eeg_rooms)

    share = share_of(sent, scored_all_but(sent, range(pulled, back + 30)), UP, ())

    assert (share.excluded, share.value) == (40, 1.0)


def test_a_plug_that_stays_out_is_left_out_to_the_end():
    sent = sent_of(log(fault("lead_off", OPENED + 100)), WARD.eeg_rooms)

    assert share_of(sent, scored_all_but(sent, ()), UP, ()).excluded == 40


def test_a_bolus_excuses_nothing_by_itself():
    sent = sent_of(log(fault("bolus", OPENED + 100)), WARD.eeg_rooms)

    assert share_of(sent, scored_all_but(sent, ()), UP, ()).excluded == 0


def test_two_faults_close_together_leave_each_second_out_once():
    sent = sent_of(log(), WARD.eeg_rooms)

    share = share_of(sent, scored_all_but(sent, ()), UP, (MadeFault(OPENED + 50.0), MadeFault(OPENED + 60.0), MadeFault(0.0, "OR 5")))

    assert share.excluded == 40
