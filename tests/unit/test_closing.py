"""The end of a demo: who is stopped and started, how long it waits, and what it says meanwhile."""

import pytest

from backbone.supervisor.watched import Phase
from cli import closing
from cli.check.accounts import Course, Replay
from cli.check.verdict import COUNTS, verdict_of
from cli.closing import COMES_BACK_S, DRAIN_S, LOOK_EVERY_S, Closing
from cli.demo_screen import DemoScreen
from tests.check_accounts import accounts, records

pytestmark = pytest.mark.unit
NAMES = ("ehr", "ledger", "device_simulator")
GREEN, OPEN = accounts(), accounts(records=records()[:-1])
PENDING = accounts(replay=Replay(20, 7))


class Processes:
    """The supervisor's hands: what was held and released; the simulator takes its time to end."""

    def __init__(self, ehr=Phase.READY):
        self.phases = {"ehr": ehr, "ledger": Phase.READY, "device_simulator": Phase.READY}
        self.stops = 0

    def phase_of(self, name):
        return self.phases[name]

    def hold(self, name):
        self.phases[name] = Phase.STOPPING

    def release(self, name):
        self.phases[name] = Phase.STARTING

    def ask_to_stop(self):
        self.stops += 1


class Reading:
    """Answers from a list of accounts, the last one for ever."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def _next(self):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def counts(self, course):
        self.asked.append("counts")
        return verdict_of(self._next(), COUNTS)

    def whole(self, course):
        self.asked.append("whole")
        return verdict_of(self._next())


@pytest.fixture
def at(monkeypatch):
    """The clock, to be set."""

    class Now:
        s = 1000.0

    monkeypatch.setattr(closing.time, "monotonic", lambda: Now.s)
    return Now


def silent(processes, reading):
    """Return a closing whose devices have ended."""
    begun = Closing(processes, NAMES, reading, Course)
    assert begun.step() is None
    processes.phases["device_simulator"] = Phase.HELD
    return begun


def test_nobody_is_asked_before_the_devices_have_ended(at):
    processes, reading = Processes(), Reading(GREEN)

    begun = Closing(processes, NAMES, reading, Course)

    assert [begun.step(), begun.step()] == [None, None]
    assert processes.phases["device_simulator"] is Phase.STOPPING
    assert reading.asked == []


def test_a_simulator_that_was_just_killed_comes_back_to_discharge_its_patients(at):
    processes = Processes()
    processes.phases["device_simulator"] = Phase.BACKING_OFF
    begun = Closing(processes, NAMES, Reading(GREEN), Course)

    begun.step()
    waited = processes.phases["device_simulator"]
    processes.phases["device_simulator"] = Phase.READY
    begun.step()

    assert waited is Phase.BACKING_OFF
    assert processes.phases["device_simulator"] is Phase.STOPPING


def test_a_simulator_that_does_not_come_back_is_not_waited_for_without_end(at):
    processes = Processes()
    processes.phases["device_simulator"] = Phase.BACKING_OFF
    begun = Closing(processes, NAMES, Reading(GREEN), Course)

    at.s += COMES_BACK_S
    begun.step()

    assert processes.phases["device_simulator"] is Phase.STOPPING


def test_when_the_counts_agree_the_rest_is_asked_for_and_the_verdict_made(at):
    reading = Reading(GREEN)

    verdict = silent(Processes(), reading).step()

    assert verdict.agrees
    assert reading.asked == ["counts", "whole"]


def test_it_looks_once_a_second_while_seconds_are_missing_and_says_which(at, capsys):
    reading = Reading(OPEN)
    waiting = silent(Processes(), reading)

    for _ in range(5):
        assert waiting.step() is None
        at.s += LOOK_EVERY_S / 4

    assert reading.asked == ["counts", "counts"]
    assert "90 s left, waiting for records: OR 5: 1 expected second(s) have no record" in capsys.readouterr().err


def test_what_is_not_archived_yet_is_asked_for_again(at):
    reading = Reading(GREEN, PENDING, GREEN)
    waiting = silent(Processes(), reading)

    first = waiting.step()
    at.s += LOOK_EVERY_S
    second = waiting.step()

    assert first is None
    assert second.agrees


def test_after_ninety_seconds_the_verdict_is_made_as_things_are(at):
    reading = Reading(OPEN)
    waiting = silent(Processes(), reading)

    early = waiting.step()
    at.s += DRAIN_S
    late = waiting.step()

    assert early is None
    assert not late.agrees
    assert reading.asked == ["counts", "counts", "whole"]


def test_an_ehr_that_a_visitor_stopped_is_started_to_be_asked(at):
    processes = Processes(ehr=Phase.HELD)

    Closing(processes, NAMES, Reading(GREEN), Course)

    assert processes.phases["ehr"] is Phase.STARTING


def screen_of(*answers):
    screen = DemoScreen(list(NAMES), Reading(*answers), 0.0)
    screen.supervisor = Processes()
    screen._course = Course
    return screen


def test_a_first_stop_waits_for_the_verdict_and_then_stops(at):
    screen = screen_of(GREEN)

    assert screen.holds_back(1)
    screen.tick()
    screen.supervisor.phases["device_simulator"] = Phase.HELD
    screen.tick()

    assert screen.verdict.agrees
    assert screen.supervisor.stops == 1
    assert not screen.holds_back(2)


def test_a_second_stop_ends_it_unchecked(at, capsys):
    screen = screen_of(OPEN)

    held = [screen.holds_back(asked) for asked in (1, 1, 2)]

    assert held == [True, True, False]
    assert screen.verdict is None
    assert "a second Ctrl-C ends it at once, unchecked" in capsys.readouterr().err


def test_a_stop_while_it_ends_by_itself_ends_it_unchecked(at):
    screen = screen_of(OPEN)
    screen._begin_closing(asked=0)

    assert not screen.holds_back(1)
    assert screen.verdict is None
