"""Polynomial composition activations: a cubic of the rectified input, or of powers normed over the hidden axis.

    poly_relu   y = a_0 + sum_i a_i relu(x)^i,           i = 1, 2, 3
    poly_norm   y = a_0 + sum_i a_i x^i / rms(x^i),      rms(u) = sqrt(mean(u^2) + eps) over the last axis

``weight`` holds (a_1, a_2, a_3), ``bias`` holds a_0. Each computes in float32 or wider, since a cube that is squared
again overflows float16, and returns the dtype it was given. The fast path keeps its input alone for the backward pass
and computes the powers anew; the ``_reference`` beside it is the line above written out, and keeps them all.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

ORDER = 3


def poly_relu(
    x: Float[Tensor, "*batch hidden"], weight: Float[Tensor, "3"], bias: Float[Tensor, "1"]
) -> Float[Tensor, "*batch hidden"]:
    """A cubic of ``relu(x)``."""
    return _PolyReLU.apply(x, weight, bias)  # type: ignore[no-any-return]


def poly_relu_reference(
    x: Float[Tensor, "*batch hidden"], weight: Float[Tensor, "3"], bias: Float[Tensor, "1"]
) -> Float[Tensor, "*batch hidden"]:
    """``poly_relu`` written out."""
    positive = F.relu(_wide(x))
    y = bias.to(positive.dtype)
    for power in range(1, ORDER + 1):
        y = y + weight[power - 1].to(positive.dtype) * positive**power
    return y.to(x.dtype)


def poly_norm(
    x: Float[Tensor, "*batch hidden"], weight: Float[Tensor, "3"], bias: Float[Tensor, "1"], eps: float = 1e-6
) -> Float[Tensor, "*batch hidden"]:
    """A mixture of the first three powers of ``x``, each divided by its root mean square over the hidden axis."""
    return _PolyNorm.apply(x, weight, bias, eps)  # type: ignore[no-any-return]


def poly_norm_reference(
    x: Float[Tensor, "*batch hidden"], weight: Float[Tensor, "3"], bias: Float[Tensor, "1"], eps: float = 1e-6
) -> Float[Tensor, "*batch hidden"]:
    """``poly_norm`` written out."""
    wide = _wide(x)
    y = bias.to(wide.dtype)
    for power in range(1, ORDER + 1):
        u = wide**power
        y = y + weight[power - 1].to(wide.dtype) * u / (u.square().mean(-1, keepdim=True) + eps).sqrt()
    return y.to(x.dtype)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


class _PolyReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        positive = F.relu(_wide(x))
        a = weight.to(positive.dtype)
        return (((a[2] * positive + a[1]) * positive + a[0]) * positive + bias.to(a.dtype)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        grad, positive = grads[0].to(_wide(x).dtype), F.relu(_wide(x))
        a = weight.to(positive.dtype)
        slope = torch.where(x > 0, (3 * a[2] * positive + 2 * a[1]) * positive + a[0], 0)
        moments = torch.stack([(grad * positive**power).sum() for power in range(1, ORDER + 1)])
        return (grad * slope).to(x.dtype), moments.to(weight.dtype), grad.sum()[None].to(weight.dtype)


class _PolyNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        wide = _wide(x)
        a, u = weight.to(wide.dtype), wide
        y = bias.to(wide.dtype).expand_as(wide)
        for power in range(1, ORDER + 1):
            y = torch.addcmul(y, u, a[power - 1] * (u.square().mean(-1, keepdim=True) + eps).rsqrt())
            u = u * wide
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        wide = _wide(x)
        grad, a = grads[0].to(wide.dtype), weight.to(wide.dtype)
        u, slope = wide, torch.ones_like(wide)  # x^i, and its derivative i x^(i-1)
        grad_x, moments = torch.zeros_like(wide), []
        for power in range(1, ORDER + 1):
            scale = (u.square().mean(-1, keepdim=True) + ctx.eps).rsqrt()
            normed = u * scale
            through = grad * normed
            moments.append(through.sum())
            along = normed * through.mean(-1, keepdim=True)  # what the norm takes away: the part along the row
            grad_x = grad_x + a[power - 1] * scale * (grad - along) * slope
            slope, u = (power + 1) * u, u * wide
        grad_weight, grad_bias = torch.stack(moments), grad.sum()[None]
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype), grad_bias.to(weight.dtype), None
