"""The descent that every fit takes: AdamW, the rate going up and down once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Descent:
    """How a network goes down its loss."""

    steps: int
    rate: float  # the highest of the cycle
    decay: float
    longest_gradient: float | None = 1.0  # a longer one is cut to this norm; None: never


def descended(network: Network, next_loss: Callable[[], Tensor], descent: Descent) -> Network:
    """Return the network after its descent, in evaluation mode; `next_loss` draws a batch and gives the network's loss on it."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=descent.rate, weight_decay=descent.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=descent.rate, total_steps=descent.steps)
    network.train()
    for _ in range(descent.steps):
        loss = next_loss()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no annotation
        if descent.longest_gradient is not None:
            nn.utils.clip_grad_norm_(network.parameters(), descent.longest_gradient)
        optimiser.step()
        schedule.step()
    return network.eval()
