"""The honest error: every case is judged by networks that never saw it, with intervals and limits that never saw it either.

The window ends at the label time, masked as serving masks it; label times are every 4.88 s. Two histories are judged: the full 60 s and
exactly 20 s, the least that may be scored.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anesthesia import agreement
from anesthesia.agreement import Floats
from anesthesia.conformal import case_balanced_quantile
from training.datasets import Int64, Recording, folds_of
from training.fit import Fitted
from training.frontend import RATE_HZ, SAMPLES, FrontEnd
from training.networks import DepthNetwork
from training.scorer import summary_of

SHORT_S = 20
ALPHA = 0.1
REFUSED = 0.01
SHRINK = 0.1  # of the summaries' correlation towards independence: sixteen patients do not fix 35 x 35 numbers
BATCH = 256
STATES = ("awake", "light", "general_range", "deep")


@dataclass(frozen=True, eq=False)
class Judged:
    """What networks said of label times, one row each; `case` is the position in the recordings."""

    case: Int64
    index: Floats
    predicted: Floats
    spread: Floats
    state: Floats  # [n, 4]
    distance: Floats
    summary: Tensor  # [n, 35]


@dataclass(frozen=True, eq=False)
class Space:
    """Where the summaries of known windows lie: distance = norm of (summary - centre) @ whitening."""

    centre: Tensor
    whitening: Tensor

    def distance(self, summary: Tensor) -> Floats:
        """Return distances [n]."""
        offset: Floats = torch.linalg.vector_norm((summary - self.centre) @ self.whitening, dim=1).numpy().astype(np.float64)
        return offset


def space_of(summaries: list[Tensor]) -> Space:
    """Return the space of these cases' summaries (one tensor [n, 35] a case); each case weighs the same."""
    centre = torch.stack([summary.mean(dim=0) for summary in summaries]).mean(dim=0)
    moments = torch.stack([((summary - centre).T @ (summary - centre)) / len(summary) for summary in summaries]).mean(dim=0)
    deviation = moments.diagonal().sqrt().clamp(min=0.05)
    correlation = moments / deviation.outer(deviation)
    correlation = (1 - SHRINK) * correlation + SHRINK * torch.eye(len(deviation))
    values, vectors = torch.linalg.eigh(correlation.double())
    whitening = (vectors / values.clamp(min=1e-3).sqrt()).float() / deviation.unsqueeze(1)
    return Space(centre, whitening)


def windows_of(recording: Recording, history_s: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield EEG and mask [b, 7680] of a case's label times in batches; what lies before the case or the history is masked."""
    padded = np.concatenate([np.zeros(SAMPLES, np.float32), recording.eeg])
    position = np.arange(SAMPLES)
    for start in range(0, recording.ends.size, BATCH):
        ends = recording.ends[start : start + BATCH, None]
        mask = (position >= SAMPLES - np.minimum(ends, history_s * RATE_HZ)).astype(np.float32)
        yield torch.from_numpy(padded[ends + position] * mask), torch.from_numpy(mask)


def judged_case(recording: Recording, position: int, members: tuple[DepthNetwork, ...], history_s: int) -> Judged:
    """Return what the members say of one case, its EEG on the first channel and the second absent; `distance` is still 0."""
    frontend, rows = FrontEnd(), []
    with torch.inference_mode():
        for eeg, mask in windows_of(recording, history_s):
            features, counts = frontend(eeg, mask)
            both = torch.stack([features, torch.zeros_like(features)], dim=1), torch.stack([counts, torch.zeros_like(counts)], dim=1)
            said = [member(*both) for member in members]
            index = torch.stack([index for index, _, _ in said]).mean(dim=0).clamp(0, 100)
            spread = torch.stack([spread for _, spread, _ in said]).mean(dim=0)
            state = torch.stack([torch.softmax(logits, dim=1) for _, _, logits in said]).mean(dim=0)
            rows.append((index, spread, state, summary_of(features, counts)))
    index, spread, state, summary = (torch.cat(column) for column in zip(*rows, strict=True))
    count = len(index)
    return Judged(
        np.full(count, position, np.int64),
        recording.index.astype(np.float64),
        index.numpy().astype(np.float64),
        spread.numpy().astype(np.float64),
        state.numpy().astype(np.float64),
        np.zeros(count),
        summary,
    )


def joined(cases: list[Judged]) -> Judged:
    """Return the rows of all cases, in their order."""
    arrays = {
        name: np.concatenate([getattr(case, name) for case in cases])
        for name in ("case", "index", "predicted", "spread", "state", "distance")
    }
    return Judged(**arrays, summary=torch.cat([case.summary for case in cases]))


def out_of_fold(recordings: tuple[Recording, ...], fitted: Fitted, history_s: int, spaces: dict[int, Space]) -> Judged:
    """Return every case as the networks of its fold and the space of its fold see it."""
    names = [recording.case for recording in recordings]
    cases = []
    for fold, held in enumerate(folds_of(names)):
        for position in (names.index(name) for name in held):
            case = judged_case(recordings[position], position, fitted.folds[fold], history_s)
            case.distance[:] = spaces[fold].distance(case.summary)
            cases.append(case)
    return joined(sorted(cases, key=lambda case: int(case.case[0])))


def spaces_of(recordings: tuple[Recording, ...], fitted: Fitted) -> dict[int, Space]:
    """Return, for each fold, the space of the cases its networks were fitted on; under -1 that of all cases."""
    names = [recording.case for recording in recordings]
    summaries = [judged_case(recording, 0, fitted.whole[:1], SAMPLES // RATE_HZ).summary for recording in recordings]
    groups = {-1: names} | {fold: [name for name in names if name not in held] for fold, held in enumerate(folds_of(names))}
    return {fold: space_of([summaries[names.index(name)] for name in group]) for fold, group in groups.items()}


def interval_quantile(judged: Judged, but: int | None = None) -> float:
    """Return the 90 % quantile of error over spread, cases balanced; `but` leaves one case out."""
    kept = judged.case != (-1 if but is None else but)
    scores = np.abs(judged.predicted - judged.index) / judged.spread
    return case_balanced_quantile(scores[kept], judged.case[kept], ALPHA)


def distance_quantile(judged: Judged, but: int | None = None) -> float:
    """Return the 99th percentile of distance, cases balanced; `but` leaves one case out."""
    kept = judged.case != (-1 if but is None else but)
    return case_balanced_quantile(judged.distance[kept], judged.case[kept], REFUSED)


def _without_own(judged: Judged, quantile: dict[int, float]) -> Floats:
    return np.array([quantile[int(case)] for case in judged.case])


def error_of(index: Floats, predicted: Floats) -> dict[str, float]:
    """Return the plain figures of agreement, in index points and shares."""
    limits = agreement.bland_altman(index, predicted)
    return {
        "mae": agreement.mean_absolute_error(index, predicted),
        "rmse": agreement.root_mean_square_error(index, predicted),
        "ccc": agreement.concordance(index, predicted),
        "bias": limits.bias,
        "limit_low": limits.low,
        "limit_high": limits.high,
        "state_accuracy": agreement.state_accuracy(index, predicted),
        "macro_state_accuracy": agreement.macro_state_accuracy(index, predicted),
    }


def by_state(index: Floats, values: Floats) -> dict[str, float]:
    """Return the mean of values in each state of the reference index."""
    states = agreement.states_of(index)
    return {name: float(values[states == state].mean()) for state, name in enumerate(STATES) if (states == state).any()}


def report(judged: Judged, names: list[str], seed: int) -> dict[str, object]:
    """Return all figures of one history: pooled, by state, by case, with 95 % intervals by bootstrap over cases."""
    index, predicted = judged.index, judged.predicted
    cases = sorted(set(judged.case.tolist()))
    series = tuple((index[judged.case == case], predicted[judged.case == case]) for case in cases)
    half = judged.spread * _without_own(judged, {case: interval_quantile(judged, case) for case in cases})
    low, high = np.maximum(predicted - half, 0), np.minimum(predicted + half, 100)
    inside = ((low <= index) & (index <= high)).astype(np.float64)
    scored = judged.distance <= _without_own(judged, {case: distance_quantile(judged, case) for case in cases})
    of_case = {names[case]: agreement.mean_absolute_error(*pair) for case, pair in zip(cases, series, strict=True)}
    covered = {names[case]: float(inside[judged.case == case].mean()) for case in cases}
    by_head = judged.state.argmax(axis=1)
    return {
        "label_times": int(index.size),
        **error_of(index, predicted),
        "mae_interval": agreement.bootstrap_over_cases(agreement.mean_absolute_error, series, np.random.default_rng(seed)),
        "ccc_interval": agreement.bootstrap_over_cases(agreement.concordance, series, np.random.default_rng(seed)),
        "mae_mean_of_cases": float(np.mean(list(of_case.values()))),
        "mae_median_of_cases": float(np.median(list(of_case.values()))),
        "mae_by_state": by_state(index, np.abs(predicted - index)),
        "state_recall": {STATES[state]: share for state, share in agreement.state_recall(index, predicted).items()},
        "state_accuracy_of_probabilities": float((by_head == agreement.states_of(index)).mean()),
        "mae_by_case": of_case,
        "coverage": float(inside.mean()),
        "coverage_mean_of_cases": float(np.mean(list(covered.values()))),
        "coverage_by_state": by_state(index, inside),
        "coverage_by_case": covered,
        "interval_width_median": float(np.median(high - low)),
        "scored_share": float(scored.mean()),
        "scored_share_by_case": {names[case]: float(scored[judged.case == case].mean()) for case in cases},
        "mae_scored": agreement.mean_absolute_error(index[scored], predicted[scored]),
    }
