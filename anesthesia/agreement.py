"""How well two series of depth indices agree. Pure arithmetic on arrays of one dimension, both 0 to 100 and of one length."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anesthesia.errors import BadValue
from anesthesia.prediction import AWAKE_FROM, DEEP_BELOW, LIGHT_FROM

Floats = NDArray[np.float64]
STATE_COUNT = 4
LIMITS_Z = 1.96  # Bland and Altman, Lancet 1986;327:307: limits of agreement hold 95 %


@dataclass(frozen=True, slots=True)
class Limits:
    """Bland-Altman: mean of measured minus reference, and the limits that hold 95 % of the differences."""

    bias: float
    low: float
    high: float


def _pair(reference: Floats, measured: Floats) -> tuple[Floats, Floats]:
    first, second = np.asarray(reference, np.float64), np.asarray(measured, np.float64)
    if first.ndim != 1 or first.shape != second.shape or first.size == 0:
        raise BadValue(f"agreement: needs two non-empty series of one length, not {first.shape} and {second.shape}")
    return first, second


def concordance(reference: Floats, measured: Floats) -> float:
    """Return Lin's concordance correlation coefficient (Biometrics 1989;45:255): 1 is identity; 0 where both are one constant."""
    x, y = _pair(reference, measured)
    spread = float(x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    return 2.0 * float(((x - x.mean()) * (y - y.mean())).mean()) / spread if spread > 0 else 0.0


def mean_absolute_error(reference: Floats, measured: Floats) -> float:
    """Return the mean absolute difference in index points."""
    x, y = _pair(reference, measured)
    return float(np.abs(y - x).mean())


def root_mean_square_error(reference: Floats, measured: Floats) -> float:
    """Return the root of the mean squared difference in index points."""
    x, y = _pair(reference, measured)
    return float(np.sqrt(((y - x) ** 2).mean()))


def bland_altman(reference: Floats, measured: Floats) -> Limits:
    """Return bias and 95 % limits of agreement. Repeated measures of a case are pooled, so the limits are of seconds, not of patients."""
    x, y = _pair(reference, measured)
    difference = y - x
    bias, spread = float(difference.mean()), float(difference.std(ddof=1)) if difference.size > 1 else 0.0
    return Limits(bias, bias - LIMITS_Z * spread, bias + LIMITS_Z * spread)


def correlation(reference: Floats, measured: Floats) -> float:
    """Return Pearson's correlation; 0 where either is constant. It does not see an offset: give the concordance beside it."""
    x, y = _pair(reference, measured)
    spread = float(x.std() * y.std())
    return float(((x - x.mean()) * (y - y.mean())).mean()) / spread if spread > 0 else 0.0


def states_of(index: Floats) -> NDArray[np.int64]:
    """Return states by value: 0 awake, 1 light, 2 general range, 3 deep, as `anesthesia.prediction.state_of` names them."""
    value = np.asarray(index, np.float64)
    return np.asarray(3 - np.digitize(value, (DEEP_BELOW, LIGHT_FROM, AWAKE_FROM)), np.int64)


def state_accuracy(reference: Floats, measured: Floats) -> float:
    """Return the share of values whose state is right."""
    x, y = _pair(reference, measured)
    return float((states_of(x) == states_of(y)).mean())


def state_recall(reference: Floats, measured: Floats) -> dict[int, float]:
    """Return, for each state that occurs in the reference, the share of its values found."""
    x, y = _pair(reference, measured)
    true, found = states_of(x), states_of(y)
    return {state: float((found[true == state] == state).mean()) for state in range(STATE_COUNT) if (true == state).any()}


def macro_state_accuracy(reference: Floats, measured: Floats) -> float:
    """Return the mean over occurring states of the share found: a common state weighs no more than a rare one."""
    return float(np.mean(list(state_recall(reference, measured).values())))


def interval_coverage(reference: Floats, low: Floats, high: Floats) -> float:
    """Return the share of reference values inside `[low, high]`."""
    x, bottom = _pair(reference, low)
    _, top = _pair(reference, high)
    return float(((bottom <= x) & (x <= top)).mean())


def bootstrap_over_cases(
    statistic: Callable[[Floats, Floats], float],
    cases: tuple[tuple[Floats, Floats], ...],
    rng: np.random.Generator,
    *,
    draws: int = 1000,
) -> tuple[float, float]:
    """Return the 95 % interval of a statistic when cases (reference, measured), not seconds, are drawn with replacement."""
    values = []
    for _ in range(draws):
        drawn = [cases[position] for position in rng.integers(0, len(cases), len(cases))]
        values.append(statistic(np.concatenate([x for x, _ in drawn]), np.concatenate([y for _, y in drawn])))
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)
