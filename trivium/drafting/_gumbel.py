"""Draws without replacement by Gumbel noise, in float64: adding independent Gumbel(0, 1) to log-probabilities and
sorting gives the order in which tokens would come if each were drawn from what the earlier ones left."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def perturbed(logq: Float[Tensor, "rows vocab"], stream: torch.Generator) -> Float[Tensor, "rows vocab"]:
    """Log-probabilities, not necessarily normalised, plus fresh noise; minus infinity stays."""
    noise = torch.empty(logq.shape, dtype=torch.float64).exponential_(generator=stream).log().neg()
    return logq.double() + noise


def conditioned(values: Float[Tensor, "rows vocab"], most: Float[Tensor, " rows"]) -> Float[Tensor, "rows vocab"]:
    """Perturbed values as they are distributed given that the largest of each row is ``most``:
    -log(exp(-most) - exp(-largest) + exp(-value)), which keeps their order and takes nothing from the largest."""
    largest = values.amax(-1, keepdim=True)
    gap = most[:, None] - values + log1mexp(values - largest)
    return most[:, None] - gap.clamp(min=0) - gap.abs().neg().exp().log1p()


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x <= 0, without loss at either end."""
    return torch.where(x > -math.log(2), x.expm1().neg().log(), x.exp().neg().log1p())


def best(values: Float[Tensor, "rows vocab"], count: int) -> list[tuple[int, int, float]]:
    """The largest entries over all rows in descending order, as row, column and value; none that is minus infinity."""
    top = values.flatten().topk(min(count, values.numel()))
    found = [
        (index // values.shape[-1], index % values.shape[-1], value)
        for value, index in zip(top.values.tolist(), top.indices.tolist(), strict=True)
    ]
    return [entry for entry in found if entry[2] > -math.inf]
