"""Choosing among experts by what they lose and what they cost: choices, fronts and regret.

choice = argmin_i  L_i + weight C_i;   the front: pairs of mean cost and mean loss that none is below in both
regret = mean(L_choice - min_i L_i);   selection accuracy = share of rows whose choice has the least loss
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor


def choices(
    losses: Float[Tensor, "rows experts"], cost: Float[Tensor, "*rows experts"], weight: float = 1.0
) -> Int[Tensor, "rows"]:
    """Of each row the expert of least loss and weighted cost; of equals the first. Raises ValueError for a negative
    weight, which would seek what is dear."""
    if weight < 0:
        raise ValueError(f"the weight of a cost must not be negative, got {weight}")
    return (losses + weight * cost).argmin(-1)


def swept(
    losses: Float[Tensor, "rows experts"], cost: Float[Tensor, "experts"], weights: Float[Tensor, "weights"]
) -> Int[Tensor, "weights rows"]:
    """The choices under each weight."""
    if (weights < 0).any():
        raise ValueError(f"the weight of a cost must not be negative, got {float(weights.min())}")
    return (losses + weights[:, None, None] * cost).argmin(-1)


def undominated(loss: Float[Tensor, "points"], cost: Float[Tensor, "points"]) -> Bool[Tensor, "points"]:
    """Which points are on the front: no other is as good in both and better in one."""
    no_worse = (loss[None] <= loss[:, None]) & (cost[None] <= cost[:, None])
    better = (loss[None] < loss[:, None]) | (cost[None] < cost[:, None])
    return ~(no_worse & better).any(1)


def regrets(losses: Float[Tensor, "rows experts"], choice: Int[Tensor, "rows"]) -> Float[Tensor, "rows"]:
    """What each row loses above the least it could have lost."""
    return losses.gather(1, choice[:, None])[:, 0] - losses.amin(1)
