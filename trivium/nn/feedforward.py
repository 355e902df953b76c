"""Gates of feed-forward layers, and the activation that is a sum of several."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def swiglu(gate: Float[Tensor, "*batch hidden"], up: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch hidden"]:
    """``silu(gate) * up``, what stands between the two projections of a SwiGLU layer."""
    return F.silu(gate) * up


def swiglu_reference(
    gate: Float[Tensor, "*batch hidden"], up: Float[Tensor, "*batch hidden"]
) -> Float[Tensor, "*batch hidden"]:
    """``swiglu`` written out."""
    return gate / (1 + (-gate).exp()) * up


def series_silu(
    x: Float[Tensor, "*batch hidden"], scale: Float[Tensor, "terms hidden"], bias: Float[Tensor, "terms hidden"]
) -> Float[Tensor, "*batch hidden"]:
    """``sum_i silu(scale_i x + bias_i)`` in the dtype of ``x``, term after term so that no axis of terms is made."""
    y = F.silu(x * scale[0] + bias[0])
    for term in range(1, len(scale)):
        y = y + F.silu(x * scale[term] + bias[term])
    return y.to(x.dtype)


def series_silu_reference(
    x: Float[Tensor, "*batch hidden"], scale: Float[Tensor, "terms hidden"], bias: Float[Tensor, "terms hidden"]
) -> Float[Tensor, "*batch hidden"]:
    """``series_silu`` written out."""
    u = x[..., None, :] * scale + bias  # (..., terms, hidden)
    return (u / (1 + torch.exp(-u))).sum(-2).to(x.dtype)
