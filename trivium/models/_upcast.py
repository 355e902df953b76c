"""bfloat16 weights on processors without bfloat16 instructions: products in float32 where several positions share them.

On such processors torch multiplies a matrix by one bfloat16 vector at the speed of memory, but by several of them one
after the other, so that a prompt takes six times as long as in float32. Here each weight is widened when it is used
and dropped again: the sums are float32 as before, and no second copy of the weights is kept.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

LEAST = 3
"""Positions (rows times new tokens) from which widening a weight costs less than it saves."""
PIECE = 2**20
"""Numbers of a weight that are widened at a time: few enough to be multiplied while they are still in the cache."""


@cache
def emulated() -> bool:
    """Whether this processor only emulates products in bfloat16."""
    return not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Upcast:
    """The linear layers of a model that are worth widening; none where the processor can do without."""

    def __init__(self, model: nn.Module) -> None:
        self.layers: list[nn.Linear] = []
        if emulated():
            self.layers = [part for part in model.modules() if type(part) is nn.Linear and suits(part.weight)]

    def forward(self, layer: nn.Linear) -> "Wide":
        """What stands for the layer's own forward."""
        return Wide(layer)

    @contextmanager
    def over(self, positions: int) -> Iterator[None]:
        """Within the block, products with so many positions are made in float32; not where gradients are wanted."""
        layers = () if positions < LEAST or torch.is_grad_enabled() else self.layers
        try:
            for layer in layers:
                vars(layer)["forward"] = Wide(layer)
            yield
        finally:
            for layer in layers:
                vars(layer).pop("forward", None)


def suits(weight: Tensor) -> bool:
    return weight.dtype == torch.bfloat16 and weight.device.type == "cpu"


class Wide:
    """The forward of a linear layer, in float32 where that pays."""

    def __init__(self, layer: nn.Linear) -> None:
        self.layer = layer

    def __call__(self, given: Tensor) -> Tensor:
        layer = self.layer
        positions = given.numel() // layer.in_features
        if positions < LEAST or given.dtype != torch.bfloat16 or not suits(layer.weight):
            return linear(given, layer.weight, layer.bias)
        wide, pieces = given.float(), layer.weight.split(max(PIECE // layer.in_features, 1))
        made = [linear(wide, widened(piece)) for piece in pieces]
        whole = made[0] if len(made) == 1 else torch.cat(made, -1)
        return (whole if layer.bias is None else whole.add_(layer.bias)).to(torch.bfloat16)


_room = threading.local()


def widened(piece: Tensor) -> Tensor:
    """The numbers in float32, in a place that is used over and over: to be given fresh memory by the system for each
    costs more than the product. A compiler sees to its own memory."""
    if torch.compiler.is_compiling():
        return piece.float()
    room = getattr(_room, "tensor", None)
    if room is None or room.numel() < piece.numel():
        room = _room.tensor = torch.empty(max(PIECE, piece.numel()))
    return room[: piece.numel()].view(piece.shape).copy_(piece)
