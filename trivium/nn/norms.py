"""Norms. Each computes in float32 or wider whatever the dtype of its input, and returns the dtype it was given.

    rms_norm          y = gain * x / sqrt(mean(x^2) + eps)
    simple_rms_norm   the same without a gain: the output has length sqrt(width)
    layer_norm        y = gain * (x - mean(x)) / sqrt(var(x) + eps) + bias

Each fused path stands beside its ``_reference``, which is the line above written out.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def rms_norm(
    x: Float[Tensor, "*batch width"], gain: Float[Tensor, "width"] | None = None, eps: float = 1e-5
) -> Float[Tensor, "*batch width"]:
    """Divide by the root mean square; ``gain`` multiplies where given."""
    if x.dtype in (torch.float32, torch.float64):
        return F.rms_norm(x, x.shape[-1:], gain, eps)
    return F.rms_norm(x.float(), x.shape[-1:], None if gain is None else gain.float(), eps).to(x.dtype)


def rms_norm_reference(
    x: Float[Tensor, "*batch width"], gain: Float[Tensor, "width"] | None = None, eps: float = 1e-5
) -> Float[Tensor, "*batch width"]:
    """``rms_norm`` written out."""
    wide = x if x.dtype == torch.float64 else x.float()
    wide = wide / (wide.square().mean(-1, keepdim=True) + eps).sqrt()
    return (wide if gain is None else wide * gain.to(wide.dtype)).to(x.dtype)


def simple_rms_norm(x: Float[Tensor, "*batch width"], eps: float = 1e-6) -> Float[Tensor, "*batch width"]:
    """``rms_norm`` without a gain (SRMSNorm of TransNormerLLM)."""
    return rms_norm(x, None, eps)


def layer_norm(
    x: Float[Tensor, "*batch width"],
    gain: Float[Tensor, "width"] | None = None,
    bias: Float[Tensor, "width"] | None = None,
    eps: float = 1e-5,
) -> Float[Tensor, "*batch width"]:
    """Subtract the mean, divide by the standard deviation; ``gain`` and ``bias`` where given."""
    if x.dtype in (torch.float32, torch.float64):
        return F.layer_norm(x, x.shape[-1:], gain, bias, eps)
    wide = [None if t is None else t.float() for t in (gain, bias)]
    return F.layer_norm(x.float(), x.shape[-1:], wide[0], wide[1], eps).to(x.dtype)


def layer_norm_reference(
    x: Float[Tensor, "*batch width"],
    gain: Float[Tensor, "width"] | None = None,
    bias: Float[Tensor, "width"] | None = None,
    eps: float = 1e-5,
) -> Float[Tensor, "*batch width"]:
    """``layer_norm`` written out."""
    wide = x if x.dtype == torch.float64 else x.float()
    centred = wide - wide.mean(-1, keepdim=True)
    wide = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    wide = wide if gain is None else wide * gain.to(wide.dtype)
    return (wide if bias is None else wide + bias.to(wide.dtype)).to(x.dtype)
