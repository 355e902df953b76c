"""Gates of feed-forward layers."""

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
