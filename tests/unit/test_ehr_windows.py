"""Which minutes are due, and what a minute says."""

import hashlib

import pytest

from anesthesia.prediction import Caveat, RefusalReason, Tier
from services.ehr_writer.summary import Nothing, Second, Summary, Withheld, is_news, outcome_of
from services.ehr_writer.windows import Minute, Recorded, due_minutes, is_closed

START = 1_700_000_040  # a whole UTC minute


def starts(case: Recorded, planned_until: int | None, now: float) -> list[int]:
    return [minute.start - START for minute in due_minutes(case, planned_until, now)]


def leaf(second: int) -> tuple[int, bytes]:
    """Return index and hash of a second's leaf: those of another case lie between."""
    return 7 + 2 * (second - START), hashlib.sha256(second.to_bytes(8, "big")).digest()


def eeg(second: int, value: float = 50.0, caveats: tuple[Caveat, ...] = ()) -> Second:
    return Second(second, Tier.E, value, value - 5, value + 7, None, caveats, "m@1.0.0", "aa", bytes([second % 256]), *leaf(second))


def refusal(second: int, reason: RefusalReason) -> Second:
    return Second(second, None, None, None, None, reason, (), None, None, b"r", *leaf(second))


def device(second: int) -> Second:
    return Second(second, Tier.D, 40.0, 40.0, 40.0, None, (), None, None, b"d", *leaf(second))


MINUTE = Minute(START, START, START + 60)


def test_a_minute_is_due_with_its_last_second():
    case = Recorded(START, START + 59, None)

    assert starts(case, None, START + 60.1) == [0]


def test_a_minute_is_not_due_before_its_last_second():
    case = Recorded(START, START + 58, None)

    assert starts(case, None, START + 60.1) == []


def test_a_minute_is_due_fifteen_seconds_after_its_end_whatever_is_there():
    case = Recorded(START, START + 40, None)

    assert starts(case, None, START + 74.9) == []
    assert starts(case, None, START + 75.0) == [0]


def test_a_slow_feeds_minute_waits_as_much_longer_as_the_feed_may_be_late():
    case = Recorded(START, START + 4, None)

    due = [[m.start - START for m in due_minutes(case, None, START + after, latency_s=60.0)] for after in (134.9, 135.0)]

    assert due == [[], [0]]


def test_a_planned_minute_is_not_due_again():
    case = Recorded(START, START + 179, None)

    assert starts(case, START + 60, START + 180) == [120]


def test_a_minute_without_records_is_due_once_a_later_one_has_some():
    case = Recorded(START, START + 130, None)

    assert starts(case, START, START + 131) == [60]


def test_nothing_is_due_while_a_whole_minute_stays_silent():
    case = Recorded(START, START + 59, None)

    assert starts(case, START, START + 4000) == []


def test_the_window_stays_a_whole_utc_minute_when_the_case_begins_inside_it():
    case = Recorded(START + 20, START + 119, None)

    first, second = due_minutes(case, None, START + 120)

    assert (first.start, first.first, first.expected) == (START, START + 20, 40)
    assert (second.start, second.expected) == (START + 60, 60)


def test_the_last_minute_is_due_when_the_case_has_ended_and_its_last_second_is_recorded():
    open_case, ended = Recorded(START, START + 99, None), Recorded(START, START + 99, START + 100)

    assert starts(open_case, START, START + 101) == []
    assert starts(ended, START, START + 101) == [60]


def test_seconds_after_the_end_of_the_case_do_not_open_a_window():
    case = Recorded(START, START + 130, START + 60)

    assert starts(case, None, START + 131) == [0]


def test_a_case_is_closed_when_its_last_second_is_recorded_and_all_is_planned():
    case = Recorded(START, START + 99, START + 100)

    assert not is_closed(case, START, START + 101)
    assert is_closed(case, START + 60, START + 101)


def test_a_case_whose_last_seconds_never_come_is_closed_after_two_minutes():
    case = Recorded(START, START + 80, START + 100)

    assert not is_closed(case, START + 60, START + 219)
    assert is_closed(case, START + 60, START + 220)


def test_a_summary_has_median_interval_extremes_and_count():
    seconds = [eeg(START + n, 40.0 + n % 3) for n in range(60)]

    outcome = outcome_of(MINUTE, seconds)

    assert isinstance(outcome, Summary)
    assert (outcome.value, outcome.low, outcome.high) == (41.0, 36.0, 48.0)
    assert (outcome.minimum, outcome.maximum) == (40.0, 42.0)
    assert (outcome.counted.scored, outcome.counted.expected) == (60, 60)


@pytest.mark.parametrize(("scored", "kind"), [(30, Summary), (29, Withheld)])
def test_a_summary_needs_thirty_scored_seconds(scored, kind):
    seconds = [eeg(START + n) if n < scored else refusal(START + n, RefusalReason.CAUTERY) for n in range(60)]

    assert type(outcome_of(MINUTE, seconds)) is kind


def test_a_withheld_minute_names_the_most_frequent_reason():
    seconds = [refusal(START + n, RefusalReason.LEAD_OFF if n < 20 else RefusalReason.CAUTERY) for n in range(60)]

    outcome = outcome_of(MINUTE, seconds)

    assert isinstance(outcome, Withheld)
    assert outcome.reason is RefusalReason.CAUTERY


def test_a_minute_of_a_devices_own_index_is_withheld_as_no_eeg():
    outcome = outcome_of(MINUTE, [device(START + n) for n in range(60)])

    assert isinstance(outcome, Withheld)
    assert outcome.reason is RefusalReason.NO_EEG


def test_seconds_that_nobody_recorded_count_as_no_model():
    outcome = outcome_of(MINUTE, [eeg(START + n) for n in range(10)])

    assert isinstance(outcome, Withheld)
    assert outcome.reason is RefusalReason.MODEL_UNAVAILABLE


@pytest.mark.parametrize(("scored", "kind"), [(30, Summary), (29, Nothing)])
def test_a_part_of_a_minute_is_due_with_thirty_scored_seconds_only(scored, kind):
    part = Minute(START, START, START + 40)

    assert type(outcome_of(part, [eeg(START + n) for n in range(scored)])) is kind


def test_a_record_outside_the_case_is_left_out():
    part = Minute(START, START, START + 40)

    outcome = outcome_of(part, [eeg(START + n) for n in range(60)])

    assert outcome.counted.scored == 40


def test_the_caveats_of_any_scored_second_stand_once():
    seconds = [eeg(START + n, caveats=(Caveat.KETAMINE,) if n == 7 else (Caveat.ELDERLY,)) for n in range(60)]

    outcome = outcome_of(MINUTE, seconds)

    assert isinstance(outcome, Summary)
    assert outcome.caveats == (Caveat.KETAMINE, Caveat.ELDERLY)


def test_the_input_hash_recomputes_from_the_records():
    seconds = [eeg(START + n) for n in range(60)]
    joined = b"".join((START + n).to_bytes(8, "big") + bytes([(START + n) % 256]) for n in range(60))

    assert outcome_of(MINUTE, seconds).counted.input_hash == hashlib.sha256(joined).hexdigest()


def test_only_a_change_of_reason_is_news():
    withheld = outcome_of(MINUTE, [refusal(START + n, RefusalReason.CAUTERY) for n in range(60)])
    assert isinstance(withheld, Withheld)

    assert is_news(withheld, None)
    assert is_news(withheld, RefusalReason.NO_EEG)
    assert not is_news(withheld, RefusalReason.CAUTERY)


def test_a_conflict_with_the_device_is_never_told_to_the_ehr():
    withheld = outcome_of(MINUTE, [refusal(START + n, RefusalReason.CONFLICT_WITH_DEVICE) for n in range(60)])
    assert isinstance(withheld, Withheld)

    assert not is_news(withheld, None)


def test_a_minute_names_its_first_and_last_leaf_and_a_hash_over_all_of_its_own():
    seconds = [*(eeg(START + n) for n in range(40)), *(refusal(START + n, RefusalReason.CAUTERY) for n in range(40, 60))]

    outside = eeg(START + 60)
    found = outcome_of(MINUTE, [*seconds, outside]).counted.leaves

    assert found is not None
    assert (found.first, found.last) == (7, 7 + 2 * 59)
    assert found.digest == hashlib.sha256(b"".join(leaf(START + n)[1] for n in range(60))).hexdigest()


def test_a_minute_of_which_nothing_was_recorded_names_no_leaf():
    assert outcome_of(MINUTE, []).counted.leaves is None
