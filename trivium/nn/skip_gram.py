"""Skip-gram with negative sampling over token ids: pairs, draws, and the loss in two readings.

loss            = - log s(c . o) - sum_k log s(- c . n_k)
loss_summed     = - log s(c . o) - log s(- sum_k c . n_k)        as in the code of Mundra et al. 2024
negatives       drawn in proportion to count^0.75
a token is kept with probability  min(1, sqrt(t / f) + t / f),   f its share of the text, t = 1e-4
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def pairs(rows: Sequence[Int[Tensor, "_"]], window: int) -> Int[Tensor, "_ 2"]:
    """Every token beside each one at most ``window`` places away in its row: centre, context."""
    found = []
    for row in rows:
        for distance in range(1, min(window, len(row) - 1) + 1):
            left, right = row[:-distance], row[distance:]
            found += [torch.stack((left, right), 1), torch.stack((right, left), 1)]
    return torch.cat(found) if found else torch.empty(0, 2, dtype=torch.int64)


def keep_probability(counts: Float[Tensor, " vocab"], threshold: float) -> Float[Tensor, " vocab"]:
    """Of each token; 1 for those that do not occur."""
    share = counts / counts.sum()
    ratio = threshold / share
    return torch.where(counts > 0, (ratio.sqrt() + ratio).clamp(max=1), 1.0)


def skip_gram_loss(
    centre: Float[Tensor, "pairs width"],
    context: Float[Tensor, "pairs width"],
    negatives: Float[Tensor, "pairs count width"],
    *,
    summed: bool = False,
) -> Float[Tensor, ""]:
    """The mean over pairs. ``summed``: the scores of the negatives are added before the one logarithm."""
    positive = F.logsigmoid((centre * context).sum(1))
    scores = torch.einsum("bw,bkw->bk", centre, negatives)
    negative = F.logsigmoid(-scores.sum(1)) if summed else F.logsigmoid(-scores).sum(1)
    return -(positive + negative).mean()
