"""Softmax attention with grouped queries, over PyTorch's fused kernel.

    o_t = sum_s softmax_s(q_t . k_s / sqrt(d) + mask) v_s

Query head h reads key-value group floor(h / (heads / groups)). A query that may see nothing gives zeros.
``banded_attention`` sums over the last ``window`` keys alone, block by block, at a cost that grows with the window and
not with the square of the length.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def attention(
    q: Float[Tensor, "batch heads time width"],
    k: Float[Tensor, "batch groups keys width"],
    v: Float[Tensor, "batch groups keys value"],
    mask: Bool[Tensor, "#batch #heads time keys"] | None = None,
    *,
    causal: bool = True,
    scale: float | None = None,
) -> Float[Tensor, "batch heads time value"]:
    """Attention under ``mask`` (True where a query may attend), or, without one, over the causal past.

    With more keys than queries the queries are the last ones, as when a sequence goes on from a cache.
    """
    time, keys = q.shape[-2], k.shape[-2]
    aligned = causal and mask is None and time > 1
    if aligned and keys > time:
        mask = torch.ones(time, keys, dtype=torch.bool, device=q.device).tril(keys - time)[None, None]
    return F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=mask,
        is_causal=aligned and mask is None,
        scale=scale,
        enable_gqa=k.shape[1] != q.shape[1],
    )


def attention_reference(
    q: Float[Tensor, "batch heads time width"],
    k: Float[Tensor, "batch groups keys width"],
    v: Float[Tensor, "batch groups keys value"],
    mask: Bool[Tensor, "#batch #heads time keys"] | None = None,
    *,
    causal: bool = True,
    scale: float | None = None,
) -> Float[Tensor, "batch heads time value"]:
    """``attention`` written out: one score per pair, one softmax per query, in float32 or wider."""
    batch, heads, time, width = q.shape
    groups, keys = k.shape[1:3]
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    if mask is None:
        mask = torch.ones(1, 1, time, keys, dtype=torch.bool, device=q.device)
        mask = mask.tril(keys - time) if causal else mask
    mask = mask.expand(batch, heads, time, keys)
    rows = []
    for head in range(heads):
        group = head // (heads // groups)
        scores = q[:, head].to(wide) @ k[:, group].to(wide).mT * (width**-0.5 if scale is None else scale)
        seen = mask[:, head]
        peak = scores.masked_fill(~seen, float("-inf")).amax(-1, keepdim=True).clamp(min=torch.finfo(wide).min)
        weights = (scores - peak).masked_fill(~seen, float("-inf")).exp()  # (batch, time, keys)
        total = weights.sum(-1, keepdim=True)
        rows.append(weights / torch.where(total == 0, 1, total) @ v[:, group].to(wide))
    return torch.stack(rows, 1).to(q.dtype)


def shown_attention(
    q: Float[Tensor, "batch heads time width"],
    k: Float[Tensor, "batch groups keys width"],
    v: Float[Tensor, "batch groups keys value"],
    mask: Bool[Tensor, "#batch #heads time keys"] | None = None,
    *,
    scores: Callable[[Tensor], Tensor],
    weights: Callable[[Tensor], Tensor],
) -> Float[Tensor, "batch heads time value"]:
    """``attention`` whose scores and weights (batch, heads, time, keys), in float32 or wider, pass through functions
    that may look at them and change them. The scores are scaled and not yet masked."""
    time, keys, groups = q.shape[2], k.shape[2], k.shape[1]
    wide = torch.promote_types(q.dtype, torch.float32)  # as the fused kernels reckon
    k, v = (x.repeat_interleave(q.shape[1] // groups, 1).to(wide) for x in (k, v))
    found = scores(q.to(wide) @ k.mT * q.shape[-1] ** -0.5)
    if mask is None:
        mask = torch.ones(time, keys, dtype=torch.bool, device=q.device).tril(keys - time)[None, None]
    found = found.masked_fill(~mask, float("-inf"))
    blind = (found == float("-inf")).all(-1, keepdim=True)  # who sees nothing
    made = found.masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0)
    return (weights(made) @ v).to(q.dtype)


def banded_attention(
    q: Float[Tensor, "batch heads time width"],
    k: Float[Tensor, "batch groups keys width"],
    v: Float[Tensor, "batch groups keys value"],
    window: int,
    *,
    documents: Int[Tensor, "batch keys"] | None = None,
) -> Float[Tensor, "batch heads time value"]:
    """Attention over the last ``window`` columns up to each query's own, of its own document where these are numbered.

    With more keys than queries the queries are the last ones, as when a sequence goes on from a cache. The first
    queries, whose whole past lies within the window, are one causal piece; those behind them are blocks as long as the
    window, each with the keys that it can see.
    """
    time = q.shape[2]
    spare = max(0, k.shape[2] - time - window + 1)  # keys that no query sees
    k, v = k[:, :, spare:], v[:, :, spare:]
    documents = None if documents is None else documents[:, spare:]
    lead = k.shape[2] - time  # columns before the first query, fewer than the window
    whole = min(time, window - lead)  # queries that see all before them
    mask = None if documents is None else _alike(documents[:, lead : lead + whole], documents[:, : lead + whole], lead)
    parts = [attention(q[:, :, :whole], k[:, :, : lead + whole], v[:, :, : lead + whole], mask)]
    blocks, rest = divmod(time - whole, window)
    for start, count, size in ((whole, blocks, window), (time - rest, 1, rest)):
        if count and size:
            parts.append(_blocks(q, k, v, documents, lead + start - window + 1, start, count, size, window))
    return torch.cat(parts, 2) if len(parts) > 1 else parts[0]


def _alike(queries: Tensor, keys: Tensor, lead: int) -> Tensor:
    """(batch, 1, time, keys) bool: keys of the causal past and of the query's own document."""
    return (queries[:, None, :, None] == keys[:, None, None, :]).tril(lead)


def _blocks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    documents: Tensor | None,
    first: int,
    start: int,
    count: int,
    size: int,
    window: int,
) -> Tensor:
    """The queries from ``start`` on, in ``count`` blocks of ``size``; ``first``: the first key of the first block."""
    batch, span = q.shape[0], size + window - 1
    stop = first + count * size + window - 1
    q = q[:, :, start : start + count * size].unflatten(2, (count, size)).transpose(1, 2).flatten(0, 1)
    k, v = (
        x[:, :, first:stop].unfold(2, span, size).permute(0, 2, 1, 4, 3).flatten(0, 1) for x in (k, v)
    )  # (batch * count, groups, span, width) each
    mask = torch.ones(size, span, dtype=torch.bool, device=q.device).triu().tril(window - 1)[None, None]
    if documents is not None:
        keys = documents[:, first:stop].unfold(1, span, size).flatten(0, 1)  # (batch * count, span)
        mask = mask & (keys[:, None, window - 1 :, None] == keys[:, None, None, :])
    return attention(q, k, v, mask).unflatten(0, (batch, count)).transpose(1, 2).flatten(2, 3)


def banded_attention_reference(
    q: Float[Tensor, "batch heads time width"],
    k: Float[Tensor, "batch groups keys width"],
    v: Float[Tensor, "batch groups keys value"],
    window: int,
    *,
    documents: Int[Tensor, "batch keys"] | None = None,
) -> Float[Tensor, "batch heads time value"]:
    """``banded_attention`` as attention under a mask that says who sees whom."""
    time, keys = q.shape[2], k.shape[2]
    age = torch.arange(keys - time, keys)[:, None] - torch.arange(keys)  # (time, keys)
    mask = ((age >= 0) & (age < window)).to(q.device)[None, None]
    if documents is not None:
        mask = mask & (documents[:, None, keys - time :, None] == documents[:, None, None, :])
    return attention_reference(q, k, v, mask)


def banded_pairs(time: int, window: int) -> int:
    """Pairs of a query and a key that ``banded_attention`` works on in a row of so many tokens: those of the causal
    piece, and the whole rectangle of each block."""
    whole = min(time, window)
    blocks, rest = divmod(time - whole, window)
    return whole * (whole + 1) // 2 + blocks * window * (2 * window - 1) + rest * (rest + window - 1)
