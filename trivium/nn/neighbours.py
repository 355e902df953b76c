"""Rows as weighted means of other rows that are like them: the core of vocabulary transplantation.

sparsemax(z) = max(z - t, 0),  t such that it sums to 1: the point of the simplex that is nearest to z
nearest(x, y, k, T): of the k rows of y with the largest cosine to x, weights softmax(cosine / T)
procrustes(x, y): the rotation R that minimises |x R - y|, R = U V^T of the singular value decomposition of x^T y
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 1024
"""Rows whose similarities to all others are held at once."""


def sparsemax(z: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """Weights of each row, at least 0 and of sum 1, many of them exactly 0."""
    ordered = z.sort(-1, descending=True).values
    above = ordered.cumsum(-1)
    number = torch.arange(1, z.shape[-1] + 1, device=z.device, dtype=z.dtype)
    kept = (1 + number * ordered > above).sum(-1, keepdim=True)
    threshold = (above.gather(-1, kept - 1) - 1) / kept
    return (z - threshold).clamp(min=0)


def sparsemax_reference(z: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """``sparsemax``, with the threshold of each row found by halving an interval."""
    rows = []
    for row in z:
        low, high = row.min() - 1, row.max()
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if (row - middle).clamp(min=0).sum() > 1 else (low, middle)
        rows.append((row - (low + high) / 2).clamp(min=0))
    return torch.stack(rows)


def cosines(x: Float[Tensor, "rows width"], y: Float[Tensor, "others width"]) -> Float[Tensor, "rows others"]:
    """Cosine of each row of one with each of the other; 0 for a row of zeros."""
    return F.normalize(x, dim=1) @ F.normalize(y, dim=1).mT


def nearest(
    x: Float[Tensor, "rows width"], y: Float[Tensor, "others width"], count: int, temperature: float
) -> tuple[Int[Tensor, "rows count"], Float[Tensor, "rows count"]]:
    """Of each row of x the rows of y with the largest cosine, and the softmax of cosine / temperature among them."""
    count = min(count, len(y))
    places, weights = [], []
    for block in x.split(BLOCK):
        top = cosines(block, y).topk(count, dim=1)
        places.append(top.indices)
        weights.append((top.values / temperature).softmax(1))
    if not places:
        return torch.empty(0, count, dtype=torch.int64), x.new_empty(0, count)
    return torch.cat(places), torch.cat(weights)


def combine(
    rows: Float[Tensor, "others width"], places: Int[Tensor, "new count"], weights: Float[Tensor, "new count"]
) -> Float[Tensor, "new width"]:
    """The weighted means of the rows at these places."""
    parts = [
        torch.einsum("nk,nkw->nw", weight, rows[place])
        for place, weight in zip(places.split(BLOCK), weights.split(BLOCK), strict=True)
    ]
    return torch.cat(parts) if parts else rows.new_empty(0, rows.shape[1])


def procrustes(x: Float[Tensor, "pairs width"], y: Float[Tensor, "pairs width"]) -> Float[Tensor, "width width"]:
    """The orthogonal matrix that brings the rows of x nearest to those of y."""
    u, _, vt = torch.linalg.svd(x.mT @ y)
    return u @ vt
