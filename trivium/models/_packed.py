"""Weights a second time, in the layout of the product: bfloat16 on processors with bfloat16 instructions, 8-bit codes
on those with 8-bit dot products, float32 on all of the x86 family.

Torch keeps a weight row by row; the kernels for one to a few dozen positions want it in tiles and otherwise bring it
into that form each time, which costs as much as the product. In float32 the tiles also spare PyTorch's own kernel: on
two cores products with 4 positions took a third of the time, with 16 half, with hundreds five sixths. The sums are the
same but for their order. The copy is dropped with the weight; a weight that has been changed since is multiplied as it
is. A change shows in the weight's version, or is the step of an optimiser, whose fused kernels leave the version as it
was.
"""

import math
import platform
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.flop_counter import register_flop_formula

from trivium.models._selecting import free_bytes
from trivium.models._upcast import emulated

POSITIONS = 16
"""The number of positions for which the layout is chosen."""
MANY = 64
"""Positions up to which the second layout is used in bfloat16; beyond, bringing a weight into form costs little."""
ROOM = 4
"""A copy is made where so many of them would fit into the memory that is free."""


class Layout:
    """A weight in the layout of the product, good as long as the weight is what it was."""

    def __init__(self, weight: Tensor, tiles: Any) -> None:
        self.weight, self.tiles = weakref.ref(weight), tiles
        self.place, self.version = weight.data_ptr(), weight._version

    def holds(self) -> bool:
        weight = self.weight()
        return weight is not None and weight.data_ptr() == self.place and weight._version == self.version


_layouts: dict[int, Layout] = {}
"""By the address of the weight: a compiled step passes weights as plain tensors."""


def keep(weight: Tensor, tiles: Any) -> None:
    """Remember the layout of a weight until the weight goes or an optimiser has changed it."""
    _watch()
    layout = Layout(weight, tiles)
    _layouts[layout.place] = layout
    weakref.finalize(weight, _drop, layout)


@cache
def _watch() -> None:
    register_optimizer_step_post_hook(_changed)


def _changed(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    if _layouts:
        weights = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        for layout in [one for one in _layouts.values() if id(one.weight()) in weights]:
            _drop(layout)


def tiles_of(weight: Tensor) -> Any:
    """The weight in its layout; None where there is none, or the weight has been changed since."""
    layout = _layouts.get(weight.data_ptr())
    return layout.tiles if layout is not None and layout.holds() else None


def packs(dtype: torch.dtype = torch.bfloat16) -> bool:
    """Whether this processor gains from the second layout."""
    if dtype == torch.float32:
        return torch.backends.mkldnn.is_available() and platform.machine() in ("x86_64", "AMD64")
    return dtype == torch.bfloat16 and torch.backends.mkldnn.is_available() and not emulated()


def layers_of(model: nn.Module, dtype: torch.dtype) -> list[nn.Linear]:
    """The linear layers that the second layout helps; none on a processor that does not gain. Weights that are shared
    out over processes are none of them."""
    if not packs(dtype):
        return []
    linear = (part for part in model.modules() if type(part) is nn.Linear)
    return [
        part
        for part in linear
        if type(part.weight) is nn.Parameter
        and part.weight.dtype == dtype
        and part.weight.device.type == "cpu"
        and not part.weight.is_inference()
    ]


class Packed:
    """Linear layers whose weights are held in the second layout too."""

    def __init__(self, layers: Sequence[nn.Linear], dtype: torch.dtype) -> None:
        self.layers = list(layers)
        operator()
        self.most, positions = (MANY, POSITIONS) if dtype == torch.bfloat16 else (None, MANY)
        with torch.inference_mode(False), torch.no_grad():
            for weight in {id(layer.weight): layer.weight for layer in self.layers}.values():
                keep(weight, torch.ops.mkldnn._reorder_linear_weight(weight.detach(), positions))

    @property
    def stale(self) -> bool:
        """Whether a weight is not what it was."""
        return any(tiles_of(layer.weight) is None for layer in self.layers)

    def forward(self, layer: nn.Linear) -> Any:
        """What stands for the layer's own forward."""
        return lambda given: torch.ops.trivium.packed_linear(given, layer.weight, layer.bias)

    @contextmanager
    def over(self, positions: int) -> Iterator[None]:
        """Within the block, products with so many positions use the second layout; not where gradients are wanted."""
        many = self.most is not None and positions > self.most
        layers = () if many or torch.is_grad_enabled() else self.layers
        try:
            for layer in layers:
                vars(layer)["forward"] = self.forward(layer)
            yield
        finally:
            for layer in layers:
                vars(layer).pop("forward", None)


def room_for(layers: Sequence[nn.Linear]) -> bool:
    """Whether there is memory enough for the layers a second time."""
    weights = {layer.weight.data_ptr(): layer.weight for layer in layers}.values()
    free = free_bytes(torch.device("cpu"))
    return free is None or ROOM * sum(weight.numel() * weight.element_size() for weight in weights) <= free


def _drop(layout: Layout) -> None:
    if _layouts.get(layout.place) is layout:
        del _layouts[layout.place]


def _product(given: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    tiles = tiles_of(weight)
    if tiles is None or given.dtype != weight.dtype:
        return linear(given, weight, bias)
    return multiplied(given, tiles, bias)


def multiplied(given: Tensor, tiles: Any, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(given, tiles, bias, "none", [], "")


def _shape(given: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return given.new_empty((*given.shape[:-1], weight.shape[0]))


def _operations(given: Sequence[int], weight: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * math.prod(given) * weight[0]


def _integer_product(codes: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    tiles = tiles_of(weight)
    if tiles is None:  # on first use, also of a copy, and after a change
        tiles = torch.ops.onednn.qlinear_prepack(weight, None)
        keep(weight, tiles)
    return torch.ops.onednn.qlinear_pointwise(
        codes, 1.0, 0, tiles, scale, _zeros(len(scale)), None, 1.0, 0, torch.float32, "none", [], ""
    )


def _integer_shape(codes: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    return codes.new_empty((len(codes), len(weight)), dtype=torch.float32)


@cache
def _zeros(count: int) -> Tensor:
    with torch.inference_mode(False):
        return torch.zeros(count, dtype=torch.int32)


@cache
def operator() -> torch.library.Library:
    """The products as operators that a compiler leaves alone. Nothing is registered before it is wanted."""
    library = torch.library.Library("trivium", "FRAGMENT")
    library.define("packed_linear(Tensor given, Tensor weight, Tensor? bias) -> Tensor")
    library.impl("packed_linear", _product, "CPU")
    library.impl("packed_linear", _shape, "Meta")
    register_flop_formula(torch.ops.trivium.packed_linear)(_operations)
    library.define("integer_product(Tensor codes, Tensor weight, Tensor scale) -> Tensor")
    library.impl("integer_product", _integer_product, "CPU")
    library.impl("integer_product", _integer_shape, "Meta")
    return library
