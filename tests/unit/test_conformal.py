"""Split-conformal quantiles against the finite-sample rule."""

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anesthesia.conformal import case_balanced_quantile, split_quantile
from anesthesia.errors import BadValue


def test_the_rank_is_of_n_plus_one():
    scores = np.arange(1.0, 20.0)

    # ceil(20 * 0.9) = 18th of 19
    assert split_quantile(scores, 0.1) == 18.0


def test_too_few_scores_promise_nothing_finite():
    assert split_quantile(np.arange(8.0), 0.1) == inf
    assert split_quantile(np.arange(9.0), 0.1) == 8.0


@given(st.integers(10, 60), st.integers(0, 2**32 - 1))
def test_the_next_exchangeable_score_is_held_as_often_as_promised(size, seed):
    scores = np.random.default_rng(seed).permutation(size + 1).astype(float)

    held = [scores[k] <= split_quantile(np.delete(scores, k), 0.2) for k in range(size + 1)]

    assert np.mean(held) >= 0.8


def test_one_score_a_case_is_the_plain_rule():
    scores = np.random.default_rng(3).normal(size=50)

    assert case_balanced_quantile(scores, np.arange(50), 0.1) == split_quantile(scores, 0.1)


def test_a_long_case_does_not_outvote_short_ones():
    scores = np.concatenate([np.full(1000, 1.0), np.full(10, 5.0), np.full(10, 5.0)])
    cases = np.concatenate([np.zeros(1000), np.ones(10), np.full(10, 2)]).astype(np.int64)

    assert split_quantile(scores, 0.3) == 1.0
    assert case_balanced_quantile(scores, cases, 0.3) == 5.0


def test_an_unknown_case_widens_and_may_promise_nothing():
    rng = np.random.default_rng(4)
    scores, cases = rng.exponential(size=1600), np.repeat(np.arange(16), 100)

    plain = case_balanced_quantile(scores, cases, 0.1)

    assert plain < case_balanced_quantile(scores, cases, 0.1, unknown_case=True) < inf
    assert case_balanced_quantile(scores[:800], cases[:800], 0.1, unknown_case=True) == inf


@pytest.mark.parametrize(("scores", "alpha"), [(np.array([np.nan]), 0.1), (np.array([]), 0.1), (np.array([1.0]), 0.0)])
def test_what_has_no_quantile_is_refused(scores, alpha):
    with pytest.raises(BadValue):
        split_quantile(scores, alpha)
