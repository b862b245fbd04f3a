"""The depth network: a small causal convolution over seconds, its encoder shared by both channels, and the scorer around it.

`Scorer` is what a bundle ships: window in, index with interval, state and distance out, with nothing left to do outside.
"""

import torch
from torch import Tensor, nn

from training.frontend import FEATURES, FRAMES

HIDDEN = 32
POOLS = 3
DILATIONS = (1, 2, 4, 8)
STATES = 4
CENTRE, SPREAD = 50.0, 25.0  # the index before anything is learned, and one unit of the last layer
LEAST_ERROR, ERROR = 2.0, 8.0  # index points: no estimate of the own error is below the first


class CausalBlock(nn.Module):
    """A residual convolution that sees the present frame and two earlier ones, `dilation` frames apart."""

    def __init__(self, dilation: int, dropout: float) -> None:
        """Make one block."""
        super().__init__()
        self.padding = 2 * dilation
        self.convolution = nn.Conv1d(HIDDEN, HIDDEN, 3, dilation=dilation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, counts: Tensor) -> Tensor:
        """Return [B, hidden, T]; frames that do not count [B, 1, T] stay 0."""
        earlier = nn.functional.pad(hidden, (self.padding, 0))
        heard: Tensor = (hidden + self.dropout(nn.functional.silu(self.convolution(earlier)))) * counts
        return heard


class DepthNetwork(nn.Module):
    """Index, spread of its error and state logits from the front end's features of both channels."""

    centre: Tensor
    spread: Tensor

    def __init__(self, centre: Tensor, spread: Tensor, dropout: float = 0.2) -> None:
        """Make a network; `centre` and `spread` [29] normalise the features."""
        super().__init__()
        # TorchScript sees no module constants, only attributes.
        self.middle, self.unit, self.least_error, self.error = CENTRE, SPREAD, LEAST_ERROR, ERROR
        self.register_buffer("centre", centre)
        self.register_buffer("spread", spread)
        self.enter = nn.Conv1d(FEATURES, HIDDEN, 1)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([CausalBlock(dilation, dropout) for dilation in DILATIONS])
        self.recency = nn.Parameter(torch.stack([torch.linspace(-slope, 0.0, FRAMES) for slope in (0.0, 3.0, 8.0)]))
        self.mix = nn.Linear(POOLS * HIDDEN, HIDDEN)
        self.leave = nn.Linear(HIDDEN, 2 + STATES)

    def forward(self, features: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return index [B], spread of the error [B] and state logits [B, 4] from features [B, 2, T, 29] and counts [B, 2, T]."""
        batch, channels, frames = counts.size(0), counts.size(1), counts.size(2)
        scaled = ((features - self.centre) / self.spread).clamp(-6.0, 6.0)
        rows = scaled.reshape(batch * channels, frames, scaled.size(3)).transpose(1, 2)
        encoded = nn.functional.silu(self.enter(self.dropout(rows))).reshape(batch, channels, -1, frames)
        # Both channels have one encoder; what is there is averaged, so that a lost electrode leaves the other's own answer.
        weight = counts.unsqueeze(2)
        hidden = (encoded * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)
        present = counts.amax(dim=1).unsqueeze(1)
        hidden = hidden * present
        for block in self.blocks:
            hidden = block(hidden, present)
        share = torch.softmax(self.recency.unsqueeze(0) + (present - 1.0) * 1e4, dim=2)
        pooled = torch.matmul(hidden, share.transpose(1, 2)).flatten(1)
        out = self.leave(self.dropout(nn.functional.silu(self.mix(pooled))))
        index = self.middle + self.unit * out[:, 0]
        spread = self.least_error + self.error * nn.functional.softplus(out[:, 1])
        return index, spread, out[:, 2:]
