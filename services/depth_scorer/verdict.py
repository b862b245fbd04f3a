"""From one due second to its record: what needs no model first, then what the model said. Pure."""

from dataclasses import dataclass, replace

from anesthesia.gate import caveats_of, device_index_of, refusal_of_all, refusal_of_eeg, suppression_of
from anesthesia.limits import Limits
from anesthesia.prediction import (
    LEAVES_TIER_D_OPEN,
    ModelUsed,
    Prediction,
    Record,
    Refusal,
    RefusalReason,
    Tier,
    state_of,
)
from services.depth_scorer.board import Due
from services.depth_scorer.conflict import Conflict

OUT_OF_DISTRIBUTION_ABOVE = 1.0  # feature distance in units of the bundle's 99th calibration percentile


@dataclass(frozen=True, slots=True)
class Scored:
    """What the model said: value and interval (0 to 100), feature distance, and which model it was."""

    value: float
    low: float
    high: float
    out_of_distribution: float
    model: ModelUsed


Verdict = tuple[Record, Conflict]


def before_model(due: Due, limits: Limits) -> Verdict | None:
    """Return the record that needs no model, or None: ask the model."""
    reason = refusal_of_all(due.window, due.circumstances, limits)
    if reason is not None:
        return Refusal(due.of, reason, due.evidence), Conflict()
    suppression = _suppression_shown(due, limits)
    reason = refusal_of_eeg(due.window, due.circumstances, limits)
    if reason is None and suppression is not None:
        # No bundle was validated on burst suppression: the ratio is shown, a network number is not.
        reason = RefusalReason.OUT_OF_DISTRIBUTION
    return None if reason is None else (_without_eeg(due, reason, limits, suppression), Conflict())


def after_model(due: Due, answer: Scored | RefusalReason, limits: Limits) -> Verdict:
    """Return the record of a second that the model was asked for, and the state of disagreement after it."""
    if isinstance(answer, RefusalReason):
        return Refusal(due.of, answer, due.evidence), due.conflict
    if answer.out_of_distribution > OUT_OF_DISTRIBUTION_ABOVE:
        record = _without_eeg(due, RefusalReason.OUT_OF_DISTRIBUTION, limits, None)
        return replace(record, model=answer.model), Conflict()
    index = device_index_of(due.window, due.circumstances, limits)
    conflict = due.conflict.after(due.of.second, answer.value, index, limits)
    if conflict.lasts(due.of.second, limits):
        reason = RefusalReason.CONFLICT_WITH_DEVICE
        return Refusal(due.of, reason, due.evidence, answer.model, index, withheld_value=answer.value), conflict
    prediction = Prediction(
        of=due.of,
        tier=Tier.E,
        value=answer.value,
        low=answer.low,
        high=answer.high,
        evidence=due.evidence,
        state=state_of(answer.value),
        caveats=caveats_of(due.window, limits, late=due.late),
        model=answer.model,
        device_index=index,
        out_of_distribution=answer.out_of_distribution,
    )
    return prediction, conflict


def _suppression_shown(due: Due, limits: Limits) -> float | None:
    ratio = suppression_of(due.window)
    return ratio if ratio is not None and ratio >= limits.suppression_shown_from_percent else None


def _without_eeg(due: Due, reason: RefusalReason, limits: Limits, suppression: float | None) -> Record:
    """Return tier D where the reason leaves it open and the device's index is valid; else the Refusal."""
    index = device_index_of(due.window, due.circumstances, limits)
    if index is None or reason not in LEAVES_TIER_D_OPEN:
        return Refusal(due.of, reason, due.evidence, suppression_ratio=suppression)
    return Prediction(
        of=due.of,
        tier=Tier.D,
        value=index.value,
        low=index.value,
        high=index.value,
        evidence=replace(due.evidence, observed_until=index.observed_at),
        state=state_of(index.value),
        instead_of_e=reason,
        device_index=index,
        suppression_ratio=suppression,
    )
