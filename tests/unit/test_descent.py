"""What all fits share: the loss of the index and the descent along it. On made-up numbers."""

import numpy as np
import pytest
import torch
from torch import nn

from anesthesia import agreement
from training.descent import Descent, descended
from training.loss import concordance, index_loss

INDEX = torch.tensor([20.0, 35.0, 50.0, 60.0, 95.0])
SPREAD = torch.full((5,), 5.0)


def line(steps: int = 20, **more) -> nn.Linear:
    """Return a line fitted to a much steeper one."""
    torch.manual_seed(3)
    network, x = nn.Linear(1, 1), torch.arange(8.0).unsqueeze(1)
    return descended(network, lambda: nn.functional.mse_loss(network(x), 100 * x), Descent(steps, rate=0.1, decay=0.0, **more))


def longest_gradient(network: nn.Module) -> float:
    """Return the norm of what the last step followed."""
    return float(torch.cat([parameter.grad.flatten() for parameter in network.parameters()]).norm())


def test_the_concordance_of_a_batch_is_that_of_the_evaluation():
    predicted = INDEX * 0.8 + torch.tensor([3.0, -2.0, 6.0, 0.0, 1.0])

    said = float(concordance(predicted, INDEX))

    assert said == pytest.approx(agreement.concordance(INDEX.numpy().astype(np.float64), predicted.numpy().astype(np.float64)), abs=1e-6)


def test_the_loss_is_least_at_the_index_and_without_concordance_a_constant_costs_less():
    constant = torch.full((5,), 50.0)

    right, wrong, forgiven = (float(index_loss(said, SPREAD, INDEX, agreement=w)) for said, w in ((INDEX, 1), (constant, 1), (constant, 0)))

    assert right < forgiven < wrong
    assert wrong - forgiven == pytest.approx(1.0)  # a constant has no concordance at all


def test_the_likelihood_teaches_the_spread_and_not_the_index():
    predicted, spread = (INDEX + 4.0).requires_grad_(), SPREAD.clone().requires_grad_()

    index_loss(predicted, spread, INDEX).backward()
    taught = predicted.grad.clone()
    predicted.grad = None
    index_loss(predicted, SPREAD * 3, INDEX).backward()

    assert torch.equal(taught, predicted.grad)
    assert (spread.grad > 0).all()  # 5 points were expected, 4 it was: the spread is to shrink


def test_a_long_gradient_is_cut_unless_it_is_left_alone():
    assert longest_gradient(line()) == pytest.approx(1.0, rel=1e-4)
    assert longest_gradient(line(longest_gradient=None)) > 100


def test_the_network_comes_back_nearer_to_its_aim_and_in_evaluation_mode():
    untaught, taught = line(steps=1), line(steps=200)

    assert not taught.training
    assert taught.weight.item() > untaught.weight.item() + 5


def test_the_same_descent_gives_the_same_bytes():
    assert all(torch.equal(one, other) for one, other in zip(line().parameters(), line().parameters(), strict=True))
