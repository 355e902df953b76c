"""Disentangled attention: scores of contents, of a content with a relative position, and of a position with a content.

    s_ts = scale (q_t . k_s + q_t . kp_i + qp_i . k_s),   i = index[t, s];      o_t = sum_s softmax_s(s_ts) v_s

``kp`` and ``qp`` hold one key and one query for each relative position, in every head. Scores are products of all
queries with all of ``kp``, and of all keys with all of ``qp``, of which each pair picks its own; where there are few
queries, the second product is made pair by pair. The softmax is taken in float32 or wider. A query that may see
nothing gives zeros.

``log_buckets`` numbers relative positions: one bucket each for small distances, then wider ones.

    bucket(d) = d  where |d| <= m,  m = floor(buckets / 2)
    bucket(d) = sign(d) (m + min(m - 1, ceil((m - 1) ln(|d| / m) / ln((reach - 1) / m))))  elsewhere
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

FEW = 4
"""Queries up to which it is cheaper to look up the positions of each pair than to try all of them on every key."""


def log_buckets(distance: Int[Tensor, "*any"], buckets: int, reach: int) -> Int[Tensor, "*any"]:
    """A whole number from 1 - buckets to buckets - 1 for each distance; beyond ``reach`` they differ no more."""
    middle = buckets // 2
    ratio = (reach - 1) / middle
    last = [math.floor(middle * ratio ** (n / (middle - 1)) + 1e-9) for n in range(middle - 1)]  # of each bucket
    outer = middle + torch.bucketize(distance.abs(), torch.tensor(last, dtype=distance.dtype, device=distance.device))
    return torch.where(distance.abs() <= middle, distance, distance.sign() * outer)


def disentangled_attention(
    q: Float[Tensor, "batch heads time width"],
    k: Float[Tensor, "batch heads keys width"],
    v: Float[Tensor, "batch heads keys value"],
    qp: Float[Tensor, "heads offsets width"],
    kp: Float[Tensor, "heads offsets width"],
    index: Int[Tensor, "#batch time keys"],
    mask: Bool[Tensor, "#batch 1 time keys"] | None = None,
    *,
    scale: float,
) -> Float[Tensor, "batch heads time value"]:
    """Attention under ``mask`` (True where a query may attend), or, without one, over the causal past.

    With more keys than queries the queries are the last ones, as when a sequence goes on from a cache.
    """
    batch, heads, time, _ = q.shape
    keys = k.shape[2]
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    if mask is None:
        mask = torch.ones(time, keys, dtype=torch.bool, device=q.device).tril(keys - time)[None, None]
    by_query = (q @ kp.mT).gather(3, index[:, None].expand(batch, heads, -1, -1))
    if time <= FEW:
        pairs = qp[:, index.mT].transpose(0, 1)  # (batch or 1, heads, keys, time, width)
        by_key = (pairs @ k[..., None])[..., 0].mT
    else:
        by_key = (k @ qp.mT).gather(3, index.mT[:, None].expand(batch, heads, -1, -1)).mT
    scores = ((q @ k.mT).to(wide) + by_query + by_key) * scale
    weights = scores.masked_fill(~mask, torch.finfo(wide).min).softmax(-1).masked_fill(~mask, 0.0)
    return weights.to(v.dtype) @ v


def disentangled_attention_reference(
    q: Float[Tensor, "batch heads time width"],
    k: Float[Tensor, "batch heads keys width"],
    v: Float[Tensor, "batch heads keys value"],
    qp: Float[Tensor, "heads offsets width"],
    kp: Float[Tensor, "heads offsets width"],
    index: Int[Tensor, "#batch time keys"],
    mask: Bool[Tensor, "#batch 1 time keys"] | None = None,
    *,
    scale: float,
) -> Float[Tensor, "batch heads time value"]:
    """``disentangled_attention`` query by query over its visible keys alone."""
    batch, heads, time, _ = q.shape
    keys = k.shape[2]
    if mask is None:
        mask = torch.ones(1, 1, time, keys, dtype=torch.bool, device=q.device).tril(keys - time)
    mask, index = mask.expand(batch, 1, time, keys), index.expand(batch, time, keys)
    rows = []
    for row in range(batch):
        for head in range(heads):
            for t in range(time):
                at = mask[row, 0, t].nonzero()[:, 0]
                scores = [
                    q[row, head, t] @ (k[row, head, s] + kp[head, index[row, t, s]])
                    + qp[head, index[row, t, s]] @ k[row, head, s]
                    for s in at
                ]
                weights = (torch.stack(scores) * scale).softmax(0) if scores else v.new_zeros(0)
                rows.append(weights @ v[row, head, at])
    return torch.stack(rows).view(batch, heads, time, -1)
