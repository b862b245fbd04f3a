"""`--fault`: what happens when, and that a fault which could not be made is told."""

from itertools import pairwise

import pytest

from cli.fault_plan import Moment, Schedule, TooShort, moments_of
from cli.faults import NAMED, BadFault, NotDone

pytestmark = pytest.mark.unit
ROOMS = ("OR 1", "OR 2")


def names(moments):
    return [(moment.at_s, moment.fault, moment.room) for moment in moments]


def test_without_a_fault_nothing_is_planned():
    assert moments_of((), 60, ROOMS) == ()


def test_faults_are_forty_five_seconds_apart_and_so_is_the_end():
    assert names(moments_of(("kill-web", "kill_ledger"), 135, ROOMS)) == [(45, "kill_web", None), (90, "kill_ledger", None)]
    with pytest.raises(TooShort, match="--seconds 135"):
        moments_of(("kill-web", "kill_ledger"), 134, ROOMS)


def test_the_ehr_is_away_for_a_minute():
    assert names(moments_of(("stop_ehr",), 150, ROOMS)) == [(45, "stop_ehr", None), (105, "start_ehr", None)]


def test_a_pulled_plug_is_put_back_and_rooms_take_turns():
    planned = names(moments_of(("unplug_eeg", "bolus"), 600, ROOMS))

    assert planned == [(45, "unplug_eeg", "OR 1"), (55, "replug_eeg", "OR 1"), (100, "bolus", "OR 2")]


def test_kill_each_kills_each_process_once_and_takes_ten_minutes():
    planned = moments_of(("kill-each",), 600, ROOMS)

    assert {moment.fault for moment in planned} == {name for name in NAMED if name.startswith("kill_")}
    assert {after.at_s - before.at_s for before, after in pairwise(planned)} == {45.0}
    with pytest.raises(TooShort, match="--seconds 600"):
        moments_of(("kill-each",), 599, ROOMS)


def test_an_unknown_fault_is_refused_with_those_there_are():
    with pytest.raises(BadFault, match="kill_valkey"):
        moments_of(("kill_everything",), 600, ROOMS)


class Hand:
    """Does faults, or cannot yet."""

    def __init__(self, fails=0):
        self.fails, self.done = fails, []

    def do(self, fault, room):
        if self.fails:
            self.fails -= 1
            raise NotDone("not now")
        self.done.append((fault, room))
        return f"did {fault}"


def test_a_fault_happens_when_it_is_due_and_once():
    hand = Hand()
    schedule = Schedule((Moment(45.0, "bolus", "OR 2"),), hand.do)

    told = [schedule.turn(since_s) for since_s in (44.9, 45.0, 45.1)]

    assert told == [None, "did bolus", None]
    assert hand.done == [("bolus", "OR 2")]


def test_what_cannot_be_done_now_is_tried_again():
    hand = Hand(fails=2)
    schedule = Schedule((Moment(45.0, "kill_web"),), hand.do)

    told = [schedule.turn(since_s) for since_s in (45.0, 46.0, 47.0)]

    assert told == [None, None, "did kill_web"]
    assert schedule.not_made == []


def test_what_cannot_be_done_for_long_is_told_and_the_next_one_happens():
    hand = Hand(fails=2)
    schedule = Schedule((Moment(45.0, "kill_web"), Moment(66.0, "bolus", "OR 1")), hand.do)

    told = [schedule.turn(since_s) for since_s in (45.0, 65.0, 66.0)]

    assert told == [None, "kill_web: not done, not now", "did bolus"]
    assert schedule.not_made == ["kill_web: not done, not now"]


def test_what_did_not_happen_before_the_end_is_told():
    schedule = Schedule((Moment(45.0, "kill_web"),), Hand().do)

    schedule.give_up()

    assert schedule.not_made == ["kill_web: not done, the sending ended before"]
    assert schedule.turn(50.0) is None
