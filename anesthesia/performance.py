"""How well a model of drugs predicts what was measured, as anaesthesia reports it. Pure arithmetic on arrays of one dimension."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from anesthesia.agreement import STATE_COUNT, states_of
from anesthesia.errors import BadValue

Floats = NDArray[np.float64]
LEAST_PREDICTION = 1.0  # index points: a percentage of less means nothing


def performance_errors(measured: Floats, predicted: Floats) -> Floats:
    """Return (measured - predicted) / predicted in per cent (Varvel et al., J Pharmacokinet Biopharm 1992;20:63)."""
    first, second = np.asarray(measured, np.float64), np.asarray(predicted, np.float64)
    if first.ndim != 1 or first.shape != second.shape or first.size == 0:
        raise BadValue(f"performance: needs two non-empty series of one length, not {first.shape} and {second.shape}")
    floor = np.maximum(second, LEAST_PREDICTION)
    return 100.0 * (first - floor) / floor


def median_performance_error(measured: Floats, predicted: Floats) -> float:
    """Return MDPE, per cent: the bias. Negative when less was measured than predicted."""
    return float(np.median(performance_errors(measured, predicted)))


def median_absolute_performance_error(measured: Floats, predicted: Floats) -> float:
    """Return MDAPE, per cent: the inaccuracy."""
    return float(np.median(np.abs(performance_errors(measured, predicted))))


def prediction_probability(measured: Floats, predicted: Floats) -> float:
    """Return Pk of the predicted index for the four states of the measured one; 0.5 is chance, nan where only one state occurs.

    The share of pairs of different states that the prediction orders rightly, ties half (Smith, Dutton, Smith, Anesthesiology 1996;84:38).
    """
    value = np.asarray(predicted, np.float64)
    state = states_of(measured)
    groups = [value[state == number] for number in range(STATE_COUNT)]
    right, pairs = 0.0, 0
    for deeper in range(STATE_COUNT):
        for lighter in range(deeper):
            high, low = groups[lighter], groups[deeper]
            ranks = rankdata(np.concatenate([high, low]))[: high.size]
            right += float(ranks.sum()) - high.size * (high.size + 1) / 2.0
            pairs += high.size * low.size
    return right / pairs if pairs else float("nan")
