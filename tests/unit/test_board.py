"""The ADT board: who is in which bed, and since when."""

from datetime import UTC, datetime, timedelta
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anesthesia.occupancy import UNIDENTIFIED, Covariates, Occupancy, case_id_of
from anesthesia.reading import Bed
from services.hl7_listener.board import BedRules, Board, Patient, When
from services.hl7_listener.kept import beds_of, kept_bed

OR1, OR2, WARD = (Bed("demo", name) for name in ("OR 1", "OR 2", "Ward 1"))
RULES = {OR1: BedRules(theatre=True, adult_only=True), OR2: BedRules(theatre=True, adult_only=False), WARD: BedRules(False, False)}
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
FOR_EVER = datetime(2100, 1, 1, tzinfo=UTC)
ANNA, BERTA = (Patient(name, b"sealed", Covariates(age_years=50), simulated=True) for name in ("anna", "berta"))


def minute(number: float) -> datetime:
    return NOON + timedelta(minutes=number)


def when(at: float, told: float | None = None) -> When:
    return When(minute(at), minute(at if told is None else told))


def seen(board: Board, bed: Bed, at: float) -> list[Occupancy]:
    return board.frame_seen(bed, minute(at), minute(at), simulated=True)


@pytest.fixture
def board() -> Board:
    return Board(RULES, {})


def told(revisions: list[Occupancy]) -> list[tuple]:
    return [
        (r.bed.name, r.pseudonym, (r.start - NOON).total_seconds() / 60, r.end and (r.end - NOON).total_seconds() / 60) for r in revisions
    ]


def test_an_admission_begins_an_occupancy_with_what_the_site_file_says(board):
    [occupancy] = board.admit(OR1, ANNA, when(0))

    assert occupancy.case_id == case_id_of(OR1, "anna", NOON)
    assert (occupancy.theatre, occupancy.adult_only, occupancy.simulated) == (True, True, True)
    assert (occupancy.covariates.age_years, occupancy.sealed_identity) == (50, b"sealed")


def test_the_same_admission_again_changes_nothing(board):
    board.admit(OR1, ANNA, when(0))

    assert board.admit(OR1, ANNA, when(3)) == []


def test_an_admission_into_an_occupied_bed_ends_the_old_one_where_the_new_one_starts(board):
    [first] = board.admit(OR1, ANNA, when(0))

    revisions = board.admit(OR1, BERTA, when(30))

    assert told(revisions) == [("OR 1", "anna", 0, 30), ("OR 1", "berta", 30, None)]
    assert revisions[0].case_id == first.case_id


def test_a_transfer_ends_here_and_begins_there(board):
    board.admit(OR1, ANNA, when(0))

    revisions = board.transfer(OR1, OR2, ANNA, when(10))

    assert told(revisions) == [("OR 1", "anna", 0, 10), ("OR 2", "anna", 10, None)]


def test_a_transfer_to_a_bed_of_elsewhere_only_ends(board):
    board.admit(OR1, ANNA, when(0))

    assert told(board.transfer(OR1, None, ANNA, when(10))) == [("OR 1", "anna", 0, 10)]


def test_a_transfer_out_of_a_bed_with_nobody_identified_ends_the_provisional_one(board):
    seen(board, OR1, 0)

    assert told(board.transfer(OR1, WARD, ANNA, when(10))) == [("OR 1", UNIDENTIFIED, 0, 10), ("Ward 1", "anna", 10, None)]


def test_a_discharge_ends_and_leaves_another_person_in_the_bed_alone(board):
    board.admit(OR1, ANNA, when(0))

    assert board.discharge(OR1, BERTA, when(5)) == []
    assert told(board.discharge(OR1, ANNA, when(9))) == [("OR 1", "anna", 0, 9)]
    assert board.discharge(OR1, ANNA, when(9)) == []


def test_live_data_of_a_theatre_bed_without_a_person_begin_a_provisional_occupancy_at_the_whole_second(board):
    [occupancy] = board.frame_seen(OR1, NOON + timedelta(seconds=0.7), NOON + timedelta(seconds=1), simulated=False)

    assert (occupancy.pseudonym, occupancy.start, occupancy.sealed_identity) == (UNIDENTIFIED, NOON, b"")
    assert seen(board, OR1, 0.1) == []


def test_live_data_of_a_ward_bed_begin_nothing(board):
    assert seen(board, WARD, 0) == []


def test_an_admission_takes_over_from_the_provisional_occupancy_at_its_time(board):
    seen(board, OR1, 0)

    assert told(board.admit(OR1, ANNA, when(2))) == [("OR 1", UNIDENTIFIED, 0, 2), ("OR 1", "anna", 2, None)]


def test_an_admission_backdated_before_the_provisional_one_starts_when_it_was_told(board):
    seen(board, OR1, 0)

    assert told(board.admit(OR1, ANNA, when(-60, told=4))) == [("OR 1", UNIDENTIFIED, 0, 4), ("OR 1", "anna", 4, None)]


def test_an_event_of_the_future_happens_when_it_is_told(board):
    assert told(board.admit(OR1, ANNA, when(600, told=0))) == [("OR 1", "anna", 0, None)]


def test_ten_minutes_without_vitals_end_the_occupancy_and_the_person_is_not_taken_up_again(board):
    board.admit(OR1, ANNA, when(0))
    seen(board, OR1, 5)

    early, ended = board.tick(minute(15)), board.tick(minute(15.1))
    again = seen(board, OR1, 20)

    assert early == []
    assert told(ended) == [("OR 1", "anna", 0, 15)]
    assert told(again) == [("OR 1", UNIDENTIFIED, 20, None)]
    assert told(board.admit(OR1, ANNA, when(21))) == [("OR 1", UNIDENTIFIED, 20, 21), ("OR 1", "anna", 21, None)]


def test_data_after_a_gap_end_the_old_occupancy_even_without_a_tick(board):
    board.admit(OR1, ANNA, when(0))
    seen(board, OR1, 5)

    assert told(seen(board, OR1, 40)) == [("OR 1", "anna", 0, 15), ("OR 1", UNIDENTIFIED, 40, None)]


def test_an_occupancy_without_any_data_waits(board):
    board.admit(OR1, ANNA, when(0))

    assert board.tick(minute(600)) == []


def test_late_data_of_the_last_person_begin_nothing(board):
    board.admit(OR1, ANNA, when(0))
    board.discharge(OR1, ANNA, when(10))

    assert seen(board, OR1, 9) == []


def test_what_is_kept_brings_the_board_back(board):
    board.admit(OR1, ANNA, when(0))
    seen(board, OR1, 5)
    kept = [kept_bed(bed, state) for bed, state in board.kept().items()]

    again = Board(RULES, beds_of("demo", {k.key: k.value for k in kept}))

    assert again.state(OR1) == board.state(OR1)
    assert told(again.discharge(OR1, ANNA, when(6))) == [("OR 1", "anna", 0, 6)]


def test_newest_data_are_kept_every_ten_seconds_only(board):
    board.admit(OR1, ANNA, when(0))
    seen(board, OR1, 0)
    board.kept()

    changed = [bool(seen(board, OR1, second / 60) or board.kept()) for second in range(1, 22)]

    assert [n for n, c in enumerate(changed, 1) if c] == [10, 20]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "transfer", "discharge", "seen", "tick"]),
        st.sampled_from([OR1, OR2, WARD]),
        st.sampled_from([ANNA, BERTA]),
        st.integers(0, 9),
        st.integers(-20, 5),
    ),
    max_size=40,
)


@given(STEPS)
def test_no_bed_holds_two_people_at_once_and_nobody_lies_in_two_beds(steps):
    board, newest, now = Board(RULES, {}), {}, 0
    for what, bed, patient, wait, shift in steps:
        now += wait
        at = when(now + shift, told=now)
        match what:
            case "admit":
                revisions = board.admit(bed, patient, at)
            case "transfer":
                revisions = board.transfer(None, bed, patient, at)
            case "discharge":
                revisions = board.discharge(bed, patient, at)
            case "seen":
                revisions = seen(board, bed, now + min(shift, 0))
            case _:
                revisions = board.tick(minute(now))
        newest.update({r.case_id: r for r in revisions})

    for one, other in combinations(newest.values(), 2):
        ends = [r.end or FOR_EVER for r in (one, other)]
        assert one.bed != other.bed or max(one.start, other.start) >= min(ends)
    here = [occupancy for bed in RULES if (occupancy := board.state(bed).occupancy) is not None]
    lying = [occupancy.pseudonym for occupancy in here if not occupancy.provisional]
    assert len(lying) == len(set(lying))
