"""Cross-entropy summed over rows, with the gradient worked out while the logits are at hand."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium.nn._by_rows import clear, summed

IGNORED = -100
"""The target of a row that predicts nothing."""


def cross_entropy_sum(logits: Float[Tensor, "rows vocab"], targets: Int[Tensor, "rows"]) -> Float[Tensor, ""]:
    """Sum of -log softmax(logits)[target] over the rows that are not IGNORED, at least in float32.

    The usual kernels write the log-probabilities, a gradient with one entry per row, and the gradient of the logits;
    this one writes the last of these only, where it stays until the backward pass.
    """
    return summed(_piece, logits, targets)


def cross_entropy_sum_reference(logits: Float[Tensor, "rows vocab"], targets: Int[Tensor, "rows"]) -> Float[Tensor, ""]:
    """The definition, row by row."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total = wide.new_zeros(())
    for row, target in zip(wide, targets.tolist(), strict=True):
        if target != IGNORED:
            total = total + row.logsumexp(0) - row[target]
    return total


def _piece(shifted: Tensor, targets: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
    ignored = targets[:, None] == IGNORED
    target = targets[:, None].masked_fill(ignored, 0)
    chosen = shifted.gather(1, target)
    slope = shifted.exp_()  # one exponential serves the sum and the gradient
    mass = slope.sum(-1, keepdim=True)

    def gradient() -> Tensor:  # softmax minus one at the target, zero in an ignored row
        slope.mul_(mass.reciprocal())
        slope.scatter_add_(1, target, torch.full_like(target, -1, dtype=slope.dtype))
        clear(slope, ignored)
        return slope

    return (mass.log() - chosen).masked_fill_(ignored, 0.0).sum(), gradient
