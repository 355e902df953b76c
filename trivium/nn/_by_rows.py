"""Sums of a loss over rows of logits, with the gradient worked out while the logits are at hand."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

ROWS = 512
"""Rows worked on at a time, so that half-precision logits are never all held in float32."""

Piece = Callable[..., tuple[Tensor, Callable[[], Tensor]]]
"""Some rows of logits, less their maximum, and what belongs to them -> the sum of their losses, and what turns the same
memory into the gradient, asked for where one is wanted. It may write into the logits."""


def summed(piece: Piece, logits: Tensor, *given: Tensor) -> Tensor:
    """The sum over all rows, at least in float32; ``given``: tensors with a row for each of the logits'."""
    total: Tensor = _Summed.apply(piece, logits, *given)  # type: ignore[assignment]
    return total


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, piece: Piece, logits: Tensor, *given: Tensor) -> Tensor:  # type: ignore[override]
        wide = torch.promote_types(logits.dtype, torch.float32)
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[1] else None
        total = torch.zeros((), dtype=wide, device=logits.device)
        for start in range(0, len(logits), ROWS):
            rows = slice(start, start + ROWS)
            part = logits[rows].to(wide)
            room = gradient[rows] if gradient is not None and wide == logits.dtype else None
            loss, slope = piece(torch.sub(part, part.amax(-1, keepdim=True), out=room), *(one[rows] for one in given))
            total += loss
            if gradient is not None:
                found = slope()
                if room is None:
                    gradient[rows] = found
        ctx.count = len(given)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, scale: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        if scale.device.type != "cpu" or scale.item() != 1.0:  # 1 is total.backward(), the usual case
            gradient = gradient * scale.to(gradient.dtype)
        return (None, gradient, *[None] * ctx.count)


def clear(x: Tensor, left_out: Tensor) -> None:
    """Zero these rows (rows, 1) in place; on a CPU without touching the others, elsewhere without waiting for a
    count."""
    if x.device.type == "cpu":
        x.index_fill_(0, left_out.nonzero()[:, 0], 0.0)
    else:
        x.masked_fill_(left_out, 0.0)
