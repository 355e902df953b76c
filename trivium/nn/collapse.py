"""How far the tokens of a text are from being all alike: two measures of the collapse of features in deep models.

distance_to_rank_one   d_M(Z) = |(I - e e^T) Z|_F,   e = (1, ..., 1) / sqrt(T)
effective_dimension    the fewest principal components that hold a share of the variance over tokens
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def distance_to_rank_one(hidden: Float[Tensor, "*batch time width"]) -> Float[Tensor, "*batch"]:
    """How far each matrix is from the nearest one whose rows are all alike: 0 where all tokens have one vector."""
    wide = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    return (wide - wide.mean(-2, keepdim=True)).flatten(-2).norm(dim=-1)


def effective_dimension(hidden: Float[Tensor, "*batch time width"], share: float = 0.8) -> Int[Tensor, "*batch"]:
    """How many directions it takes to hold this share of the variance over tokens; 0 where there is none."""
    if not 0 < share <= 1:
        raise ValueError(f"share is a part of the variance, so above 0 and at most 1; got {share}")
    wide = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    held = torch.linalg.svdvals(wide - wide.mean(-2, keepdim=True)).square().cumsum(-1)  # largest first
    total = held[..., -1:]
    return ((held < share * total).sum(-1) + 1) * (total[..., 0] > 0)
