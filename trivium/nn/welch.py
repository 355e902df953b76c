"""Welch's t of many columns at once: how far two groups differ, in standard errors, without assuming equal spread.

t = (mean a - mean b) / sqrt(var a / n_a + var b / n_b);   variances with n - 1
"""

import torch
from jaxtyping import Float
from torch import Tensor


def welch_t(a: Float[Tensor, "some units"], b: Float[Tensor, "others units"]) -> Float[Tensor, "units"]:
    """t of each column in float64. A column that is the same number throughout has t = 0, never NaN; one that varies
    between the groups alone, and not within, has an infinite one.

    Raises ValueError for a group of fewer than two rows or a number that is not finite.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a variance needs two rows in each group, got {len(a)} and {len(b)}")
    a, b = a.double(), b.double()
    for name, group in (("first", a), ("second", b)):
        if not group.isfinite().all():
            row, unit = (~group.isfinite()).nonzero()[0].tolist()
            raise ValueError(f"unit {unit} of row {row} in the {name} group is not finite; drop that row")
    gap = a.mean(0) - b.mean(0)
    constant = (a == a[:1]).all(0) & (b == b[:1]).all(0)  # the mean of equal numbers may be rounded
    gap = torch.where(constant, a[0] - b[0], gap)
    error = torch.where(constant, 0.0, (a.var(0) / len(a) + b.var(0) / len(b)).sqrt())
    return torch.where(gap == 0, 0.0, gap / error)


def welch_t_reference(a: Float[Tensor, "some units"], b: Float[Tensor, "others units"]) -> Float[Tensor, "units"]:
    """``welch_t`` column by column."""
    found = []
    for x, y in zip(a.double().mT.tolist(), b.double().mT.tolist(), strict=True):
        means = sum(x) / len(x), sum(y) / len(y)
        spread = [
            sum((one - mean) ** 2 for one in each) / (len(each) - 1) / len(each)
            for each, mean in zip((x, y), means, strict=True)
        ]
        found.append(0.0 if means[0] == means[1] else (means[0] - means[1]) / sum(spread) ** 0.5)
    return torch.tensor(found, dtype=torch.float64)


def largest(values: Float[Tensor, "units"], count: int) -> Tensor:
    """(units,) bool: so many of the largest values, of equal ones those that come first.

    Raises ValueError for a count that is none of 1 to the number of units.
    """
    if not 1 <= count <= len(values):
        raise ValueError(f"count must be 1 to the {len(values)} units there are, got {count}")
    mask = torch.zeros(len(values), dtype=torch.bool, device=values.device)
    mask[values.argsort(descending=True, stable=True)[:count]] = True
    return mask
