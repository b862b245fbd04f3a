"""The same cases as other amplifiers would have recorded them: gain, clock, noise floor, mains hum, rails."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.signal import resample_poly
from torch import Tensor

from training.datasets import RATE_HZ, Float32, Recording
from training.frontend import FRAME, HOP, FrontEnd

SEGMENT_S = 120  # one imagined amplifier setting holds for this long
RATE_PERCENT = 3  # covers the ambiguity of 128 and 125 Hz in the recordings
GAINS = (0.7, 1.4)
NOISE_UV = 1.5
HUM_UV = 2.0
HUM_HZ = (50.0, 60.0)
RAILS_UV = (62.5, 125.0, 250.0)


@dataclass(frozen=True)
class Views:
    """Front-end features of all cases in several views: `features` [frames, 29] holds them end to end.

    `last[view, label]` is the row of the newest frame before a label time and `first[view, label]` the first row of that case.
    """

    features: Tensor
    last: Tensor
    first: Tensor
    index: Tensor  # [labels]
    case: Tensor  # [labels], position in the sequence of recordings


def perturbed(eeg: Float32, rng: np.random.Generator) -> Float32:
    """Return the EEG through amplifiers that change every two minutes."""
    out = eeg.copy()
    step = int(SEGMENT_S * RATE_HZ)
    for start in range(0, out.size, step):
        part = out[start : start + step]
        part *= np.exp(rng.uniform(*np.log(GAINS)))
        if rng.random() < 0.5:  # noqa: PLR2004  one setting in two has a worse floor
            part += rng.normal(0, rng.uniform(0, NOISE_UV), part.size)
        if rng.random() < 0.3:  # noqa: PLR2004  some theatres hum
            time_s = np.arange(part.size) / RATE_HZ
            part += rng.uniform(0, HUM_UV) * np.sin(2 * np.pi * rng.choice(HUM_HZ) * time_s + rng.uniform(0, 2 * np.pi))
        rail = rng.choice(RAILS_UV)
        np.clip(part, -rail, rail, out=part)
    return out


def _features(frontend: FrontEnd, eeg: Float32) -> Tensor:
    signal = torch.from_numpy(eeg)[None]
    with torch.inference_mode():
        features, _ = frontend(signal, torch.ones_like(signal))
    return torch.as_tensor(features[0])


def views_of(recordings: tuple[Recording, ...], views: int, seed: int) -> Views:
    """Return the features of every case: view 0 as recorded, the others perturbed, each with a clock of its own."""
    frontend, rng = FrontEnd(), np.random.default_rng(seed)
    features, last, first, row = [], [], [], 0
    for view in range(views):
        last_of_view, first_of_view = [], []
        for recording in recordings:
            percent = 0 if view == 0 else int(rng.integers(-RATE_PERCENT, RATE_PERCENT + 1))
            eeg = recording.eeg if view == 0 else perturbed(recording.eeg, rng)
            if percent:
                eeg = resample_poly(eeg, 100 + percent, 100).astype(np.float32)
            rows = _features(frontend, eeg)
            ends = np.minimum((recording.ends * (100 + percent)) // 100, eeg.size)
            last_of_view.append(np.maximum((ends - FRAME) // HOP, 0) + row)
            first_of_view.append(np.full(ends.size, row))
            features.append(rows)
            row += len(rows)
        last.append(np.concatenate(last_of_view))
        first.append(np.concatenate(first_of_view))
    index = np.concatenate([recording.index for recording in recordings])
    case = np.concatenate([np.full(recording.index.size, position) for position, recording in enumerate(recordings)])
    return Views(
        torch.cat(features),
        torch.from_numpy(np.stack(last)),
        torch.from_numpy(np.stack(first)),
        torch.from_numpy(index),
        torch.from_numpy(case),
    )
