"""The loss of a network that says the index: near to it, in concordance with it, and aware of its own error."""

import torch
from torch import Tensor, nn

UNIT = 10.0  # index points that the smooth L1 takes as one
BEND = 0.5  # of these units: the loss is quadratic below and linear above
LIKELIHOOD = 0.1  # weight of the spread's likelihood


def concordance(predicted: Tensor, index: Tensor) -> Tensor:
    """Return Lin's concordance correlation coefficient of one batch."""
    covariance = ((predicted - predicted.mean()) * (index - index.mean())).mean()
    gap = (predicted.mean() - index.mean()) ** 2
    agreement: Tensor = 2 * covariance / (predicted.var(correction=0) + index.var(correction=0) + gap + 1e-6)
    return agreement


def index_loss(predicted: Tensor, spread: Tensor, index: Tensor, *, agreement: float = 1.0) -> Tensor:
    """Return the loss of one batch, all [B] in index points: smooth L1, concordance, and the error's Laplace likelihood.

    `agreement` is the weight of concordance. The likelihood teaches `spread`, the error to expect, and leaves `predicted` alone.
    """
    near = nn.functional.smooth_l1_loss(predicted / UNIT, index / UNIT, beta=BEND)
    error = (predicted.detach() - index).abs()
    likelihood = (torch.log(spread) + error / spread).mean()
    loss: Tensor = near + agreement * (1 - concordance(predicted, index)) + LIKELIHOOD * likelihood
    return loss
