"""Weights as 8-bit integers: half the bytes of bfloat16 to read for each token; all else stays bfloat16.

Each output channel j of a linear layer has one scale; activations are not rounded to 8 bits.

    scale_j = max_i |W_ji| / 127, in bfloat16;   codes_ji = round(W_ji / scale_j);   y_j = scale_j sum_i codes_ji x_i

One to a few positions go through torch's own weight-only kernel, which needs no preparation of the activations. More
of them would be multiplied one after the other there, and a large weight keeps it waiting. On processors with 8-bit dot
products both go through these instead: each activation is written as two 8-bit numbers, so that it keeps 15 bits of the
largest one of its position, and the sums of integers are exact. That needs the codes a second time, in the layout of
the product. In a compiled step, where the preparation costs next to nothing, all positions go this way. On other
processors a piece of the codes at a time is widened to float32.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from trivium.core.errors import NotFinite, NotOffered
from trivium.models._packed import operator
from trivium.models._upcast import PIECE, widened

TOP = 127
"""Largest code; -128 is left out, so that the codes are symmetric."""
FEW = 4
"""Positions (rows times new tokens) up to which the weight-only kernel is the fastest."""
LARGE = 2**21
"""Codes of a weight from which on even one position is faster in 8-bit dot products."""
FINE = 2 * TOP
"""Steps of the second 8-bit number of an activation in one of the first."""
LANES = 32
"""The weight-only kernel reads so many codes at a time, and past the end of rows that are no multiple of them."""
MANY = 512
"""Positions multiplied at once, which bounds the float32 results."""


@cache
def dot_products() -> bool:
    """Whether this processor has instructions for 8-bit dot products."""
    return torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported()


def quantise(hf: PreTrainedModel) -> PreTrainedModel:
    """The model with its linear layers, the head included, replaced in place; their float weights are let go of.

    An embedding that shares its weights with the head stays as it is. Raises NotOffered for a model without linear
    layers or one that is not on the CPU, NotFinite for damaged weights.
    """
    if hf.device.type != "cpu":
        raise NotOffered(f"8-bit weights are multiplied on the CPU only, this model is on {hf.device}; use bfloat16")
    found = [(name, part) for name, part in hf.named_modules() if type(part) in (nn.Linear, Conv1D)]
    if not found:
        raise NotOffered(f"{type(hf).__name__} has no linear layers to hold in 8 bits; use bfloat16")
    for name, part in found:
        path, _, last = name.rpartition(".")
        setattr(hf.get_submodule(path), last, Int8Linear.of(part, name))
    setattr(hf, "save_pretrained", _refuse)  # noqa: B010  an ordinary method, which the type checker would not let go
    return hf


def quantised(module: nn.Module) -> bool:
    """Whether any part holds its weights in 8 bits."""
    return any(isinstance(part, Int8Linear) for part in module.modules())


class Int8Linear(nn.Module):
    """A linear layer. It has no ``weight``, so that whoever wants to read one fails instead of reading codes."""

    def __init__(self, codes: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = codes.shape
        self.codes = nn.Parameter(codes, requires_grad=False)  # (out, in) int8
        self.scale = nn.Parameter(scale, requires_grad=False)  # (out,)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.integers = dot_products()
        if self.integers:
            operator()

    @classmethod
    def of(cls, layer: nn.Module, name: str) -> "Int8Linear":
        """The layer in 8 bits. Raises NotFinite, with its name, where weights are not finite."""
        weight = layer.get_parameter("weight").detach().float()
        weight = weight.T if isinstance(layer, Conv1D) else weight  # (out, in)
        if not weight.isfinite().all():
            raise NotFinite(f"{name} has weights that are NaN or infinite; the file may be damaged, fetch it again")
        scale = (weight.abs().amax(1) / TOP).to(layer.get_parameter("weight").dtype)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        codes = (weight / scale.float()[:, None]).round().clamp(-TOP, TOP).to(torch.int8)
        bias: Any = layer.bias
        return cls(codes.contiguous(), scale, None if bias is None else bias.detach().clone())

    def widened(self) -> Tensor:
        """(out, in): the weights that the codes stand for, in the number format of the activations."""
        return self.codes.to(self.scale.dtype) * self.scale[:, None]

    def forward(self, given: Tensor) -> Tensor:
        if given.requires_grad and torch.is_grad_enabled():
            raise NotOffered("no gradient flows through 8-bit weights; load the model in float32 or bfloat16")
        rows = given.reshape(-1, self.in_features)
        compiling = torch.compiler.is_compiling()
        if self.integers and (compiling or len(rows) > FEW or self.codes.numel() >= LARGE):
            made = torch.cat([self._in_integers(part) for part in rows.split(MANY)])
        elif (len(rows) <= FEW or compiling) and self.in_features % LANES == 0:
            made = torch._weight_int8pack_mm(rows.contiguous(), self.codes, self.scale)
        else:
            made = torch.cat([self._in_float32(part) for part in rows.split(MANY)])
        if self.bias is not None:
            made = made + self.bias
        return made.view(*given.shape[:-1], self.out_features)

    def _in_integers(self, rows: Tensor) -> Tensor:
        codes, step = as_integers(rows)
        sums = torch.ops.trivium.integer_product(codes, self.codes, self.scale.float())  # (2 rows, out)
        coarse, fine = sums.chunk(2)
        return torch.add(coarse, fine, alpha=1 / FINE).mul_(step).to(rows.dtype)

    def _in_float32(self, rows: Tensor) -> Tensor:
        wide = rows.float()
        made = [linear(wide, widened(piece)) for piece in self.codes.split(max(PIECE // self.in_features, 1))]
        return torch.cat(made, -1).mul_(self.scale).to(rows.dtype)


def as_integers(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(n, in) -> codes (2 n, in) int8 and steps (n, 1): row = step (codes of the first half + second half / FINE)."""
    wide = rows.float()
    step = wide.abs().amax(1, keepdim=True).clamp_(min=torch.finfo(torch.float32).tiny) / TOP
    wide = wide / step
    coarse = wide.round()
    return torch.cat([coarse, (wide - coarse).mul_(FINE).round_()]).to(torch.int8), step


def _refuse(*args: Any, **kwargs: Any) -> None:
    raise NotOffered(
        "a model in 8 bits is made when it is loaded and is not saved; save the original and load it with dtype='int8'"
    )
