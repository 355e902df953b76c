"""Rotary positions: each pair of coordinates turns by an angle that grows with the position.

Pair i of a head of width d turns by ``position * base^(-2i/d)``, so the inner product of two rotated vectors depends on
the difference of their positions only. A ``stretch`` above 1 divides the positions, so that a longer text turns through
the angles of a shorter one. Two layouts name the pairs: "half" (i, i + d/2) and "interleaved" (2i, 2i + 1).
They differ by a fixed permutation of the head's coordinates, ``half_from_interleaved``.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Layout = Literal["half", "interleaved"]


def rotary_table(
    positions: Int[Tensor, "batch time"],
    width: int,
    base: float = 10_000.0,
    dtype: torch.dtype = torch.float32,
    *,
    stretch: float = 1.0,
) -> tuple[Float[Tensor, "batch 1 time half"], Float[Tensor, "batch 1 time half"]]:
    """Cosines and sines for the given positions, with an axis for the heads. Made once per pass, used by every layer.

    Angles are computed in float32, or in float64 for a float64 model, and only then rounded to ``dtype``.
    """
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    rates = base ** (-torch.arange(0, width, 2, dtype=wide, device=positions.device) / width)
    angles = positions[:, None, :, None].to(wide) / stretch * rates
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(
    x: Float[Tensor, "batch heads time width"],
    cos: Float[Tensor, "#batch 1 time half"],
    sin: Float[Tensor, "#batch 1 time half"],
    layout: Layout = "half",
) -> Float[Tensor, "batch heads time width"]:
    """Turn each pair of coordinates by its angle."""
    if layout == "half":
        halves = x.roll(x.shape[-1] // 2, -1)
        return torch.addcmul(x * torch.cat((cos, cos), -1), halves, torch.cat((-sin, sin), -1)).to(x.dtype)
    complex_exists = x.dtype == cos.dtype and x.dtype in (torch.float32, torch.float64)
    if complex_exists and not torch.compiler.is_compiling():  # compiled code fuses real products, not complex ones
        # A pair is a complex number, turned by one multiplication: half the time of the four real ones.
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2)
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2).to(x.dtype)


def rotate_reference(
    x: Float[Tensor, "batch heads time width"],
    positions: Int[Tensor, "batch time"],
    base: float = 10_000.0,
    layout: Layout = "half",
    stretch: float = 1.0,
) -> Float[Tensor, "batch heads time width"]:
    """``rotate`` pair by pair, with 2 x 2 rotation matrices."""
    width = x.shape[-1]
    columns: list[Tensor] = [x[..., 0]] * width
    for i in range(width // 2):
        first, second = (i, i + width // 2) if layout == "half" else (2 * i, 2 * i + 1)
        angle = positions[:, None].to(x.dtype) / stretch * base ** (-2 * i / width)  # (batch, 1, time)
        columns[first] = x[..., first] * angle.cos() - x[..., second] * angle.sin()
        columns[second] = x[..., first] * angle.sin() + x[..., second] * angle.cos()
    return torch.stack(columns, -1)


def half_from_interleaved(width: int) -> Int[Tensor, "width"]:
    """Index that brings a head's coordinates from the interleaved to the half-split layout: ``half = x[index]``."""
    return torch.cat((torch.arange(0, width, 2), torch.arange(1, width, 2)))
