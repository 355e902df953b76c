"""Cross-entropy summed over rows, with the gradient worked out while the logits are at hand."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

IGNORED = -100
"""The target of a row that predicts nothing."""

ROWS = 512
"""Rows worked on at a time, so that half-precision logits are never all held in float32."""


def cross_entropy_sum(logits: Float[Tensor, "rows vocab"], targets: Int[Tensor, "rows"]) -> Float[Tensor, ""]:
    """Sum of -log softmax(logits)[target] over the rows that are not IGNORED, at least in float32.

    The usual kernels write the log-probabilities, a gradient with one entry per row, and the gradient of the logits;
    this one writes the last of these only, where it stays until the backward pass.
    """
    total: Tensor = _CrossEntropySum.apply(logits, targets)  # type: ignore[assignment]
    return total


def cross_entropy_sum_reference(logits: Float[Tensor, "rows vocab"], targets: Int[Tensor, "rows"]) -> Float[Tensor, ""]:
    """The definition, row by row."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total = wide.new_zeros(())
    for row, target in zip(wide, targets.tolist(), strict=True):
        if target != IGNORED:
            total = total + row.logsumexp(0) - row[target]
    return total


class _CrossEntropySum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, targets: Tensor) -> Tensor:  # type: ignore[override]
        wide = torch.promote_types(logits.dtype, torch.float32)
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        total = torch.zeros((), dtype=wide, device=logits.device)
        for start in range(0, len(targets), ROWS):
            rows = slice(start, start + ROWS)
            target = targets[rows, None]
            ignored = target == IGNORED
            target = target.masked_fill(ignored, 0)
            given = logits[rows].to(wide)
            room = gradient[rows] if gradient is not None and wide == logits.dtype else None
            shifted = torch.sub(given, given.amax(-1, keepdim=True), out=room)
            chosen = shifted.gather(1, target)
            slope = shifted.exp_()  # one exponential serves the sum and the gradient
            mass = slope.sum(-1, keepdim=True)
            total += (mass.log() - chosen).masked_fill_(ignored, 0.0).sum()
            if gradient is not None:  # softmax minus one at the target, zero in an ignored row
                slope.mul_(mass.reciprocal())
                slope.scatter_add_(1, target, torch.full_like(target, -1, dtype=wide))
                _clear(slope, ignored)
                if room is None:
                    gradient[rows] = slope
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, scale: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        if scale.device.type == "cpu" and scale.item() == 1.0:  # total.backward(), the usual case
            return gradient, None
        return gradient * scale.to(gradient.dtype), None


def _clear(x: Tensor, ignored: Tensor) -> None:
    """Zero the ignored rows in place; on a CPU without touching the others, elsewhere without waiting for a count."""
    if x.device.type == "cpu":
        x.index_fill_(0, ignored.nonzero()[:, 0], 0.0)
    else:
        x.masked_fill_(ignored, 0.0)
