"""Minimising a smooth function of one vector by its gradient and the diagonal of its second derivative (AdaHessian).

    D = z * (H z), z of random signs, whose mean is diag H;   m, v: running means of the gradient and of D^2
    x <- x - rate m^ / (sqrt v^ + eps),   ^ for the correction of the start

Source: Yao et al. 2021, "ADAHESSIAN: An Adaptive Second Order Optimizer for Machine Learning", arXiv:2006.00719, from
general knowledge of it. Nothing is averaged over neighbouring entries: those of one vector stand for themselves.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

MEAN, SQUARE = 0.9, 0.999
"""What the running means keep of themselves at each step."""


def diagonal(
    function: Callable[[Tensor], Tensor], x: Float[Tensor, "axes"], signs: Float[Tensor, "axes"]
) -> tuple[Float[Tensor, ""], Float[Tensor, "axes"], Float[Tensor, "axes"]]:
    """Value, gradient, and one draw of the diagonal of the second derivative."""
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        value = function(at)
        (slope,) = torch.autograd.grad(value, at, create_graph=True)
        curve = None  # of a slope that is the same everywhere
        if slope.requires_grad:
            (curve,) = torch.autograd.grad((slope * signs).sum(), at, allow_unused=True)
    return value.detach(), slope.detach(), torch.zeros_like(x) if curve is None else signs * curve


def minimise(
    function: Callable[[Tensor], Tensor],
    start: Float[Tensor, "axes"],
    *,
    generator: torch.Generator,
    rate: float = 0.5,
    steps: int = 200,
    patience: int = 5,
    tolerance: float = 1e-5,
    bounds: tuple[Float[Tensor, "axes"], Float[Tensor, "axes"]] | None = None,
) -> Float[Tensor, "axes"]:
    """The best point met within the bounds. Ends after ``patience`` steps in a row that change the value by less than
    the tolerance."""
    nowhere = torch.full_like(start, torch.inf)
    low, high = (-nowhere, nowhere) if bounds is None else bounds
    x = start.detach().clamp(low, high)
    mean, square = torch.zeros_like(x), torch.zeros_like(x)
    best, least, before, still = x, torch.inf, torch.inf, 0
    for step in range(1, steps + 1):
        signs = torch.randint(0, 2, x.shape, generator=generator).to(x) * 2 - 1
        value, slope, curve = diagonal(function, x, signs)
        if float(value) < least:
            best, least = x, float(value)
        still = still + 1 if abs(before - float(value)) < tolerance else 0
        if still >= patience:
            break
        before = float(value)
        mean = MEAN * mean + (1 - MEAN) * slope
        square = SQUARE * square + (1 - SQUARE) * curve.square()
        scale = (square / (1 - SQUARE**step)).sqrt() + 1e-8
        x = (x - rate * mean / (1 - MEAN**step) / scale).clamp(low, high)
    return best
