"""Split-conformal quantiles: how wide an interval must be to hold a promised share of what nobody fitted on.

The finite-sample rule: of n calibration scores, take the ceil((n + 1)(1 - alpha))-th smallest (Vovk, Gammerman, Shafer 2005; Lei et al.,
JASA 2018;113:1094). Seconds of one patient resemble each other, and long cases would outvote short ones, so scores can be balanced: each
case weighs 1 in all. Coverage is then that of an average second of an average case; a bound for one more patient, whoever it is, needs
the weight of a whole case beside the others (Dunn, Wasserman, Ramdas, JASA 2023;118:2491) and is wider.
"""

from math import ceil, inf

import numpy as np
from numpy.typing import NDArray

from anesthesia.errors import BadValue

Floats = NDArray[np.float64]


def _checked(scores: Floats, alpha: float) -> Floats:
    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise BadValue("conformal: scores must be finite, of one dimension, and at least one")
    if not 0 < alpha < 1:
        raise BadValue(f"conformal: alpha must lie between 0 and 1, not {alpha}")
    return values


def split_quantile(scores: Floats, alpha: float) -> float:
    """Return the quantile of exchangeable scores that holds the next one with probability at least 1 - alpha; inf when n is too small."""
    values = np.sort(_checked(scores, alpha))
    rank = ceil((values.size + 1) * (1 - alpha) - 1e-9)
    return float(values[rank - 1]) if rank <= values.size else inf


def case_balanced_quantile(scores: Floats, cases: NDArray[np.int64], alpha: float, *, unknown_case: bool = False) -> float:
    """Return the quantile when each case weighs 1 and the next score as much as an average one.

    With `unknown_case` the next score weighs a whole case: with k cases the weight 1 - alpha is taken of k + 1, and fewer than
    1 / alpha - 1 cases (9 for 90 %) give inf.
    """
    values = _checked(scores, alpha)
    labels = np.asarray(cases)
    if labels.shape != values.shape:
        raise BadValue("conformal: each score needs its case")
    _, position, count = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(values, kind="stable")
    weight = np.cumsum((1.0 / count)[position][order])
    of_next = 1.0 if unknown_case else len(count) / values.size
    reached = int(np.searchsorted(weight, (len(count) + of_next) * (1 - alpha) - 1e-9))
    return float(values[order][reached]) if reached < values.size else inf
