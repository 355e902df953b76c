"""Attention by softplus instead of exp, sharpened with the number of visible keys, and weighted anew.

    s_ij = scale q_i . k_j, times ln n_i where ``by_length``;   n_i keys are visible to query i
    A_i  = phi(s_i) / sum_j phi(s_ij),                          phi = softplus or exp
    R_i  = relu(n_i A_i - O_i)^power, over its sum;             O_i = 0 where n_i <= offset_rows, else 1
    o_i  = sum_j R_ij v_j, or with A in place of R where power is None

The mean of n_i A_ij over the visible keys is 1, so an offset of 1 keeps the keys above average. Where none is, because
all are alike to rounding, the row keeps A. A query that may see nothing gives zeros. Query head h reads key-value group
floor(h / (heads / groups)). Weights are computed in float32 or wider. The power is taken of n A - O over its largest
entry of the row, which the last sum cancels: it neither overflows nor loses its gradient, however high the power.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

Kernel = Literal["softplus", "exp"]
ALIKE = 64
"""Multiples of the machine's epsilon within which all weights of a row count as one."""


def softplus_attention(
    q: Float[Tensor, "batch heads time width"],
    k: Float[Tensor, "batch groups keys width"],
    v: Float[Tensor, "batch groups keys value"],
    mask: Bool[Tensor, "#batch 1 time keys"] | None = None,
    *,
    scale: float,
    by_length: bool = True,
    kernel: Kernel = "softplus",
    power: float | None = 15.0,
    offset_rows: int = 3,
) -> Float[Tensor, "batch heads time value"]:
    """Attention under ``mask`` (True where a query may attend), or, without one, over the causal past.

    With more keys than queries the queries are the last ones, as when a sequence goes on from a cache.
    """
    time, keys, groups = q.shape[-2], k.shape[-2], k.shape[1]
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    if mask is None:
        mask = torch.ones(time, keys, dtype=torch.bool, device=q.device).tril(keys - time)[None, None]
    seen = mask[:, :, None]  # (batch or 1, 1, 1, time, keys)
    count = seen.sum(-1, keepdim=True).clamp(min=1).to(wide)
    scores = q.to(wide).unflatten(1, (groups, -1)) @ k.to(wide)[:, :, None].mT * scale
    if by_length:
        scores = scores * count.log()
    if kernel == "exp":
        scores = scores - scores.detach().masked_fill(~seen, -math.inf).amax(-1, keepdim=True).nan_to_num(neginf=0.0)
        weights = scores.masked_fill(~seen, -math.inf).exp()
    else:
        weights = F.softplus(scores).masked_fill(~seen, 0.0)
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(wide).tiny)
    if power is not None:
        weights = _reweighted(weights, count, power, offset_rows)
    return (weights @ v.to(wide)[:, :, None]).flatten(1, 2).to(q.dtype)


def _reweighted(weights: Tensor, count: Tensor, power: float, offset_rows: int) -> Tensor:
    """The keys above average, raised to a power and normalised."""
    above = F.relu(count * weights - (count > offset_rows).to(weights.dtype))
    peak = above.detach().amax(-1, keepdim=True)
    alike = peak <= ALIKE * torch.finfo(weights.dtype).eps  # nothing above average but rounding
    raised = (above / torch.where(alike, 1.0, peak)) ** power
    raised = raised / torch.where(alike, 1.0, raised.sum(-1, keepdim=True))
    return torch.where(alike, weights, raised)


def softplus_attention_reference(
    q: Float[Tensor, "batch heads time width"],
    k: Float[Tensor, "batch groups keys width"],
    v: Float[Tensor, "batch groups keys value"],
    mask: Bool[Tensor, "#batch 1 time keys"] | None = None,
    *,
    scale: float,
    by_length: bool = True,
    kernel: Kernel = "softplus",
    power: float | None = 15.0,
    offset_rows: int = 3,
) -> Float[Tensor, "batch heads time value"]:
    """``softplus_attention`` query by query over its visible keys alone, the powers taken as they stand."""
    batch, heads, time, _ = q.shape
    groups, keys = k.shape[1:3]
    if mask is None:
        mask = torch.ones(1, 1, time, keys, dtype=torch.bool, device=q.device).tril(keys - time)
    mask = mask.expand(batch, 1, time, keys)
    rows = []
    for row in range(batch):
        for head in range(heads):
            group = head // (heads // groups)
            for t in range(time):
                at = mask[row, 0, t].nonzero()[:, 0]
                n = at.numel()
                if n == 0:
                    rows.append(torch.zeros_like(v[0, 0, 0]))
                    continue
                scores = k[row, group, at] @ q[row, head, t] * scale * (math.log(n) if by_length else 1.0)
                phi = scores.exp() if kernel == "exp" else (1 + scores.exp()).log()
                weights = phi / phi.sum()
                if power is not None:
                    above = (n * weights - (0.0 if n <= offset_rows else 1.0)).clamp(min=0.0)
                    if above.max() > ALIKE * torch.finfo(above.dtype).eps:
                        weights = above**power / (above**power).sum()
                rows.append(weights @ v[row, group, at])
    return torch.stack(rows).view(batch, heads, time, -1)
