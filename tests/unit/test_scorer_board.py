"""Which second of which case is due, and what its window holds."""

from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from anesthesia.limits import Limits
from services.depth_scorer.board import Board, Due, Rules
from services.depth_scorer.conflict import Conflict
from tests.beds import BED, SECOND, at, eeg, frame, numeric, occupancy

RULES = Rules(Limits(), minimum_coverage_s=20, simulation=True)


def board(*entries) -> Board:
    made = Board(RULES)
    for entry in entries:
        made.take(entry)
    return made


def drain(made: Board, now: datetime) -> list[Due]:
    """Record everything that is due."""
    found = []
    while due := made.due(now):
        for one in due:
            made.recorded(one, Conflict())
            found.append(one)
    return found


def seconds(found: list[Due]) -> list[int]:
    return [one.of.second - SECOND for one in found]


def test_a_second_is_due_as_soon_as_its_eeg_is_there():
    made = board(occupancy(), frame(eeg(0), received=1.03))

    assert seconds(drain(made, at(1.04))) == [0]


def test_a_second_without_evidence_waits_for_latency_and_grace_then_is_due():
    made = board(occupancy(), frame(eeg(0), received=1.03), frame(numeric("heart_rate", 70, 0), received=1.03))
    drain(made, at(1.1))

    assert seconds(drain(made, at(3.49))) == []
    assert seconds(drain(made, at(3.5))) == [1]  # second 1 + source latency 1 s + 1.5 s


def test_every_expected_second_is_due_exactly_once_and_in_order():
    made = board(occupancy(), *(frame(eeg(s), received=s + 1.02) for s in range(30)))

    assert seconds(drain(made, at(31.1))) == list(range(30))


def test_a_case_opens_with_its_first_reading_not_with_its_occupancy():
    made = board(occupancy(start=-600), frame(eeg(0), received=1.0))

    assert seconds(drain(made, at(1.1))) == [0]


def test_a_bed_without_theatre_has_no_case():
    made = board(occupancy(theatre=False), frame(eeg(0), received=1.0))

    assert drain(made, at(60)) == []


def test_no_second_is_expected_after_the_occupancy_ended():
    made = board(occupancy(), *(frame(eeg(s), received=s + 1.0) for s in range(10)))
    made.take(occupancy(end=5.5))

    assert seconds(drain(made, at(30))) == [0, 1, 2, 3, 4]
    assert made.finished(at(30)) != []
    assert made.open_cases() == 0


def test_ten_second_numerics_make_ten_seconds_due_when_the_next_reading_is_there():
    made = board(occupancy(), frame(numeric("bis", 44, 0), received=0.1, interval=10, latency=10))
    assert seconds(drain(made, at(0.2))) == [0]
    assert seconds(drain(made, at(9))) == []

    made.take(frame(numeric("bis", 47, 10), received=10.1, interval=10, latency=10))
    found = drain(made, at(10.2))

    assert seconds(found) == list(range(1, 11))
    values = [one.window.numerics["bis"].value for one in found]
    assert values == [44.0] * 9 + [47.0]  # nobody saw 47 before it was observed


def test_no_window_holds_a_reading_of_the_patient_before():
    before = occupancy(start=-100, end=0, name="p0")
    made = board(
        before,
        *(frame(eeg(s), numeric("bis", 20, s), received=s + 1.0) for s in range(-50, 0)),
        occupancy(start=0, name="p1"),
        *(frame(eeg(s), received=s + 1.0) for s in range(3)),
    )

    found = [one for one in drain(made, at(4.1)) if one.of.case_id == occupancy().case_id]

    assert seconds(found) == [0, 1, 2]
    assert found[0].window.mask[0].sum() == 128
    assert "bis" not in found[0].window.numerics


def test_two_patients_in_one_bed_are_a_doubt():
    made = board(occupancy(name="p1"), occupancy(name="p2", start=-5), frame(eeg(0), received=1.0))

    found = drain(made, at(1.1))

    assert len(found) == 2
    assert all(one.circumstances.association_doubt for one in found)


def test_a_reading_from_the_future_is_a_clock_doubt_and_never_used():
    made = board(occupancy(), frame(eeg(0), received=1.0), frame(eeg(1), numeric("bis", 40, 60), received=2.0))

    found = drain(made, at(2.1))

    assert found[-1].circumstances.clock_doubt
    assert "bis" not in found[-1].window.numerics


def test_a_numeric_is_stale_after_three_intervals():
    made = board(occupancy(), frame(numeric("bis", 44, 0), received=0.1), *(frame(eeg(s), received=s + 1.0) for s in range(6)))

    found = drain(made, at(7))

    assert ["bis" in one.window.numerics for one in found[:6]] == [True, True, True, False, False, False]


def test_a_value_that_the_device_withdrew_is_not_replaced_by_an_older_one():
    gone = frame(numeric_unavailable("bis", 1), received=1.5)
    made = board(occupancy(), frame(numeric("bis", 44, 0), received=0.1), gone, *(frame(eeg(s), received=s + 1.0) for s in range(3)))

    found = drain(made, at(3.1))

    assert ["bis" in one.window.numerics for one in found] == [True, False, False]


def numeric_unavailable(signal: str, second: float):
    from anesthesia.reading import Numeric, Status

    return Numeric(signal, None, at(second), Status.UNAVAILABLE)


def test_silence_of_all_feeds_is_stale():
    made = board(occupancy(), frame(eeg(0), numeric("heart_rate", 70, 0), received=1.0))

    found = drain(made, at(20))

    assert not found[5].circumstances.all_stale
    assert found[-1].circumstances.all_stale


def test_a_resumed_case_goes_on_after_its_last_record():
    made = Board(RULES)
    made.resume(occupancy().case_id, SECOND + 4)
    made.take(occupancy())
    for s in range(8):
        made.take(frame(eeg(s), received=s + 1.0))

    assert seconds(drain(made, at(8.1))) == [5, 6, 7]


@given(st.permutations(range(12)), st.integers(1, 12))
def test_the_order_of_arrival_never_changes_how_often_a_second_is_recorded(order, batch):
    made = board(occupancy(), frame(numeric("heart_rate", 70, 0), received=0.5))
    found = []
    for n, s in enumerate(order):
        made.take(frame(eeg(s), received=20 + n))
        if n % batch == 0:
            found += drain(made, at(20 + n + 0.1))
    found += drain(made, at(60))

    assert seconds(found) == list(range(len(found)))
    assert len(found) >= 57


def test_memory_of_a_bed_is_bounded():
    made = board(occupancy())
    for s in range(400):
        made.take(frame(eeg(s), numeric("heart_rate", 70, s), received=s + 1.0))
        drain(made, at(s + 1.1))

    readings = made._beds[BED]
    assert len(readings.waveforms["eeg_1"]) < 110
    assert len(readings.numerics["heart_rate"]) < 110


def test_a_bed_that_had_only_eeg_stays_due_however_long_it_is_silent():
    made = board(occupancy(), *(frame(eeg(s), received=s + 1.0) for s in range(3)))

    found = drain(made, at(300))

    assert seconds(found) == list(range(298))
    assert found[-1].circumstances.all_stale


def test_when_the_eeg_was_lost_is_not_forgotten():
    slow = [frame(numeric("bis", 44, s), received=s + 0.1, interval=60, latency=1) for s in (0, 60, 120, 180)]
    made = board(occupancy(), frame(eeg(0), received=1.0), *slow)

    found = drain(made, at(200))

    assert {one.circumstances.eeg_lost_at for one in found[1:]} == {at(1)}


@settings(deadline=None, max_examples=40)
@given(st.permutations(range(8)), st.lists(st.integers(0, 7), max_size=4), st.data())
def test_a_second_comes_again_from_the_entries_taken_before_it_whatever_was_recorded_since(order, doubled, choices):
    entries = [occupancy(), frame(numeric("bis", 60, -20), received=0.1, interval=10, latency=10)]
    entries += [frame(eeg(s), numeric("heart_rate", 70 + s, s), received=10 + n) for n, s in enumerate([*order, *doubled])]
    entries += [occupancy(end=200), frame(eeg(150), received=160)]
    live, found, taken = Board(RULES), [], []
    for n, entry in enumerate(entries):
        live.take(entry)
        for one in drain(live, at(10 + 20 * n)):
            found.append(one)
            taken.append(n)
    number = choices.draw(st.integers(0, len(found) - 1))
    then = found[number]

    fresh = board(*entries[: taken[number] + 1])
    again = fresh.again(then.of.case_id, then.of.second, then.conflict)

    assert again is not None
    assert again.window.input_hash == then.window.input_hash
    assert (again.circumstances, again.evidence, again.late, again.of) == (then.circumstances, then.evidence, then.late, then.of)


def test_what_no_case_expects_does_not_come_again():
    made = board(occupancy(), frame(eeg(5), received=6.0))

    assert made.again(occupancy().case_id, SECOND + 4, Conflict()) is None
    assert made.again(occupancy(name="p2").case_id, SECOND + 5, Conflict()) is None


def test_a_resumed_case_goes_on_with_its_disagreement():
    made = Board(RULES)
    made.resume(occupancy().case_id, SECOND, Conflict(SECOND - 3))
    made.take(occupancy())
    for s in range(2):
        made.take(frame(eeg(s), received=s + 1.0))

    [one] = made.due(at(2.1))

    assert one.conflict == Conflict(SECOND - 3)
    assert one.window.adaptation_state == b"conflict:4"
