"""Weights of attention heads, norms and the head of a model, by the same names for every architecture.

Where a weight lies is read off the site table: the module whose output is ``attn.v`` and the one whose input is
``attn.z``, with the views that say which rows belong to which head. What a norm does is found out by showing it three
vectors, so that a gain stored as ``g - 1`` needs no table of architectures.

    v_k = W_V,k ln(x) + b_V,k    of value group k = h // (heads / groups)
    head h at t: W_O,h sum_s A_h,ts v_k,s;   the attention adds up its heads and b_O
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from trivium.core.errors import NotOffered
from trivium.core.protocols import LanguageModel
from trivium.models._int8 import Int8Linear
from trivium.models.sites import Site, Sited

AGREES = {torch.bfloat16: 2e-2, torch.float16: 4e-3}
"""Relative error up to which a norm does what its parameters say: what its number format rounds; else 1e-4."""


@dataclass(frozen=True)
class Norm:
    """``gain * (x - mean x) / sqrt(var x + eps) + bias`` where it is ``centred``, else ``gain * x / rms + bias`` with
    ``rms = sqrt(mean x^2 + eps)``. ``gain`` (width,), ``bias`` (width,) or None."""

    gain: Tensor
    bias: Tensor | None
    eps: float
    centred: bool

    def scale(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., 1): what the vector is divided by."""
        x = x - x.mean(-1, keepdim=True) if self.centred else x
        return (x.square().mean(-1, keepdim=True) + self.eps).sqrt()

    def __call__(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)"""
        y = (x - x.mean(-1, keepdim=True) if self.centred else x) / self.scale(x) * self.gain
        return y if self.bias is None else y + self.bias

    def double(self) -> "Norm":
        """The same in float64."""
        return replace(self, gain=self.gain.double(), bias=None if self.bias is None else self.bias.double())


def value_matrix(model: LanguageModel, layer: int, head: int) -> Tensor:
    """(head width, width): the values that a head reads, from the normalised stream; heads of a group share theirs.

    Raises ValueError for a layer or head that is not there, NotOffered for a layer without such a matrix.
    """
    values, output = _values(model, layer), outputs(model, layer)
    return values[_group(head, output.shape[0], values.shape[0])]


def output_matrix(model: LanguageModel, layer: int, head: int) -> Tensor:
    """(width, head width): what a head adds to the stream (before the norm behind the attention, if there is one).

    Raises ValueError for a layer or head that is not there, NotOffered for a layer without such a matrix.
    """
    matrices = outputs(model, layer)
    return matrices[_checked_head(head, matrices.shape[0])]


def values(model: LanguageModel, layer: int) -> Tensor:
    """(heads, head width, width): the value matrix of each query head, those of a group repeated."""
    matrices, heads = _values(model, layer), outputs(model, layer).shape[0]
    return matrices.repeat_interleave(heads // matrices.shape[0], 0)


def outputs(model: LanguageModel, layer: int) -> Tensor:
    """(heads, width, head width): the output matrix of each head, a view of the weights."""
    site = _site(model, layer, "attn.z")
    if site.view is None:
        raise NotOffered(f"layer {layer} of this {type(model).__name__} has no heads to read")
    return site.view.read(_matrix(site.module, f"layer {layer}'s output")).movedim(-2, 0)


def value_bias(model: LanguageModel, layer: int) -> Tensor | None:
    """(heads, head width): what each head's values have beside their matrix, or None."""
    site = _site(model, layer, "attn.v")
    bias = getattr(site.module, "bias", None)
    if bias is None or site.view is None:
        return None
    found = site.view.read(bias.detach())
    return found.repeat_interleave(outputs(model, layer).shape[0] // found.shape[0], 0)


def output_bias(model: LanguageModel, layer: int) -> Tensor | None:
    """(width,): what the attention adds beside its heads, or None."""
    bias = getattr(_site(model, layer, "attn.z").module, "bias", None)
    return None if bias is None else bias.detach()


def norm(model: LanguageModel, site: str) -> Norm:
    """The norm whose output is this site: "blocks.3.attn.norm", "blocks.3.mlp.norm", "final.norm", and
    "blocks.3.attn.out" where what the attention adds is normalised. Raises NotOffered where no known norm stands
    there."""
    table = _table(model)
    if site not in table:
        raise NotOffered(f"{type(model).__name__} has no norm at {site!r}")
    found = _probed(table[site].module, model.width)
    if found is None:
        raise NotOffered(
            f"what stands at {site!r}, a {type(table[site].module).__name__}, is no norm by the root mean square or "
            "by the standard deviation"
        )
    return found


def norm_gain(model: LanguageModel, site: str) -> Tensor:
    """(width,): what the norm at this site multiplies by; of a gain stored as g the 1 + g that is meant."""
    return norm(model, site).gain


def norm_behind(model: LanguageModel, layer: int) -> Norm | None:
    """The norm of what the attention adds, where the stream is given its heads normalised (Gemma 2 and 3)."""
    added, projection = _site(model, layer, "attn.out").module, _site(model, layer, "attn.z").module
    if any(part is projection for part in added.modules()):
        return None
    return norm(model, f"blocks.{layer}.attn.out")


def heads(model: LanguageModel, layer: int) -> int:
    """How many heads a layer has. Raises NotOffered for a layer without heads."""
    return outputs(model, layer).shape[0]


@dataclass(frozen=True)
class Attention:
    """One layer's attention, looked up once: ``values`` (groups, head width, width), ``outputs`` (heads, width, head
    width), ``value_bias`` (groups, head width), ``output_bias`` (width,), the norms before and ``behind`` it."""

    values: Tensor
    outputs: Tensor
    value_bias: Tensor | None
    output_bias: Tensor | None
    norm: Norm
    behind: Norm | None

    @property
    def heads(self) -> int:
        return self.outputs.shape[0]

    @property
    def share(self) -> int:
        """Heads per group of values."""
        return self.heads // self.values.shape[0]


def attention(model: LanguageModel, layer: int) -> Attention:
    """All of it. Raises ValueError for a layer that is not there, NotOffered for one without heads or norm."""
    found = outputs(model, layer)
    bias = value_bias(model, layer)
    values = _values(model, layer)
    return Attention(
        values,
        found,
        None if bias is None else bias[:: found.shape[0] // values.shape[0]],
        output_bias(model, layer),
        norm(model, f"blocks.{layer}.attn.norm"),
        norm_behind(model, layer),
    )


def _table(model: LanguageModel) -> dict[str, Site]:
    if not isinstance(model, Sited):
        raise NotOffered(f"{type(model).__name__} has no named sites, so its weights cannot be told apart")
    return dict(model.site_table())


def _site(model: LanguageModel, layer: int, name: str) -> Site:
    if not 0 <= layer < model.depth:
        raise ValueError(f"layer {layer} is none of the {model.depth} of this model (0 to {model.depth - 1})")
    site = _table(model).get(f"blocks.{layer}.{name}")
    if site is None:
        raise NotOffered(f"layer {layer} of this {type(model).__name__} has no {name!r}, so it has no heads to read")
    return site


def _values(model: LanguageModel, layer: int) -> Tensor:
    """(groups, head width, width)"""
    site = _site(model, layer, "attn.v")
    if site.view is None:
        raise NotOffered(f"layer {layer} of this {type(model).__name__} has no heads to read")
    by_input = _matrix(site.module, f"layer {layer}'s values").T  # (width, everything that it projects)
    return site.view.read(by_input).movedim(0, -1)


def _matrix(module: nn.Module, what: str) -> Tensor:
    """(out, in), detached and not copied but where it is held in 8 bits."""
    if isinstance(module, Int8Linear):
        return module.widened()
    if isinstance(module, Conv1D):
        return module.weight.detach().T
    if isinstance(module, nn.Linear):
        return module.weight.detach()
    raise NotOffered(f"{what} is made by a {type(module).__name__}, which is no matrix; merge an adapter first")


def _group(head: int, heads: int, groups: int) -> int:
    return _checked_head(head, heads) // (heads // groups)


def _checked_head(head: int, heads: int) -> int:
    if not 0 <= head < heads:
        raise ValueError(f"head {head} is none of the {heads} of this layer (0 to {heads - 1})")
    return head


@torch.no_grad()
def _probed(module: nn.Module, width: int) -> Norm | None:
    """What a norm does, from what it makes of a vector of mean 0, of its opposite, and of a vector of ones; None for
    what no such norm does."""
    parameters: dict[str, Any] = dict(module.named_parameters(recurse=False))
    first = next(iter(parameters.values()), torch.zeros(()))
    dtype = first.dtype if first.is_floating_point() else torch.float32
    x = torch.ones(width, device=first.device, dtype=dtype)
    x[1::2] = -1
    if width % 2:
        x[-3:] = torch.tensor([1.0, 1.0, -2.0], dtype=dtype) if width >= 3 else 1.0
    ones = torch.ones_like(x)
    try:
        # forward, not a call, so that no hook sees these vectors
        up, down, flat = (module.forward((100 * row)[None])[0].double() for row in (x, -x, ones))
    except (RuntimeError, TypeError, ValueError, AttributeError):
        return None
    if up.shape != x.shape:
        return None
    wide = x.double()
    gain = (up - down) / 2 * wide.square().mean().sqrt() / wide
    bias = (up + down) / 2
    size = max(float(gain.abs().max()), 1e-6)

    def error(found: Tensor, wanted: Tensor) -> float:
        return float((found.double() - wanted).abs().max()) / size

    limit = AGREES.get(dtype, 1e-4)
    stored = [p.detach() for p in parameters.values() if p.shape == x.shape]
    gains = [ones, *(made for p in stored for made in (p, 1 + p))]
    kept = min(gains, key=lambda made: error(made, gain))
    shift = min((torch.zeros_like(x), *stored), key=lambda made: error(made, bias))
    centred = error(flat, bias) < error(flat, gain + bias)
    if max(error(kept, gain), error(shift, bias), error(flat, bias if centred else gain + bias)) > limit:
        return None
    eps = next((float(getattr(module, name)) for name in ("eps", "variance_epsilon") if _number(module, name)), 0.0)
    return Norm(kept, shift if shift.any() else None, eps, centred)


def _number(module: nn.Module, name: str) -> bool:
    return isinstance(getattr(module, name, None), float)
