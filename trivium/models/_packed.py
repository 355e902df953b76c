"""bfloat16 weights a second time, in the layout of the product, on processors with bfloat16 instructions.

Torch keeps a weight row by row; the kernels for one to a few dozen positions want it in tiles and otherwise bring it
into that form each time, which costs as much as the product. The sums are the same but for their order. The copy is
made when a step is compiled, and dropped with the weight; a weight that has been changed since is multiplied as it is.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from trivium.models._upcast import emulated, suits

POSITIONS = 16
"""The number of positions for which the layout is chosen."""
MANY = 64
"""Positions up to which the second layout is used; beyond, bringing a weight into form costs little."""


class Layout:
    """A weight in the layout of the product, good as long as the weight is what it was."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weakref.ref(weight)
        self.place, self.version = weight.data_ptr(), weight._version
        with torch.no_grad():
            self.tiles: Any = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), POSITIONS)

    def holds(self) -> bool:
        weight = self.weight()
        return weight is not None and weight.data_ptr() == self.place and weight._version == self.version


_layouts: dict[int, Layout] = {}
"""By the address of the weight: a compiled step passes weights as plain tensors."""


def packs() -> bool:
    """Whether this processor gains from the second layout."""
    return torch.backends.mkldnn.is_available() and not emulated()


class Packed:
    """The linear layers of a model whose weights are held in the second layout too; none where it does not help."""

    def __init__(self, model: nn.Module) -> None:
        self.layers: list[nn.Linear] = []
        if packs():
            self.layers = [
                part
                for part in model.modules()
                if type(part) is nn.Linear and suits(part.weight) and not part.weight.is_inference()
            ]
        for layer in self.layers:
            layout = Layout(layer.weight)
            _layouts[layout.place] = layout
            weakref.finalize(layer.weight, _drop, layout)
        self._operator = operator() if self.layers else None

    def forward(self, layer: nn.Linear) -> Any:
        """What stands for the layer's own forward."""
        return lambda given: torch.ops.trivium.packed_linear(given, layer.weight, layer.bias)

    @contextmanager
    def over(self, positions: int) -> Iterator[None]:
        """Within the block, products with so many positions use the second layout; not where gradients are wanted."""
        layers = () if positions > MANY or torch.is_grad_enabled() else self.layers
        try:
            for layer in layers:
                vars(layer)["forward"] = self.forward(layer)
            yield
        finally:
            for layer in layers:
                vars(layer).pop("forward", None)


def _drop(layout: Layout) -> None:
    if _layouts.get(layout.place) is layout:
        del _layouts[layout.place]


def _product(given: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    layout = _layouts.get(weight.data_ptr())
    if layout is None or given.dtype != torch.bfloat16 or not layout.holds():
        return linear(given, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(given, layout.tiles, bias, "none", [], "")


def _shape(given: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return given.new_empty((*given.shape[:-1], weight.shape[0]))


@cache
def operator() -> torch.library.Library:
    """The product as an operator that a compiler leaves alone. Nothing is registered before it is wanted."""
    library = torch.library.Library("trivium", "FRAGMENT")
    library.define("packed_linear(Tensor given, Tensor weight, Tensor? bias) -> Tensor")
    library.impl("packed_linear", _product, "CPU")
    library.impl("packed_linear", _shape, "Meta")
    return library
