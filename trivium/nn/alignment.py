"""How alike two descriptions of the same stimuli are: correlations by column, kernels, and matrices of dissimilarities.

r            Pearson's correlation of each column with its counterpart
reliability  2 r / (1 + r): of the mean of all repeats, by the correlation r of halves (Spearman 1910, Brown 1910)
CKA          |Xc^T Yc|_F^2 / (|Xc^T Xc|_F |Yc^T Yc|_F), columns centred (Kornblith et al. 2019, arXiv:1905.00414)
RSA          Spearman's correlation of 1 - r between all pairs of stimuli in X, with that in Y (Kriegeskorte 2008)
"""

import torch
from jaxtyping import Float
from torch import Tensor


def pearson(x: Float[Tensor, "rows columns"], y: Float[Tensor, "rows columns"]) -> Float[Tensor, "columns"]:
    """r of each column of x with that of y; NaN where either does not vary.

    Raises ValueError for fewer than three rows.
    """
    if x.shape != y.shape or len(x) < 3:
        raise ValueError(
            f"correlations need two tables of one shape and three rows; got {tuple(x.shape)} and {y.shape}"
        )
    x, y = x.double() - x.double().mean(0), y.double() - y.double().mean(0)
    scale = x.norm(dim=0) * y.norm(dim=0)
    varies = scale > 1e-12 * len(x)
    return torch.where(varies, (x * y).sum(0) / scale, float("nan"))


def spearman_brown(r: Float[Tensor, "columns"]) -> Float[Tensor, "columns"]:
    """Reliability of a mean over all repeats by the correlation of two halves of them; that below -1/2 is -1 at least,
    which counts as none either way."""
    return (2 * r / (1 + r).clamp(min=1e-12)).clamp(min=-1.0)


def split_half(
    repeats: Float[Tensor, "repeats stimuli columns"], generator: torch.Generator, splits: int = 20
) -> Float[Tensor, "columns"]:
    """Reliability of each column's mean over repeats (sessions, or subjects): the mean correlation of halves over so
    many ways to halve them, corrected for their length.

    Raises ValueError for fewer than two repeats.
    """
    count = len(repeats)
    if count < 2 or splits < 1:
        raise ValueError(f"halves need two repeats and one split at least, got {count} and {splits}")
    found = torch.zeros(repeats.shape[2], dtype=torch.float64)
    for _ in range(splits):
        order = torch.randperm(count, generator=generator)
        first, second = order[: count // 2], order[count // 2 :]
        found += pearson(repeats[first].double().mean(0), repeats[second].double().mean(0))
    return spearman_brown(found / splits)


def linear_cka(x: Float[Tensor, "rows columns"], y: Float[Tensor, "rows others"]) -> float:
    """0 to 1: 1 where one is a rotation and a scaling of the other. Raises ValueError where either does not vary."""
    x, y = (each.double() - each.double().mean(0) for each in (x, y))
    # By whichever is smaller, the products of columns or the kernels over rows.
    if len(x) < max(x.shape[1], y.shape[1]):
        a, b = x @ x.mT, y @ y.mT
        top, bottom = (a * b).sum(), a.norm() * b.norm()
    else:
        top, bottom = (x.mT @ y).square().sum(), (x.mT @ x).norm() * (y.mT @ y).norm()
    if bottom == 0:
        raise ValueError("one of the two does not vary over stimuli, so that there is nothing to align")
    return float(top / bottom)


def rsa(x: Float[Tensor, "rows columns"], y: Float[Tensor, "rows others"]) -> float:
    """-1 to 1. Raises ValueError for fewer than three stimuli, and for one that is the same in all columns."""
    if len(x) != len(y) or len(x) < 3:
        raise ValueError(f"pairs of stimuli need as many in both, three at least; got {len(x)} and {len(y)}")
    above = torch.triu_indices(len(x), len(x), 1)
    found = []
    for each in (x, y):
        off = each.double() - each.double().mean(1, keepdim=True)
        norm = off.norm(dim=1, keepdim=True)
        if (norm == 0).any():
            raise ValueError(f"stimulus {int((norm[:, 0] == 0).nonzero()[0])} is the same in all columns")
        off = off / norm
        found.append(ranks(1 - (off @ off.mT)[above[0], above[1]]))
    return float(pearson(found[0][:, None], found[1][:, None]))


def ranks(values: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """From 0, those that tie at the mean of their places."""
    _, which, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    return (last - (counts + 1) / 2)[which].double()
