import itertools

import pytest
import torch

from trivium.core.seeds import generator
from trivium.nn.routing import choices, regrets, swept, undominated


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=generator(seed, "rand"), dtype=torch.float64)


def test_limits_of_the_weight():
    losses, cost = rand(30, 5), rand(5, seed=1)
    assert torch.equal(choices(losses, cost, 0.0), losses.argmin(1))
    assert (choices(losses, cost, 1e9) == cost.argmin()).all()
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        choices(losses, cost, -1.0)
    with pytest.raises(ValueError, match=r"must not be negative, got -0\.5"):
        swept(losses, cost, torch.tensor([0.1, -0.5], dtype=torch.float64))


def test_cost_falls_and_loss_grows_with_the_weight():
    losses, cost = rand(30, 5), rand(5, seed=1)
    weights = torch.linspace(0, 3, 40, dtype=torch.float64)
    taken = swept(losses, cost, weights)
    for row, weight in zip(taken, weights.tolist(), strict=True):
        assert torch.equal(row, choices(losses, cost, weight))
    spent = cost[taken].mean(1)
    lost = torch.stack([losses.gather(1, row[:, None]).mean() for row in taken])
    assert (spent.diff() <= 1e-12).all()
    assert (lost.diff() >= -1e-12).all()
    assert spent[0] > spent[-1]


def test_the_front_by_hand_and_by_a_loop():
    loss = torch.tensor([3.0, 2.0, 2.0, 1.0, 1.0, 3.5])
    cost = torch.tensor([1.0, 2.0, 3.0, 4.0, 4.0, 1.0])
    assert undominated(loss, cost).tolist() == [True, True, False, True, True, False]
    loss, cost = rand(40, seed=2), rand(40, seed=3)
    front = undominated(loss, cost).nonzero()[:, 0].tolist()
    for one, other in itertools.permutations(front, 2):
        assert loss[one] < loss[other] or cost[one] < cost[other]
    for point in set(range(40)) - set(front):
        assert any(loss[one] <= loss[point] and cost[one] <= cost[point] for one in front)


def test_regret():
    losses = torch.tensor([[1.0, 3.0], [5.0, 4.5]])
    assert regrets(losses, torch.tensor([1, 1])).tolist() == [2.0, 0.0]
    assert (regrets(losses, losses.argmin(1)) == 0).all()
