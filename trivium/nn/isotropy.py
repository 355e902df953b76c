"""Where the vectors of a set point: cosines of pairs without a loop over pairs, and what a covariance says.

    sum over i != j of cos(h_i, h_j) = |sum_i u_i|^2 - n,   u = h / |h|
    participation ratio = (sum lambda)^2 / sum lambda^2 = tr(C)^2 / |C|_F^2,   lambda the eigenvalues of covariance C
    IsoScore = (participation ratio - 1) / (width - 1):  0 on one line, 1 where all directions vary alike

IsoScore is that of Rudman et al. 2022, arXiv:2108.07344, whose steps (sort, normalise, distance to the identity) come
to this.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def units(hidden: Float[Tensor, "*batch width"], mask: Bool[Tensor, "*batch"]) -> Float[Tensor, "*batch width"]:
    """The vectors at length 1 in float64, and nothing where the mask is off.

    Raises ValueError for a marked vector that is not finite, or has length 0 and so no direction, with its place.
    """
    wide = torch.where(mask[..., None], hidden.double(), 0.0)  # padding may hold anything
    if not wide.isfinite().all():
        raise ValueError("a hidden state is not finite; check the model's weights, or use a wider dtype")
    norm = wide.norm(dim=-1, keepdim=True)
    zero = mask & (norm[..., 0] == 0)
    if zero.any():
        at = tuple(zero.nonzero()[0].tolist())
        raise ValueError(f"the state at {at} has norm 0 and so no direction; leave that token or text out")
    return wide / norm.clamp(min=torch.finfo(wide.dtype).tiny)


def cosines(
    hidden: Float[Tensor, "batch time width"], mask: Bool[Tensor, "batch time"]
) -> tuple[Float[Tensor, "batch"], Int[Tensor, "batch"]]:
    """Sum of the cosines of all ordered pairs of distinct marked vectors of a row in float64, and how many pairs."""
    count = mask.sum(1)
    return units(hidden, mask).sum(1).square().sum(-1) - count, count * (count - 1)


def cosines_reference(
    hidden: Float[Tensor, "batch time width"], mask: Bool[Tensor, "batch time"]
) -> tuple[Float[Tensor, "batch"], Int[Tensor, "batch"]]:
    """``cosines`` pair by pair."""
    sums, counts = [], []
    for row, kept in zip(hidden.double(), mask, strict=True):
        some = row[kept]
        pairs = [(i, j) for i in range(len(some)) for j in range(len(some)) if i != j]
        sums.append(sum((torch.cosine_similarity(some[i], some[j], dim=0) for i, j in pairs), some.new_zeros(())))
        counts.append(len(pairs))
    return torch.stack(sums), torch.tensor(counts)


def participation_ratio(covariance: Float[Tensor, "width width"]) -> float:
    """How many directions the variance is spread over: 1 to width. Raises ValueError where nothing varies."""
    spread = covariance.diagonal().sum()
    if spread <= 0:
        raise ValueError("all vectors are alike, so that no direction varies; give more or longer texts")
    return float(spread.square() / covariance.square().sum())


def iso_score(covariance: Float[Tensor, "width width"]) -> float:
    """0 where one direction has all the variance, 1 where all have the same. A width of 1 has no other direction."""
    width = len(covariance)
    return (participation_ratio(covariance) - 1) / (width - 1) if width > 1 else 1.0


def top_shares(squares: Float[Tensor, "width"], counts: Sequence[int] = (1, 3, 5)) -> dict[int, float]:
    """Count -> the share of the squared norm that so many dimensions hold, the largest ones."""
    held = squares.sort(descending=True).values.cumsum(0)
    return {count: float(held[min(count, len(held)) - 1] / held[-1]) for count in counts}
