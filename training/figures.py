"""The figures of an evaluation, from what was said at each label time. Pure: a model, a baseline and a refit are counted alike.

Agreement is of the label times that have a number; `scored_share` says how many those are, so that silence never looks like skill.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from anesthesia import agreement, performance
from anesthesia.agreement import Floats
from anesthesia.errors import BadValue
from anesthesia.prediction import AWAKE_FROM, DEEP_BELOW, LIGHT_FROM

Bools = NDArray[np.bool_]
Figures = dict[str, object]
Statistic = Callable[[Floats, Floats], float]

STATISTICS: dict[str, Statistic] = {
    "mae": agreement.mean_absolute_error,
    "rmse": agreement.root_mean_square_error,
    "ccc": agreement.concordance,
    "pearson": agreement.correlation,
    "mdpe": performance.median_performance_error,
    "mdape": performance.median_absolute_performance_error,
    "pk": performance.prediction_probability,
    "macro_state_accuracy": agreement.macro_state_accuracy,
}
RANGES = ((0, 20), (20, 40), (40, 60), (60, 80), (80, 101))
INDUCTION_S = 900.0
RISE_S = 300.0  # before the last rise: emergence begins in the EEG before the reference is up
EPISODE_S = 30.0
SECONDS_PER_HOUR = 3600.0
WITHIN = 1.5  # label periods: what lies farther apart does not follow each other


@dataclass(frozen=True, eq=False)
class Said:
    """One case at its label times: seconds from the recording's start, the reference index, and what was said (NaN: nothing).

    `low` and `high` are the 90 % interval, absent where a method has none.
    """

    case: str
    at_s: Floats
    reference: Floats
    value: Floats
    low: Floats | None = None
    high: Floats | None = None

    def __post_init__(self) -> None:
        """Refuse series that do not belong together."""
        series = [self.at_s, self.reference, self.value, *(edge for edge in (self.low, self.high) if edge is not None)]
        if any(one.shape != self.at_s.shape or one.ndim != 1 for one in series) or (self.low is None) != (self.high is None):
            raise BadValue(f"{self.case}: series of one evaluation must have one length, and an interval two edges")

    @property
    def scored(self) -> Bools:
        """Where a number was said."""
        return np.isfinite(self.value)

    def only(self, kept: Bools) -> "Said":
        """Return the label times of `kept`."""
        edges = {name: edge[kept] for name in ("low", "high") if (edge := getattr(self, name)) is not None}
        return replace(self, at_s=self.at_s[kept], reference=self.reference[kept], value=self.value[kept], **edges)


def _pairs(cases: Sequence[Said]) -> tuple[tuple[Floats, Floats], ...]:
    return tuple((case.reference[case.scored], case.value[case.scored]) for case in cases)


def agreement_of(cases: Sequence[Said]) -> Figures:
    """Return every statistic over all scored label times, pooled; None for each where nothing was scored."""
    pairs = _pairs(cases)
    reference, value = (np.concatenate(column) for column in zip(*pairs, strict=True)) if pairs else (np.zeros(0), np.zeros(0))
    return {name: statistic(reference, value) if reference.size else None for name, statistic in STATISTICS.items()}


def share_of(cases: Sequence[Said]) -> float | None:
    """Return the share of label times with a number."""
    return float(np.concatenate([case.scored for case in cases]).mean()) if sum(case.at_s.size for case in cases) else None


def interval_of(cases: Sequence[Said]) -> Figures:
    """Return coverage of the 90 % interval over scored label times, pooled, and its median width; None without intervals."""
    kept = [case.only(case.scored) for case in cases if case.low is not None]
    if not kept or not sum(case.at_s.size for case in kept):
        return {"interval_coverage_90": None, "interval_width_90": None}
    reference, low, high = (np.concatenate([getattr(case, name) for case in kept]) for name in ("reference", "low", "high"))
    width = float(np.median(high - low))
    return {"interval_coverage_90": agreement.interval_coverage(reference, low, high), "interval_width_90": width}


def episodes(flags: Bools, at_s: Floats, period_s: float) -> int:
    """Return how many runs of flagged label times that follow each other last 30 s or longer."""
    longest, run, found = WITHIN * period_s, 0, 0
    for position in range(flags.size):
        follows = position > 0 and at_s[position] - at_s[position - 1] <= longest
        run = (run + 1 if follows else 1) if flags[position] else 0
        reached = run * period_s >= EPISODE_S
        found += reached and (run - 1) * period_s < EPISODE_S
    return found


def false_reassurance(cases: Sequence[Said], period_s: float) -> Figures:
    """Return how often a number calmed where it should not: seconds per scored hour, and episodes of 30 s or longer.

    Awake (reference 80 and more) shown below 60; deep (below 40) shown within 40 to 60.
    """
    kinds: dict[str, Callable[[Said], Bools]] = {
        "awake_shown_below_60": lambda case: (case.reference >= AWAKE_FROM) & (case.value < LIGHT_FROM),
        "deep_shown_40_to_60": lambda case: (case.reference < DEEP_BELOW) & (case.value >= DEEP_BELOW) & (case.value <= LIGHT_FROM),
    }
    kept = [case.only(case.scored) for case in cases]
    hours = sum(case.at_s.size for case in kept) * period_s / SECONDS_PER_HOUR
    figures: Figures = {"scored_hours": hours}
    for name, flagged in kinds.items():
        flags = [flagged(case) for case in kept]
        seconds = sum(int(flag.sum()) for flag in flags) * period_s
        count = sum(episodes(flag, case.at_s, period_s) for flag, case in zip(flags, kept, strict=True))
        figures[name] = {"s_per_h": seconds / hours if hours else None, "episodes": count}
    return figures


def phases_of(case: Said) -> dict[str, Bools]:
    """Return where each phase of a case lies, told from clock and reference as no drug is recorded.

    Induction: the recording's first 15 min. Recovery: from 5 min before the reference last rises through 60 for good, to the end.
    """
    below = np.flatnonzero(case.reference < LIGHT_FROM)
    induction = case.at_s <= INDUCTION_S
    last = case.at_s[below[-1]] if below.size and below[-1] + 1 < case.at_s.size else np.inf
    recovery = (case.at_s > last - RISE_S) & ~induction
    return {"induction": induction, "maintenance": ~induction & ~recovery, "recovery": recovery}


def _part(cases: Sequence[Said]) -> Figures:
    count = sum(case.at_s.size for case in cases)
    figures = agreement_of(cases)
    kept = {name: figures[name] for name in ("mae", "rmse", "ccc")}
    pairs = _pairs(cases)
    bias = float(np.concatenate([value - reference for reference, value in pairs]).mean()) if figures["mae"] is not None else None
    return {"label_times": count, "scored_share": share_of(cases), **kept, "bias": bias, **interval_of(cases)}


def per_range(cases: Sequence[Said]) -> dict[str, Figures]:
    """Return the figures of each range of the reference index; a concordance within a range is of little worth and left out."""
    parts = {}
    for low, high in RANGES:
        inside = [case.only((case.reference >= low) & (case.reference < high)) for case in cases]
        parts[f"{low}-{min(high, 100)}"] = {name: figure for name, figure in _part(inside).items() if name != "ccc"}
    return parts


def per_phase(cases: Sequence[Said]) -> dict[str, Figures]:
    """Return the figures of each phase."""
    phases = [phases_of(case) for case in cases]
    return {name: _part([case.only(of[name]) for case, of in zip(cases, phases, strict=True)]) for name in phases[0]} if phases else {}


def per_case(cases: Sequence[Said]) -> list[Figures]:
    """Return the figures of each case, with what the mean of all hides."""
    rows = []
    for case in cases:
        figures = agreement_of([case])
        chosen = {name: figures[name] for name in ("mdpe", "mdape", "macro_state_accuracy")}
        rows.append({"case": case.case, **_part([case]), **chosen})
    return rows


def resampled(cases: Sequence[Said], statistic: Statistic, seed: int, draws: int) -> tuple[float, float] | None:
    """Return the 95 % interval of a statistic by drawing patients; None with fewer than two that were scored."""
    pairs = tuple(pair for pair in _pairs(cases) if pair[0].size)
    if len(pairs) < 2:  # noqa: PLR2004  one patient says nothing of others
        return None
    return agreement.bootstrap_over_cases(statistic, pairs, np.random.default_rng(seed), draws=draws)


def held(case: Said) -> Said:
    """Return the case with, as its value, whether the 90 % interval holds the reference: 1 or 0, NaN where nothing was said."""
    if case.low is None or case.high is None:
        return replace(case, value=np.full(case.at_s.size, np.nan))
    inside = (case.low <= case.reference) & (case.reference <= case.high)
    return replace(case, value=np.where(case.scored, inside.astype(np.float64), np.nan))


def ci95_of(cases: Sequence[Said], seed: int, draws: int) -> Figures:
    """Return the 95 % interval of every statistic and of the coverage, patients drawn with replacement."""
    figures: Figures = {name: resampled(cases, statistic, seed, draws) for name, statistic in STATISTICS.items()}
    coverage = resampled([held(case) for case in cases], lambda _, inside: float(inside.mean()), seed, draws)
    return {**figures, "interval_coverage_90": coverage}


def where_both(cases: Sequence[Said], others: Sequence[Said]) -> tuple[list[Said], list[Said]]:
    """Return both series at the label times where both have a number."""
    kept = [case.scored & other.scored for case, other in zip(cases, others, strict=True)]
    return [case.only(both) for case, both in zip(cases, kept, strict=True)], [
        case.only(both) for case, both in zip(others, kept, strict=True)
    ]


def mae_difference(cases: Sequence[Said], others: Sequence[Said], seed: int, draws: int) -> Figures:
    """Return MAE of `cases` minus MAE of `others` where both have a number, and its 95 % interval, patients drawn in pairs."""
    errors = [tuple(np.abs(one.value - one.reference) for one in pair) for pair in zip(*where_both(cases, others), strict=True)]
    pairs = tuple((mine, theirs) for mine, theirs in errors if mine.size)
    if not pairs:
        return {"value": None, "ci95": None}
    mine, theirs = (np.concatenate(column) for column in zip(*pairs, strict=True))
    drawn = agreement.bootstrap_over_cases(lambda x, y: float(x.mean() - y.mean()), pairs, np.random.default_rng(seed), draws=draws)
    return {"value": float(mine.mean() - theirs.mean()), "ci95": drawn if len(pairs) > 1 else None}


def plain(value: object) -> object:
    """Return figures as JSON holds them: floats to four decimals, so that a repeated run says the same, and None for what is no number."""
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: plain(of_key) for key, of_key in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
