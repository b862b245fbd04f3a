"""What a bundle ships: window in, index with interval, state and distance out. Front end, networks and calibration in one module."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.frontend import FEATURES, FRAMES, FrontEnd
from training.networks import DepthNetwork

SHORT_FRAMES = 19  # whole 2 s frames of 20 s, the least history that may be scored
NOWHERE = 1000.0  # distance of a window without a single whole frame
GROUPS = 5
SUMMARY = FEATURES + GROUPS + 1


class Calibration(NamedTuple):
    """What out-of-fold predictions and distances gave, for the full window and for 20 s of history; between, a straight line."""

    centre: Tensor  # [35] of the window summaries
    whitening: Tensor  # [35, 35]: distance = norm of (summary - centre) @ whitening
    interval: tuple[float, float]  # half width in spreads, full and short
    distance: tuple[float, float]  # 99th percentile, full and short


def summary_of(features: Tensor, counts: Tensor) -> Tensor:
    """Return [N, 35]: mean of each feature over the frames that count, and how much level and five broad bands vary between frames."""
    total = counts.sum(dim=1, keepdim=True).clamp(min=1.0)
    weight = (counts / total).unsqueeze(2)
    mean = (features * weight).sum(dim=1)
    broad = torch.stack(
        [
            features[:, :, 0:4].mean(dim=2),
            features[:, :, 4:8].mean(dim=2),
            features[:, :, 8:13].mean(dim=2),
            features[:, :, 13:21].mean(dim=2),
            features[:, :, 21:27].mean(dim=2),
            features[:, :, 27],
        ],
        dim=2,
    )
    broad_mean = (broad * weight).sum(dim=1, keepdim=True)
    variation = (((broad - broad_mean) ** 2) * weight).sum(dim=1).sqrt()
    return torch.cat([mean, variation], dim=1)


class Scorer(nn.Module):
    """The mean of several networks behind one front end, calibrated."""

    centre: Tensor
    whitening: Tensor
    interval: Tensor
    distance: Tensor

    def __init__(self, members: tuple[DepthNetwork, ...], calibration: Calibration) -> None:
        """Join networks and calibration."""
        super().__init__()
        self.frontend = FrontEnd()
        self.members = nn.ModuleList(members)
        # TorchScript sees no module constants, only attributes.
        self.short, self.nowhere, self.span = float(SHORT_FRAMES), NOWHERE, float(FRAMES - SHORT_FRAMES)
        self.register_buffer("centre", calibration.centre)
        self.register_buffer("whitening", calibration.whitening)
        self.register_buffer("interval", torch.tensor(calibration.interval))
        self.register_buffer("distance", torch.tensor(calibration.distance))

    def forward(self, eeg: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return index, low, high [B], state probability [B, 4], out-of-distribution [B] from microvolt and mask [B, 2, 7680]."""
        batch = eeg.size(0)
        rows, counted = self.frontend((eeg * mask).reshape(batch * 2, -1), mask.reshape(batch * 2, -1))
        features = rows.reshape(batch, 2, rows.size(1), rows.size(2))
        counts = counted.reshape(batch, 2, -1)
        index = torch.zeros(batch, dtype=eeg.dtype, device=eeg.device)
        spread = torch.zeros_like(index)
        state = torch.zeros(batch, 4, dtype=eeg.dtype, device=eeg.device)
        for member in self.members:
            of_member = member(features, counts)
            index = index + of_member[0]
            spread = spread + of_member[1]
            state = state + torch.softmax(of_member[2], dim=1)
        members = float(len(self.members))
        index = (index / members).clamp(0.0, 100.0)
        # Per channel: 0 with 20 s of history or less, 1 with the whole window.
        history = ((counts.sum(dim=2) - self.short) / self.span).clamp(0.0, 1.0)
        longest = history.amax(dim=1)
        half = spread / members * (self.interval[1] + (self.interval[0] - self.interval[1]) * longest)
        limit = self.distance[1] + (self.distance[0] - self.distance[1]) * history
        ratio = (self.distances(rows, counted).reshape(batch, 2) / limit).amax(dim=1)
        empty = counts.sum(dim=2).amax(dim=1) < 1.0
        ratio = torch.where(empty, torch.full_like(ratio, self.nowhere), ratio)
        return index, (index - half).clamp(min=0.0), (index + half).clamp(max=100.0), state / members, ratio

    def distances(self, rows: Tensor, counted: Tensor) -> Tensor:
        """Return each channel's distance [N] from the windows the networks were fitted on; 0 where the channel is absent."""
        offset = torch.matmul(summary_of(rows, counted) - self.centre, self.whitening)
        distance: Tensor = torch.linalg.vector_norm(offset, dim=1) * (counted.sum(dim=1) > 0).to(rows.dtype)
        return distance
