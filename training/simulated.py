"""The scorer on simulated EEG: its error against the simulator's own state, and the windows of the golden vectors.

Nothing is fitted on simulated EEG; these figures tell whether a demonstration on it looks as recordings do.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from anesthesia.agreement import Floats
from services.device_simulator.eeg import eeg_of
from training.evaluate import by_state, error_of
from training.frontend import RATE_HZ, SAMPLES, WINDOW_S

PATIENTS = 24
COURSE_S = 900
EVERY_S = 5
GRID_UV = 0.05  # of the golden windows
AWAKE = 94.0
LEAST_S = 20
SUPPRESSED_BELOW = 30.0  # the simulator suppresses below it, and no recording holds suppression

Forward = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]


def course_of(rng: np.random.Generator) -> Floats:
    """Return a depth each second: awake, induction, maintenance that wanders, emergence."""
    maintained = rng.uniform(34, 56)
    wander = rng.uniform(2, 6) * np.sin(2 * np.pi * (np.arange(COURSE_S) / rng.uniform(180, 400) + rng.random()))
    corners = (0, 90, 90 + rng.uniform(60, 180), COURSE_S - 180, COURSE_S - 30, COURSE_S)
    depth = np.interp(np.arange(COURSE_S), corners, (AWAKE, AWAKE, maintained, maintained, AWAKE - 6, AWAKE - 4))
    settled = np.interp(np.arange(COURSE_S), corners, (0, 0, 1, 1, 0, 0))
    return np.asarray(np.clip(depth + wander * settled, 0, 100), np.float64)


def windows_at(eeg: Floats, seconds: list[int]) -> tuple[Tensor, Tensor]:
    """Return EEG and mask [n, 2, 7680] of the windows that end at these seconds of a course."""
    padded = np.concatenate([np.zeros((2, SAMPLES)), eeg], axis=1).astype(np.float32)
    real = np.concatenate([np.zeros((2, SAMPLES)), np.ones(eeg.shape)], axis=1).astype(np.float32)
    starts = [second * RATE_HZ for second in seconds]
    return tuple(torch.from_numpy(np.stack([x[:, s : s + SAMPLES] for s in starts])) for x in (padded, real))  # type: ignore[return-value]


def unlike_eeg(forward: Forward, seed: int) -> dict[str, dict[str, float]]:
    """Return index and distance that the scorer gives to signals that are no EEG; distances below 1 are what it cannot tell apart."""
    time_s, rng = np.arange(SAMPLES) / RATE_HZ, np.random.default_rng(seed)
    signals = {
        "flat line": np.zeros(SAMPLES),
        "white noise, 1 uV": rng.normal(0, 1, SAMPLES),
        "white noise, 10 uV": rng.normal(0, 10, SAMPLES),
        "sine of 10 Hz, 20 uV": 20 * np.sin(2 * np.pi * 10 * time_s),
        "hum of 50 Hz, 20 uV": 20 * np.sin(2 * np.pi * 50 * time_s),
        "square wave of 1 Hz, 50 uV": 50 * np.sign(np.sin(2 * np.pi * time_s)),
        "random walk, 2 uV a step": np.cumsum(rng.normal(0, 2, SAMPLES)),
    }
    eeg = torch.from_numpy(np.stack([np.stack([signal, signal]) for signal in signals.values()]).astype(np.float32))
    with torch.inference_mode():
        index, _, _, _, ratio = forward(eeg, torch.ones_like(eeg))
    return {name: {"depth": float(index[row]), "distance": float(ratio[row])} for row, name in enumerate(signals)}


def simulated_report(forward: Forward, seed: int) -> dict[str, object]:
    """Return error, coverage and share refused of the scorer over simulated courses, every 5 s from 20 s on."""
    truth, said = [], []
    for patient in range(PATIENTS):
        rng = np.random.default_rng((seed, patient))
        depth = course_of(rng)
        seconds = list(range(LEAST_S, COURSE_S, EVERY_S))
        with torch.inference_mode():
            index, low, high, _, ratio = forward(*windows_at(eeg_of(depth, rng), seconds))
        said.append(torch.stack([index, low, high, ratio]).numpy().astype(np.float64))
        truth.append(depth[np.array(seconds) - 1])
    reference, (predicted, low_edge, high_edge, distance) = np.concatenate(truth), np.concatenate(said, axis=1)
    inside = ((low_edge <= reference) & (reference <= high_edge)).astype(np.float64)
    refused = (distance > 1).astype(np.float64)
    clean = reference >= SUPPRESSED_BELOW
    return {
        "patients": PATIENTS,
        "windows": int(reference.size),
        **error_of(reference, predicted),
        "mae_by_state": by_state(reference, np.abs(predicted - reference)),
        "bias_by_state": by_state(reference, predicted - reference),
        "coverage": float(inside.mean()),
        "refused_share": float(refused[clean].mean()),
        "refused_by_state": by_state(reference, refused),
        "distance_median": float(np.median(distance)),
        "unlike_eeg": unlike_eeg(forward, seed),
    }


def golden_windows(seed: int) -> tuple[Tensor, Tensor]:
    """Return EEG [16, 2, 7680] in microvolt, on a grid of 0.05 uV, and masks: full, one channel, short, and torn windows."""
    rng = np.random.default_rng(seed)
    eeg, mask = windows_at(eeg_of(course_of(rng), rng), [75 + 50 * k for k in range(16)])
    mask = mask.clone()
    mask[1::4, 1] = 0  # only the first channel
    mask[2::4, 0] = 0  # only the second
    mask[3::4, :, : (WINDOW_S - LEAST_S) * RATE_HZ] = 0  # 20 s of history
    mask[4::8, :, 30 * RATE_HZ : 37 * RATE_HZ] = 0  # a gap
    return torch.round(eeg / GRID_UV) * GRID_UV * mask, mask
