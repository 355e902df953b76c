"""The contrastive loss over all pairs of states: vectors of different tokens are pushed apart up to a margin."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize


def contrastive(
    hidden: Float[Tensor, "batch time width"], pairs: Bool[Tensor, "batch time time"], margin: float
) -> Float[Tensor, "batch time"]:
    """For each state i the sum over marked pairs (i, j) of max(0, margin - 1 + cos(h_i, h_j)), at least in float32.

    A state of length 0 has cosine 0 with all others.
    """
    wide = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    with torch.autocast(wide.device.type, enabled=False):
        units = normalize(wide, dim=-1)
        excess = (units @ units.mT + (margin - 1)).clamp(min=0)
    return excess.masked_fill(~pairs, 0.0).sum(-1)


def contrastive_reference(
    hidden: Float[Tensor, "batch time width"], pairs: Bool[Tensor, "batch time time"], margin: float
) -> Float[Tensor, "batch time"]:
    """The definition, pair by pair."""
    rows = []
    for row, marked in zip(hidden, pairs, strict=True):
        sums = [row.new_zeros(()) for _ in row]
        for i, j in marked.nonzero().tolist():
            cosine = row[i] @ row[j] / (row[i].norm() * row[j].norm())
            sums[i] = sums[i] + torch.relu(margin - 1 + cosine)
        rows.append(torch.stack(sums))
    return torch.stack(rows)
