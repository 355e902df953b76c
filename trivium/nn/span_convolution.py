"""Convolution along time with kernels that the input makes: for every position and head a weighted sum of the values
around it, within one sequence.

    o_t = sum_{j=0}^{K-1} a_{t,j} v_{t+j-(K-1)/2},   values beyond either end are 0

K is odd, so that the span lies evenly around the position.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def span_convolution(
    weights: Float[Tensor, "batch time heads kernel"], values: Float[Tensor, "batch time heads width"]
) -> Float[Tensor, "batch time heads width"]:
    """All positions at once, over a view of the values that shows each with the span around it."""
    kernel = weights.shape[-1]
    if kernel % 2 == 0:
        raise ValueError(f"a span around a position has an odd number of places, got {kernel}")
    spans = F.pad(values, (0, 0, 0, 0, kernel // 2, kernel // 2)).unfold(1, kernel, 1)  # (batch, time, heads, width, K)
    return (spans @ weights[..., None])[..., 0]


def span_convolution_reference(
    weights: Float[Tensor, "batch time heads kernel"], values: Float[Tensor, "batch time heads width"]
) -> Float[Tensor, "batch time heads width"]:
    """``span_convolution`` place by place."""
    time, kernel = values.shape[1], weights.shape[-1]
    out = []
    for t in range(time):
        total = torch.zeros_like(values[:, t])
        for j in range(kernel):
            s = t + j - kernel // 2
            if 0 <= s < time:
                total = total + weights[:, t, :, j, None] * values[:, s]
        out.append(total)
    return torch.stack(out, 1)
