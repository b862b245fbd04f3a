"""How archived entries come to a Board again: as the scorer took them, also where Redis had lost some."""

from anesthesia.limits import Limits
from anesthesia.prediction import Prediction, RefusalReason
from backbone.wire import pack_entry
from cli.replay.feed import Feed
from cli.replay.judge import difference_of
from cli.replay.outcome import Outcome, Replay, Replayed
from services.depth_scorer.board import Rules
from services.depth_scorer.conflict import Conflict
from services.depth_scorer.verdict import after_model
from services.ledger.archive_file import UNNUMBERED, ArchivedEntry
from tests.beds import SECOND, eeg, frame, numeric, occupancy
from tests.unit.test_verdict import LIMITS, due, scored

CASE = occupancy().case_id
RULES = Rules(Limits(), minimum_coverage_s=2, simulation=True)


def entry(entry_id: int, sequence: int, body, cursor: str = "l:g") -> ArchivedEntry:
    return ArchivedEntry(f"{entry_id}-0", cursor, sequence, 0, pack_entry(body))


def second(number: int):
    return frame(eeg(number), numeric("bis", 40 + number, number), received=number + 1.02)


ONCE = [entry(100, 1, occupancy()), *(entry(101 + s, 2 + s, second(s)) for s in range(5))]
# Redis lost the entries of seconds 3 and 4 and got them again, under later ids.
AGAIN = [entry(203 + s, 2 + s, second(s)) for s in (3, 4)]


def masked(feed: Feed, number: int) -> int:
    """Return how many seconds of EEG the window of a second holds."""
    found = feed.board.again(CASE, SECOND + number, Conflict())
    assert found is not None
    return int(found.window.mask[0].sum()) // 128


def hash_of(entries: list[ArchivedEntry], until: int, number: int) -> bytes:
    feed = Feed(RULES, entries)
    feed.go_on(f"{until}-0")
    found = feed.board.again(CASE, SECOND + number, Conflict())
    assert found is not None
    return found.window.input_hash


def test_a_board_has_what_was_taken_up_to_a_place_in_the_stream_and_no_more():
    feed = Feed(RULES, ONCE)

    feed.go_on("102-0")
    early = masked(feed, 4)
    feed.go_on("999-0")

    assert (early, masked(feed, 4)) == (2, 5)


def test_a_record_from_before_a_loss_sees_the_entries_that_were_lost():
    assert hash_of([*ONCE, *AGAIN], 105, 4) == hash_of(ONCE, 105, 4)


def test_a_record_from_after_a_loss_sees_each_entry_once():
    assert hash_of([*ONCE, *AGAIN], 207, 4) == hash_of(ONCE, 105, 4)


def test_a_record_made_while_entries_came_again_sees_those_that_had_come():
    feed = Feed(RULES, [*ONCE, *AGAIN])

    feed.go_on("206-0")

    assert masked(feed, 4) == 4  # second 4 was lost, and not there again yet


def test_what_another_listener_sent_is_not_lost_with_it():
    other = entry(106, 50, frame(numeric("heart_rate", 70, 4), received=5.1, source="pump"), "other:g")
    feed = Feed(RULES, [*ONCE, other, *AGAIN])

    feed.go_on("207-0")

    found = feed.board.again(CASE, SECOND + 4, Conflict())
    assert found is not None
    assert found.window.numerics["heart_rate"].value == 70


def test_an_entry_that_does_not_decode_stops_nothing():
    broken = ArchivedEntry("101-1", "x:g", 1, 0, b"\xff\xff")
    known = ArchivedEntry("0-0", "", UNNUMBERED, 0, pack_entry(occupancy(name="p0", start=-50, end=-10)))

    assert hash_of([known, *ONCE[:2], broken, *ONCE[2:]], 105, 4) == hash_of(ONCE, 105, 4)


def test_a_difference_is_told_in_words_and_a_rounding_is_none():
    verdict = after_model(due(), scored(47.0), LIMITS)
    record = verdict[0]
    assert isinstance(record, Prediction)

    assert difference_of(record, after_model(due(), scored(47.00005), LIMITS)) == ""
    assert difference_of(record, after_model(due(), scored(47.5), LIMITS)) == "value or interval differs by 0.5000 points"
    late = after_model(due(), RefusalReason.MODEL_LATE, LIMITS)
    assert difference_of(record, late) == "recorded as prediction of tier E, now refusal model_late"


def test_replays_are_counted_by_what_they_came_to():
    outcomes = (Outcome.EQUAL, Outcome.NOT_YET_ARCHIVED, Outcome.DIFFERENT_INPUT, Outcome.EQUAL)
    found = Replayed(tuple(Replay(CASE, n, outcome) for n, outcome in enumerate(outcomes)))

    assert (found.asked, found.equal, found.pending, len(found.differing)) == (4, 2, 1, 2)
