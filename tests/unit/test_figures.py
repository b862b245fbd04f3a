"""Figures of an evaluation against values worked out by hand."""

import numpy as np
import pytest

from anesthesia.errors import BadValue
from training import figures
from training.figures import Said

PERIOD_S = 5.0


def said(reference, value, *, case="case01", half=None, start_s=5.0) -> Said:
    reference, value = np.array(reference, float), np.array(value, float)
    at_s = start_s + PERIOD_S * np.arange(reference.size)
    edges = (None, None) if half is None else (value - half, value + half)
    return Said(case, at_s, reference, value, *edges)


def test_silence_is_counted_and_takes_no_part_in_the_error():
    cases = [said([50, 50, 50, 50], [52, np.nan, 46, np.nan]), said([40, 60], [40, 60], case="case02")]

    assert figures.agreement_of(cases)["mae"] == pytest.approx((2 + 4 + 0 + 0) / 4)
    assert figures.share_of(cases) == pytest.approx(4 / 6)


def test_a_case_of_which_nothing_was_said_has_no_figures():
    silent = said([50, 60], [np.nan, np.nan], half=5)

    assert set(figures.agreement_of([silent]).values()) == {None}
    assert figures.interval_of([silent]) == {"interval_coverage_90": None, "interval_width_90": None}
    assert figures.per_case([silent])[0]["scored_share"] == 0
    assert figures.false_reassurance([silent], PERIOD_S)["awake_shown_below_60"] == {"s_per_h": None, "episodes": 0}


def test_the_interval_holds_what_lies_within_both_edges():
    one = said([50, 60, 70, 80], [50, 56, 76, np.nan], half=5)

    assert figures.interval_of([one]) == {"interval_coverage_90": pytest.approx(2 / 3), "interval_width_90": pytest.approx(10)}


def test_an_episode_lasts_thirty_seconds_and_a_silence_ends_it():
    six, seven = np.ones(6, bool), np.ones(7, bool)
    at_s = 4.88 * np.arange(14)

    assert figures.episodes(six, at_s[:6], 4.88) == 0
    assert figures.episodes(seven, at_s[:7], 4.88) == 1
    assert figures.episodes(np.ones(14, bool), at_s, 4.88) == 1
    assert figures.episodes(np.ones(13, bool), np.delete(at_s, 6), 4.88) == 1  # 6 + 7: only the second is long enough
    assert figures.episodes(np.array([True] * 6 + [False] + [True] * 7), at_s, 4.88) == 1


def test_false_reassurance_is_in_seconds_of_each_scored_hour():
    awake = said([90] * 6 + [90, 90], [59.9] * 6 + [60, np.nan])
    deep = said([39.9] * 4 + [40], [40, 60, 61, 39, 50], case="case02")

    found = figures.false_reassurance([awake, deep], PERIOD_S)

    hours = 12 * PERIOD_S / 3600
    assert found["scored_hours"] == pytest.approx(hours)
    assert found["awake_shown_below_60"] == {"s_per_h": pytest.approx(30 / hours), "episodes": 1}
    assert found["deep_shown_40_to_60"] == {"s_per_h": pytest.approx(10 / hours), "episodes": 0}


def test_each_label_time_lies_in_one_range():
    reference = [0, 19, 20, 39, 40, 59, 60, 79, 80, 100]
    ranges = figures.per_range([said(reference, np.array(reference) + 3.0)])

    assert {name: part["label_times"] for name, part in ranges.items()} == dict.fromkeys(("0-20", "20-40", "40-60", "60-80", "80-100"), 2)
    assert ranges["40-60"]["bias"] == pytest.approx(3)


def test_recovery_begins_five_minutes_before_the_last_rise_for_good():
    reference = [95] * 60 + [45] * 300 + [70] * 6 + [50] * 60 + [75] * 30
    case = said(reference, reference)

    phases = figures.phases_of(case)

    assert np.stack(list(phases.values())).sum(axis=0).tolist() == [1] * case.at_s.size
    assert phases["induction"].sum() == 180
    rise_s = case.at_s[425]  # the last label time below 60
    assert case.at_s[phases["recovery"]][0] == pytest.approx(rise_s - 300 + PERIOD_S)
    assert case.at_s[phases["recovery"]][-1] == case.at_s[-1]


def test_a_case_that_ends_below_sixty_has_no_recovery():
    reference = [95] * 60 + [45] * 300

    assert figures.phases_of(said(reference, reference))["recovery"].sum() == 0


def test_intervals_draw_patients_and_one_patient_gives_none():
    good, bad = said([50, 60], [50, 60], half=1), said([50, 60], [60, 70], case="case02", half=1)

    both = figures.ci95_of([good, bad], seed=1, draws=200)

    assert both["mae"] == (0.0, 10.0)
    assert both["interval_coverage_90"] == (0.0, 1.0)
    assert figures.ci95_of([good], seed=1, draws=200)["mae"] is None


def test_a_difference_is_taken_only_where_both_speak():
    mine = [said([50, 50, 50], [51, 70, 52]), said([50, 50], [50, 50], case="case02")]
    theirs = [said([50, 50, 50], [53, np.nan, 54]), said([50, 50], [52, 52], case="case02")]

    difference = figures.mae_difference(mine, theirs, seed=1, draws=200)

    assert difference["value"] == pytest.approx(-2.0)
    assert difference["ci95"] == (pytest.approx(-2.0), pytest.approx(-2.0))


def test_json_holds_no_nan():
    assert figures.plain({"a": [float("nan"), 1.23456], "b": (1, None), "c": float("inf")}) == {
        "a": [None, 1.2346],
        "b": [1, None],
        "c": None,
    }


def test_series_of_other_lengths_are_refused():
    with pytest.raises(BadValue):
        Said("case01", np.zeros(3), np.zeros(3), np.zeros(2))
