"""What a bundle answers at every label time of a recording, on the way that serving takes: the gate's refusals, the runner, the distance.

The recording has one EEG channel, so the second is absent. It tells nothing else: the gate sees no SQI, no muscle, no contact, and the
patient counts as an adult.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import numpy as np
import torch

from anesthesia.gate import Circumstances, refusal_of_eeg
from anesthesia.limits import Limits
from anesthesia.occupancy import Covariates
from anesthesia.prediction import RefusalReason
from anesthesia.signal import EEG_CHANNELS
from anesthesia.window import SPAN_SAMPLES, Window
from model_server.runner import Scored
from model_server.tensors import NotFinite
from model_server.tensors import Window as ModelWindow
from services.depth_scorer.verdict import OUT_OF_DISTRIBUTION_ABOVE
from training.datasets import RATE_HZ, Float32, Recording
from training.figures import Said
from training.scorer import Scorer

BATCH = 32  # as large as the model server's own


class Model(Protocol):
    """What is evaluated: `model_server.runner.Runner` on a bundle, or `Eager` on networks that were just fitted."""

    def score(self, windows: Sequence[ModelWindow]) -> list[Scored | NotFinite]:
        """Return one answer a window, in order."""
        ...


class Eager:
    """A scorer that is no bundle, with the runner's answers."""

    def __init__(self, scorer: Scorer | torch.jit.ScriptModule) -> None:
        """Take a scorer, which is put into evaluation mode."""
        self._scorer = scorer.eval()

    def score(self, windows: Sequence[ModelWindow]) -> list[Scored | NotFinite]:
        """Return one answer a window, in order."""
        with torch.inference_mode():
            eeg, mask = (torch.from_numpy(np.stack([getattr(window, name) for window in windows])) for name in ("eeg", "mask"))
            value, low, high, state, distance = (answer.numpy() for answer in self._scorer(eeg, mask))
        return [
            Scored(float(value[row]), float(low[row]), float(high[row]), tuple(map(float, state[row])), float(distance[row]))
            for row in range(len(windows))
        ]


@dataclass(frozen=True, eq=False)
class Answers:
    """One case: the number at each label time as the gate lets it through (`shown`), and as if nothing were refused (`raw`)."""

    shown: Said
    raw: Said
    refused: Counter[RefusalReason]


def window_at(eeg: Float32, end: int) -> Window:
    """Return the scorer's window whose newest sample is the one before `end`."""
    microvolt, mask = np.zeros((len(EEG_CHANNELS), SPAN_SAMPLES), np.float32), np.zeros((len(EEG_CHANNELS), SPAN_SAMPLES), np.bool_)
    newest = eeg[max(0, end - SPAN_SAMPLES) : end]
    microvolt[0, SPAN_SAMPLES - newest.size :] = newest
    mask[0, SPAN_SAMPLES - newest.size :] = True
    return Window(UUID(int=0), int(end // RATE_HZ), microvolt, mask, {}, Covariates())


def _batch(windows: Sequence[Window], model: Model) -> list[Scored | NotFinite]:
    return model.score([ModelWindow(window.model_eeg, window.model_mask.astype(np.float32)) for window in windows])


def answers_of(recording: Recording, model: Model, minimum_coverage_s: float, limits: Limits) -> Answers:
    """Return what serving would answer at each label time of a case."""
    circumstances = Circumstances(adult_only=True, minimum_coverage_s=minimum_coverage_s)
    count, refused = recording.ends.size, Counter[RefusalReason]()
    raw, shown = np.full((3, count), np.nan), np.zeros(count, np.bool_)
    for start in range(0, count, BATCH):
        windows = [window_at(recording.eeg, int(end)) for end in recording.ends[start : start + BATCH]]
        for row, (window, answer) in enumerate(zip(windows, _batch(windows, model), strict=True), start):
            reason = refusal_of_eeg(window, circumstances, limits)
            if isinstance(answer, NotFinite):
                reason = reason or RefusalReason.MODEL_UNAVAILABLE
            else:
                raw[:, row] = answer.value, answer.low, answer.high
                if reason is None and answer.out_of_distribution > OUT_OF_DISTRIBUTION_ABOVE:
                    reason = RefusalReason.OUT_OF_DISTRIBUTION
            shown[row] = reason is None
            if reason is not None:
                refused[reason] += 1
    whole = Said(recording.case, recording.ends / RATE_HZ, recording.index.astype(np.float64), *raw)
    value, low, high = np.where(shown, raw, np.nan)
    return Answers(Said(whole.case, whole.at_s, whole.reference, value, low, high), whole, refused)
