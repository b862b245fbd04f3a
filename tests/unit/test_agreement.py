"""Figures of agreement on series whose answers are known by hand."""

import numpy as np
import pytest

from anesthesia import agreement
from anesthesia.errors import BadValue
from anesthesia.prediction import StateWord, state_of

REFERENCE = np.array([10.0, 30.0, 50.0, 70.0, 90.0])


def test_identical_series_agree_perfectly():
    figures = (agreement.concordance(REFERENCE, REFERENCE), agreement.mean_absolute_error(REFERENCE, REFERENCE))

    assert figures == (pytest.approx(1.0), 0.0)


def test_a_constant_offset_lowers_concordance_though_correlation_is_one():
    measured = REFERENCE + 20

    # 2 * 800 / (800 + 800 + 400), by Lin's formula with population variances
    assert agreement.concordance(REFERENCE, measured) == pytest.approx(0.8)
    assert agreement.mean_absolute_error(REFERENCE, measured) == pytest.approx(20)


def test_a_constant_guess_has_no_concordance():
    assert agreement.concordance(REFERENCE, np.full(5, 50.0)) == 0.0
    assert agreement.concordance(np.full(5, 50.0), np.full(5, 50.0)) == 0.0


def test_limits_of_agreement_hold_bias_and_spread():
    limits = agreement.bland_altman(REFERENCE, REFERENCE + np.array([1.0, 3.0, 1.0, 3.0, 2.0]))

    assert limits.bias == pytest.approx(2.0)
    assert limits.high - limits.bias == pytest.approx(1.96)
    assert limits.low + limits.high == pytest.approx(4.0)


def test_states_are_those_of_the_clinical_rules():
    words = [StateWord.AWAKE, StateWord.LIGHT, StateWord.GENERAL_RANGE, StateWord.DEEP]
    values = np.array([0, 39.9, 40, 59.9, 60, 79.9, 80, 100])

    states = agreement.states_of(values)

    assert [words[state] for state in states] == [state_of(value) for value in values]


def test_a_common_state_weighs_no_more_than_a_rare_one():
    reference = np.array([45.0] * 9 + [90.0])
    measured = np.full(10, 45.0)

    assert agreement.state_accuracy(reference, measured) == pytest.approx(0.9)
    assert agreement.macro_state_accuracy(reference, measured) == pytest.approx(0.5)


def test_coverage_counts_the_edges_as_inside():
    assert agreement.interval_coverage(REFERENCE, REFERENCE - 1, np.array([10.0, 30.0, 50.0, 69.0, 89.0])) == pytest.approx(0.6)


def test_the_bootstrap_draws_cases_and_repeats_with_its_seed():
    good, bad = (REFERENCE, REFERENCE), (REFERENCE, REFERENCE + 10)

    first = agreement.bootstrap_over_cases(agreement.mean_absolute_error, (good, bad), np.random.default_rng(1))
    second = agreement.bootstrap_over_cases(agreement.mean_absolute_error, (good, bad), np.random.default_rng(1))

    assert first == second == (0.0, 10.0)


@pytest.mark.parametrize("measured", [np.zeros(4), np.zeros((5, 1)), np.zeros(0)])
def test_series_that_do_not_match_are_refused(measured):
    with pytest.raises(BadValue):
        agreement.mean_absolute_error(REFERENCE, measured)


def test_correlation_does_not_see_an_offset_and_a_constant_has_none():
    assert agreement.correlation(REFERENCE, 0.5 * REFERENCE + 20) == pytest.approx(1.0)
    assert agreement.correlation(REFERENCE, REFERENCE[::-1]) == pytest.approx(-1.0)
    assert agreement.correlation(REFERENCE, np.full(5, 3.0)) == 0.0


def test_correlation_of_four_pairs_is_that_of_the_hand():
    # deviations (-1.5, -0.5, 0.5, 1.5) and (-0.5, -1.5, 1.5, 0.5): 3 / 5
    assert agreement.correlation(np.array([1.0, 2, 3, 4]), np.array([2.0, 1, 4, 3])) == pytest.approx(0.6)
