"""Optimal transport between few points and many, both of uniform weight, exactly.

    cost(S) = min over plans of sum_ij plan_ij c_ij,   rows of the plan add up to 1/|S|, columns to 1/items

Where both are repeated up to a common multiple of their sizes, a best plan is a best assignment of equal weights.
"""

import math

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def transport_costs(cost: Float[Tensor, "points items"], chosen: Int[Tensor, "sets size"]) -> Float[Tensor, "sets"]:
    """What it costs to carry each set of points to all items. The order within a set does not matter, so that sets of
    the same points are worked out once."""
    size, items = chosen.shape[1], cost.shape[1]
    common = math.lcm(size, items)
    sets, place = chosen.sort(dim=1).values.unique(dim=0, return_inverse=True)
    wide = cost.double().repeat_interleave(common // items, 1).numpy()
    found = torch.empty(len(sets), dtype=torch.float64)
    for row, points in enumerate(sets.repeat_interleave(common // size, 1).numpy()):
        square = wide[points]
        found[row] = square[linear_sum_assignment(square)].sum() / common
    return found[place]
