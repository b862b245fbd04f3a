"""What a network must beat: a constant, and a regression on mean spectra, on the same label times and the same folds."""

import numpy as np
import torch

from anesthesia.agreement import Floats
from training.datasets import Recording, folds_of
from training.evaluate import error_of, windows_of
from training.frontend import FEATURES, RATE_HZ, SAMPLES, FrontEnd
from training.scorer import summary_of

FOURIER = 600
WIDTH = 0.12  # of the random frequencies, in standard deviations of a feature
RIDGE = 30.0


def _means(recording: Recording) -> Floats:
    frontend = FrontEnd()
    with torch.inference_mode():
        rows = [summary_of(*frontend(eeg, mask)) for eeg, mask in windows_of(recording, SAMPLES // RATE_HZ)]
    means: Floats = torch.cat(rows)[:, :FEATURES].numpy().astype(np.float64)
    return means


def _ridge(fit: Floats, index: Floats, judge: Floats, rng: np.random.Generator) -> Floats:
    centre, spread = fit.mean(axis=0), fit.std(axis=0) + 1e-6
    frequencies, phases = rng.normal(size=(FEATURES, FOURIER)) * WIDTH, rng.uniform(0, 2 * np.pi, FOURIER)
    left, right = (np.cos(np.clip((x - centre) / spread, -4, 4) @ frequencies + phases) for x in (fit, judge))
    weights = np.linalg.solve(left.T @ left + RIDGE * np.eye(FOURIER), left.T @ (index - index.mean()))
    return np.asarray(np.clip(right @ weights + index.mean(), 0, 100), np.float64)


def controls_of(recordings: tuple[Recording, ...], seed: int) -> dict[str, dict[str, float]]:
    """Return the figures of the constant median of the other cases and of the ridge on random Fourier features."""
    names = [recording.case for recording in recordings]
    means, index = [_means(recording) for recording in recordings], [recording.index.astype(np.float64) for recording in recordings]
    truth, constant, ridge = [], [], []
    for held in folds_of(names):
        inside = [position for position, name in enumerate(names) if name in held]
        others = [position for position in range(len(names)) if position not in inside]
        known = np.concatenate([index[position] for position in others])
        judge = np.concatenate([means[position] for position in inside])
        ridge.append(_ridge(np.concatenate([means[position] for position in others]), known, judge, np.random.default_rng(seed)))
        constant.append(np.full(len(judge), float(np.median(known))))
        truth.append(np.concatenate([index[position] for position in inside]))
    reference = np.concatenate(truth)
    return {
        "constant_median": error_of(reference, np.concatenate(constant)),
        "ridge_on_random_fourier_features": error_of(reference, np.concatenate(ridge)),
    }
