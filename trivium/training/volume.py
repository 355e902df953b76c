"""What the processes of a mesh send each other in a training step: counted, and worked out beforehand.

A collective over n processes counts as its ring does: an all-gather or a reduce-scatter of S bytes sends (n - 1) / n S
from each process, an all-reduce twice that; a message sends what it holds.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import _world
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

NUMBERS = 16
"""Tensors of so few numbers, such as the sums of a loss, are not counted."""

KINDS = {
    "allgather": "gather",
    "all_gather": "gather",
    "reduce_scatter": "scatter",
    "allreduce": "reduce",
    "all_reduce": "reduce",
    "send": "send",
}


@dataclass
class Sent:
    """Bytes that this process sent, by sort of message: "gather", "scatter", "reduce" and "send"."""

    bytes: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("gather", "scatter", "reduce", "send"), 0.0))

    @property
    def total(self) -> float:
        return sum(self.bytes.values())


class _Counter(TorchDispatchMode):
    def __init__(self, sent: Sent) -> None:
        super().__init__()
        self.sent = sent

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(not issubclass(kind, Tensor) or kind.__name__ == "DTensor" for kind in types):
            return NotImplemented  # a DTensor takes itself apart first
        name = func._schema.name.split("::")
        if name[0] in ("c10d", "_c10d_functional", "_c10d_functional_autograd"):
            sort = next((sort for word, sort in KINDS.items() if name[1].lstrip("_").startswith(word)), None)
            out = func(*args, **(kwargs or {}))
            if sort is not None:
                self._count(sort, out if name[0] != "c10d" and sort == "gather" else args, _size(args, kwargs))
            return out
        return func(*args, **(kwargs or {}))

    def _count(self, sort: str, among: Any, parts: int) -> None:
        """The largest tensor is the whole one: what a gather gives, what a scatter is given."""
        sizes = [x.numel() * x.element_size() for x in tree_leaves(among) if isinstance(x, Tensor)]
        numbers = max((x.numel() for x in tree_leaves(among) if isinstance(x, Tensor)), default=0)
        if numbers > NUMBERS:
            share = {"send": 1.0, "reduce": 2 * (parts - 1) / parts}.get(sort, (parts - 1) / parts)
            self.sent.bytes[sort] += share * max(sizes)


def _size(args: Any, kwargs: Any) -> int:
    """Of the group that a collective is told, by itself or by its name."""
    by_name: dict[str, int] = {name: group.size() for group, name in _world.pg_names.items()}
    for word in tree_leaves((args, kwargs)):
        if isinstance(word, dist.ProcessGroup):
            return word.size()
        if isinstance(word, str) and word in by_name:
            return by_name[word]
    return dist.get_world_size()


@contextmanager
def counted() -> Iterator[Sent]:
    """Count what this process sends while the block runs."""
    sent = Sent()
    with _Counter(sent):
        yield sent


@dataclass(frozen=True)
class Decoder:
    """The shape of a decoder, as far as its cost goes: heads and groups of equal width, a feed-forward of ``matrices``
    matrices."""

    width: int
    depth: int
    hidden: int
    vocab_size: int
    heads: int = 1
    kv_heads: int = 1
    matrices: int = 3

    @property
    def divided(self) -> int:
        """Parameters of one block that tensor parallelism divides."""
        keys = self.width * self.kv_heads // self.heads
        return 2 * self.width * (self.width + keys) + self.matrices * self.width * self.hidden

    @property
    def parameters(self) -> int:
        """All, with an untied head."""
        return self.depth * (self.divided + 2 * self.width) + self.width + 2 * self.vocab_size * self.width

    def flops(self, tokens: int, length: int) -> float:
        """Of a training step: three times the forward pass."""
        linear = 2 * (self.depth * self.divided + self.vocab_size * self.width)
        return 3.0 * tokens * (linear + 2 * self.depth * self.width * (length + 1))


@dataclass(frozen=True)
class Layout:
    """A mesh, and what one process does in a step: micro-batches of so many tokens."""

    data: int
    tensor: int
    pipeline: int
    micro_batches: int
    tokens: int

    @property
    def processes(self) -> int:
        return self.data * self.tensor * self.pipeline

    @property
    def bubble(self) -> float:
        """Share of a step in which a stage waits."""
        return (self.pipeline - 1) / (self.micro_batches + self.pipeline - 1)


def predicted(model: Decoder, layout: Layout, *, activations: int = 4, weights: int = 4) -> dict[str, float]:
    """Bytes that a process in the middle of the pipeline sends in a step, by axis; ``activations`` and ``weights`` in
    bytes a number.

    tensor: one all-reduce behind each divided layer in the forward pass, one for each of its matrices on the way in in
    the backward pass. data: FSDP2 gathers a block for either pass and scatters its gradient once; what lies outside
    the blocks is gathered once. In a pipeline blocks stay whole for all micro-batches, and what lies outside is with
    the first and the last stage. pipeline: the residual stream there, its gradient back.
    """
    stream = layout.tokens * model.width * activations
    blocks = model.depth / layout.pipeline
    ring = lambda n: (n - 1) / n  # noqa: E731
    columns = 3 + (model.matrices - 1)
    tensor = layout.micro_batches * blocks * (2 + columns) * 2 * ring(layout.tensor) * stream
    block = (model.divided / layout.tensor + 2 * model.width) * weights
    outside = (2 * model.vocab_size * model.width + model.width) * weights
    if layout.pipeline == 1:
        data = layout.micro_batches * ring(layout.data) * (3 * blocks * block + 2 * outside)
    else:
        data = ring(layout.data) * 2 * blocks * block
    pipeline = 0.0 if layout.pipeline == 1 else 2.0 * layout.micro_batches * stream
    return {"tensor": tensor, "data": data, "pipeline": pipeline}


@dataclass(frozen=True)
class Hardware:
    """One accelerator: operations a second that training reaches, bytes a second within a node and between nodes."""

    name: str
    flops: float
    inside: float
    between: float
    memory: float
    per_node: int = 8


@dataclass(frozen=True)
class Projection:
    """What a step would cost if nothing overlapped; seconds, and bytes a device."""

    compute: float
    tensor: float
    data: float
    pipeline: float
    bubble: float
    memory: float

    @property
    def seconds(self) -> float:
        """Without any overlap of sending and computing, the worst case."""
        return (self.compute + self.tensor + self.pipeline) / (1 - self.bubble) + self.data


def projected(model: Decoder, layout: Layout, length: int, hardware: Hardware) -> Projection:
    """A step of a model on many accelerators, in bfloat16 with float32 weights and AdamW: 16 bytes a parameter, in a
    pipeline 4 more for the weights and gradients of a stage that stay whole through its micro-batches, and of the
    activations the stream that enters each block, the rest being computed again.

    The tensor axis lies within a node, where there is room; the others go between nodes.
    """
    sent = predicted(model, layout, activations=2, weights=2)
    step = model.flops(layout.tokens * layout.micro_batches * layout.data, length) * 4 / 3  # blocks computed again
    own = model.parameters / (layout.tensor * layout.pipeline * layout.data)
    stream = layout.tokens * model.width * 2 * math.ceil(model.depth / layout.pipeline)
    whole = 0.0 if layout.pipeline == 1 else 4 * model.parameters / (layout.tensor * layout.pipeline)
    waiting = min(layout.pipeline, layout.micro_batches)
    return Projection(
        compute=step / layout.processes / hardware.flops,
        tensor=sent["tensor"] / (hardware.inside if layout.tensor <= hardware.per_node else hardware.between),
        data=sent["data"] / hardware.between,
        pipeline=sent["pipeline"] / hardware.between,
        bubble=layout.bubble,
        memory=16 * own + whole + stream * waiting,
    )
