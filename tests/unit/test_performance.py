"""Performance figures on series whose answers are known by hand."""

import numpy as np
import pytest

from anesthesia import performance
from anesthesia.errors import BadValue


def test_bias_and_inaccuracy_are_medians_of_percentages_of_the_prediction():
    measured, predicted = np.array([40.0, 55.0, 60.0]), np.array([50.0, 50.0, 50.0])

    assert performance.performance_errors(measured, predicted).tolist() == pytest.approx([-20, 10, 20])
    assert performance.median_performance_error(measured, predicted) == pytest.approx(10)
    assert performance.median_absolute_performance_error(measured, predicted) == pytest.approx(20)


def test_a_prediction_near_zero_gives_no_boundless_error():
    assert performance.median_performance_error(np.array([40.0]), np.array([0.0])) == pytest.approx(3900)


def test_the_prediction_probability_counts_pairs_of_different_states():
    measured = np.array([90.0, 70.0, 50.0, 30.0])

    perfect, reversed_order, flat = (
        performance.prediction_probability(measured, predicted)
        for predicted in (np.array([80.0, 60.0, 41.0, 39.0]), np.array([1.0, 2.0, 3.0, 4.0]), np.full(4, 5.0))
    )

    assert (perfect, reversed_order, flat) == (1.0, 0.0, 0.5)


def test_order_within_one_state_does_not_count_and_one_state_alone_says_nothing():
    measured = np.array([90.0, 85.0, 50.0])

    assert performance.prediction_probability(measured, np.array([60.0, 40.0, 50.0])) == pytest.approx(0.5)
    assert np.isnan(performance.prediction_probability(np.array([50.0, 51.0]), np.array([1.0, 2.0])))


def test_series_of_different_lengths_are_refused():
    with pytest.raises(BadValue, match="one length"):
        performance.performance_errors(np.zeros(3), np.zeros(2))
