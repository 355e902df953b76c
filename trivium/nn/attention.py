"""Softmax attention with grouped queries, over PyTorch's fused kernel.

    o_t = sum_s softmax_s(q_t . k_s / sqrt(d) + mask) v_s

Query head h reads key-value group floor(h / (heads / groups)). A query that may see nothing gives zeros.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
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
