"""Linear transforms over time and width that mix tokens without a parameter.

    fourier_mix   y = Re F,   F_{k,l} = sum_{t,d} x_{t,d} exp(-2 pi i (k t / T + l d / D))
    cosine_mix    y_{k,l} = sum_{t,d} x_{t,d} cos(pi k (2t + 1) / 2T) cos(pi l (2d + 1) / 2D),   the DCT of type II

Neither is scaled. Every output depends on every token, later ones too. Input in half precision is computed in float32.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def fourier_mix(x: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch time width"]:
    """Half of the columns are transformed; the others follow from Re F_{k,l} = Re F_{-k,-l} for real input."""
    width = x.shape[-1]
    wide = x if x.dtype == torch.float64 else x.float()
    half = torch.fft.fft(torch.fft.rfft(wide, dim=-1), dim=-2).real
    rest = half[..., 1 : (width + 1) // 2].flip(-2, -1).roll(1, -2)
    return torch.cat((half, rest), -1).to(x.dtype)


def fourier_mix_reference(x: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch time width"]:
    """``fourier_mix`` as two products with matrices of cosines and sines."""
    wide = x if x.dtype == torch.float64 else x.float()
    (cos_t, sin_t), (cos_d, sin_d) = (_waves(size, wide) for size in wide.shape[-2:])
    return (cos_t @ wide @ cos_d - sin_t @ wide @ sin_d).to(x.dtype)


def _waves(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    at = torch.arange(size, dtype=like.dtype, device=like.device)
    angles = 2 * math.pi * ((at[:, None] * at) % size) / size
    return angles.cos(), angles.sin()


def cosine_mix(x: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch time width"]:
    """Over the width, then over time."""
    wide = x if x.dtype == torch.float64 else x.float()
    return _cosine(_cosine(wide).mT).mT.to(x.dtype)


def _cosine(x: Tensor) -> Tensor:
    """Over the last axis: the Fourier transform of the even entries followed by the odd ones backwards, turned by a
    quarter of a step."""
    size = x.shape[-1]
    spectrum = torch.fft.fft(torch.cat((x[..., ::2], x[..., 1::2].flip(-1)), -1))
    angles = math.pi * torch.arange(size, dtype=x.dtype, device=x.device) / (2 * size)
    return spectrum.real * angles.cos() + spectrum.imag * angles.sin()


def cosine_mix_reference(x: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch time width"]:
    """``cosine_mix`` as two products with matrices of cosines."""
    wide = x if x.dtype == torch.float64 else x.float()
    over_time, over_width = (_cosines(size, wide) for size in wide.shape[-2:])
    return (over_time @ wide @ over_width.mT).to(x.dtype)


def _cosines(size: int, like: Tensor) -> Tensor:
    at = torch.arange(size, dtype=like.dtype, device=like.device)
    return (math.pi * at[:, None] * (2 * at + 1) / (2 * size)).cos()


def fourier_mix_flops(time: int, width: int) -> int:
    """Operations on one row: 5 N log2 N for a complex transform of N points, half of that for a real one."""
    over_time = 5 * time * (width // 2 + 1) * math.log2(max(time, 2))
    return int(2.5 * time * width * math.log2(max(width, 2))) + int(over_time)


def cosine_mix_flops(time: int, width: int) -> int:
    """Operations on one row of ``cosine_mix``: a real transform along either axis."""
    return int(2.5 * time * width * math.log2(max(width, 2))) + int(2.5 * time * width * math.log2(max(time, 2)))
