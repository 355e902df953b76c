"""A decoding step whose shapes never change, compiled.

Passes of few new tokens over a small model spend much of their time between the kernels. The step here reads and
writes whole buffers of fixed capacity under a mask; short passes are padded to the next of a few widths, and the
padding lies behind the columns in use, where it is overwritten later.

All blocks of a model are alike, so a span of some of them is compiled once and called with the weights of each span in
turn: compiling takes seconds where the whole model would take minutes.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from trivium.core.protocols import LMOutput
from trivium.models._attention import GROUPED, allowed, within
from trivium.models._cache import FixedWriter
from trivium.models.state import Buffers, KeyValueState

if TYPE_CHECKING:
    from trivium.models.huggingface import HuggingFaceModel

WIDTHS = (1, 8, 16, 32)
"""Numbers of new tokens that are compiled for; others are padded to the next."""

CAPACITY = 256
"""Smallest capacity of buffers for compiled steps; it doubles, and each size is compiled once."""

SPANS = (6, 5, 4, 3, 2, 1)
"""Numbers of blocks that may be compiled together, the best first."""

LIMIT = 64
"""Compiled variants (batch sizes x widths x capacities) kept before the compiler gives up."""

Weights = tuple[dict[str, Tensor], ...]
Call = tuple[tuple[Any, ...], dict[str, Any]]


class CompiledStep:
    """The compiled step of one model. ``backend`` is that of ``torch.compile``."""

    def __init__(self, model: "HuggingFaceModel", backend: str = "inductor") -> None:
        self.model = model
        blocks = list(model.parts.blocks)
        self.span = span(blocks, getattr(model.config, "layer_types", None))
        # Structure only: the weights are given anew with each call.
        patterns = [copy.deepcopy(block).to("meta") for block in blocks[: self.span]]
        for part in (part for block in patterns for part in block.modules()):
            config: Any = getattr(part, "config", None)
            if config is not None:
                config._attn_implementation = GROUPED
            if model.upcast.layers and type(part) is nn.Linear:
                vars(part)["forward"] = model.upcast.forward(part)
        self.weights = [
            [named(block) for block in blocks[at : at + self.span]] for at in range(0, len(blocks), self.span)
        ]
        self.warm: set[tuple[int, int, int]] = set()

        def run(weights: Weights, hidden: Tensor, calls: tuple[Call, ...]) -> Tensor:
            for block, own, (args, kwargs) in zip(patterns, weights, calls, strict=True):
                hidden = torch.func.functional_call(block, own, (hidden, *args), kwargs)
            return hidden

        self.compiled: Callable[[Weights, Tensor, tuple[Call, ...]], Tensor] = torch.compile(
            run, backend=backend, dynamic=False, fullgraph=True
        )

    def fits(self, time: int) -> bool:
        return time <= WIDTHS[-1]

    def __call__(
        self,
        ids: Tensor,
        mask: Tensor | None,
        where: Tensor,
        state: KeyValueState,
        keep_state: bool,
        logits_to_keep: int,
        *,
        explicit: bool,
    ) -> LMOutput:
        model, slots = self.model, state.slots
        batch, time = ids.shape
        width = next(size for size in WIDTHS if size >= time)
        buffers = state.room(width, least=CAPACITY)
        # Inside inference mode the compiler would see other tensors than outside, and compile everything twice.
        shape = (batch, width, buffers.capacity)
        known = shape in self.warm
        with torch.inference_mode(False), torch.no_grad(), _compiling(known):
            fed = torch.zeros(batch, width, dtype=torch.long, device=ids.device)
            fed[:, :time] = ids
            at = torch.zeros(batch, width, dtype=torch.long, device=ids.device)
            at[:, :time] = where
            columns = torch.arange(slots, slots + width, device=ids.device)
            arguments: dict[str, Any] = {
                "input_ids": fed,
                "attention_mask": self._masks(mask, state, at, time, width, buffers.capacity),
                "past_key_values": FixedWriter(buffers, columns, range(model.depth)),
                "use_cache": True,
            }
            if model.takes_positions:
                arguments["position_ids"] = at + model.first_position
            with self._spanned(buffers, columns):
                hidden = model.parts.base(**arguments)[0]
            first = time - logits_to_keep if logits_to_keep else 0
            hidden = hidden[:, first:time]
            with model.upcast.over(batch * hidden.shape[1]):
                logits = model.parts.head(hidden)
        self.warm.add(shape)
        after = model.after(buffers, ids, mask, state, where, explicit=explicit) if keep_state else None
        return LMOutput(logits, hidden, after)

    @contextmanager
    def _spanned(self, buffers: Buffers, columns: Tensor) -> Iterator[None]:
        """Within the block, the model's own loop over its blocks runs spans: each block notes how it was called, and
        the last one of a span runs them all."""
        calls: list[Call] = []
        blocks = list(self.model.parts.blocks)

        def replacing(layer: int) -> Callable[..., Tensor]:
            def forward(hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
                calls.append((args, kwargs))
                if len(calls) < self.span:
                    return hidden
                layers = range(layer - self.span + 1, layer + 1)
                writer = FixedWriter(buffers, columns, layers)
                own = lambda value: writer if isinstance(value, Cache) else value  # noqa: E731
                given = tuple((tuple(map(own, a)), {name: own(value) for name, value in k.items()}) for a, k in calls)
                calls.clear()
                weights = tuple(
                    {name: held[key] for name, held, key in own} for own in self.weights[layer // self.span]
                )
                return self.compiled(weights, hidden, given)

            return forward

        try:
            for layer, block in enumerate(blocks):
                block.forward = replacing(layer)
            yield
        finally:
            for block in blocks:
                vars(block).pop("forward", None)

    def _masks(
        self, mask: Tensor | None, state: KeyValueState, at: Tensor, time: int, width: int, capacity: int
    ) -> Any:
        """(batch, 1, width, capacity) bool, one for each type of layer where they differ."""
        slots, batch = state.slots, state.batch
        whole = torch.zeros(batch, 1, width, capacity, dtype=torch.bool, device=at.device)
        whole[:, :, :time, : slots + time] = allowed(
            time, slots, mask=mask, seen=state.visible, segments=None, device=at.device
        )
        if width > time:  # padding sees itself, so that nothing is NaN
            itself = torch.eye(width - time, dtype=torch.bool, device=at.device)
            whole[:, :, time:, slots + time : slots + width] = itself
        masks: dict[str, Tensor] = {}
        for kind, window in (self.model.windows or {"": None}).items():
            masks[kind] = whole
            if window is not None:
                keys = torch.zeros(batch, capacity, dtype=torch.long, device=at.device)
                keys[:, :slots], keys[:, slots : slots + width] = state.at(), at
                masks[kind] = whole & within(window, at, keys)
        return masks if len(masks) > 1 else next(iter(masks.values()))


def _compiling(known: bool) -> AbstractContextManager[Any]:
    """For a shape that was compiled before, only the guards that tell the variants apart are evaluated: the others,
    several hundred on weights and modules, have been found true and cost milliseconds."""
    if known:
        return torch.compiler.set_stance(skip_guard_eval_unsafe=True)
    return torch._dynamo.config.patch(recompile_limit=LIMIT)


def named(block: nn.Module) -> list[tuple[str, dict[str, Any], str]]:
    """Where each weight of a block is held: its full name, the dict of its module, and its name there. Read anew at
    each step, so weights that are exchanged are seen; modules that are exchanged are not."""
    return [
        (f"{path}.{name}" if path else name, held, name)
        for path, module in block.named_modules()
        for held in (module._parameters, module._buffers)
        for name, tensor in held.items()
        if tensor is not None
    ]


def weights_of(block: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from block.named_parameters()
    yield from block.named_buffers()


def span(blocks: list[nn.Module], kinds: list[str] | None) -> int:
    """The number of blocks after which they repeat: same type, weights of the same shapes, same kind of attention."""
    looks = [
        (type(block), kinds[index] if kinds else "", tuple((name, x.shape) for name, x in weights_of(block)))
        for index, block in enumerate(blocks)
    ]
    for size in SPANS:
        if len(blocks) % size == 0 and all(look == looks[index % size] for index, look in enumerate(looks)):
            return size
    return len(blocks)
