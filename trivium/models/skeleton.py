"""The one skeleton of native models: a stack of blocks whose parts are slots.

    hidden = position(embedding(ids))
    each block:  hidden = residual(hidden, norm, sequence mixer);  hidden = residual(hidden, norm, channel mixer)
    logits = head(norm(hidden))

An architecture fills the slots; blocks of one model may differ. What layers need to know of a pass (ids, positions,
padding, documents) comes in one ``Context``. What they remember between passes comes in two sorts: one entry per token
(``remembers = "tokens"``: keys and values, kept in a ``KeyValueState``), or a summary of fixed size (``"summary"``: a
tuple of tensors). Every sequence mixer obeys one law, to rounding: the whole sequence at once, in chunks of any
lengths, or token by token gives the same output.

Parameters are made empty and filled by role, each from its own generator, keyed by the seed and the tensor's name: two
architectures with one seed share the initial values of tensors that agree in name, shape and role.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from trivium.core import seeds
from trivium.core.errors import NotOffered
from trivium.core.protocols import LanguageModel, LMOutput, State
from trivium.models.sites import Site, Sited
from trivium.models.state import Buffers, KeyValueState, Stored, Stretch, capacity_for
from trivium.nn.linear_attention import document_numbers
from trivium.nn.sequences import Sequences, sequences

Role = Literal["in", "out", "embed", "zero", "one", "own", "drawn"]
"""What a parameter is for, hence how it starts: a matrix that reads a stream, the last matrix of a residual branch, an
embedding, a bias, a gain, a value that its module computes in ``initial(name)``, or one that it draws in
``draw(name, generator)``."""

Memory = tuple[Tensor, ...]
"""What a layer remembers where its size does not depend on the length: tensors with the batch first."""


@dataclass
class Context:
    """The facts of one pass. Masks are described here, not built; a layer derives what it needs, once per pass.

    ``positions`` (batch or 1, time). ``real`` (batch, time) bool: False for padding; None where all are real.
    ``segments`` (batch, time): documents that must not see each other. ``attend`` (batch, 1, time, slots + time) bool:
    the caller's own mask. ``slots`` earlier columns are in the state; ``seen`` (batch, slots) bool tells which are
    visible, None if all. ``rotary``: the table a position slot published. ``aux``: losses and statistics by name,
    reported by layers and handed out with the output.
    """

    ids: Tensor | None
    positions: Tensor
    time: int
    real: Tensor | None = None
    segments: Tensor | None = None
    attend: Tensor | None = None
    slots: int = 0
    seen: Tensor | None = None
    layer: int = 0
    rotary: tuple[Tensor, Tensor] | None = None
    aux: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def documents(self) -> Tensor | None:
        """(batch, time): number of the document within its row; None where each row is one."""
        return None if self.segments is None else document_numbers(self.segments, self.real)

    @cached_property
    def sequences(self) -> list[Sequences] | None:
        """The documents of all rows, each by itself without padding; None where every row is one as it stands."""
        return None if self.real is None and self.documents is None else sequences(self.real, self.documents)

    @cached_property
    def attention_mask(self) -> Tensor | None:
        """(batch or 1, 1, time, slots + time) bool: where a query may attend; None where that is the whole past."""
        if self.attend is not None:
            if self.seen is None:
                return self.attend
            new = self.seen.new_ones(self.seen.shape[0], self.time)
            return self.attend & torch.cat((self.seen, new), 1)[:, None, None]
        plain = self.real is None and self.documents is None and self.seen is None
        if plain and (self.slots == 0 or self.time == 1):
            return None
        device = self.positions.device
        keys = self.slots + self.time
        mask = torch.ones(self.time, keys, dtype=torch.bool, device=device).tril(self.slots)[None, None]
        if self.real is not None or self.seen is not None:
            mask = mask & seen_after(self.seen, self.real, self.slots, self.time)[:, None, None]
        if self.documents is not None:
            mask = mask & (self.documents[:, None, :, None] == self.documents[:, None, None, :])
        return mask


def seen_after(seen: Tensor | None, real: Tensor | None, slots: int, time: int) -> Tensor:
    """(batch, slots + time) bool: which columns are tokens, once the new ones are in. One of the two must be given."""
    known = seen if seen is not None else real
    if known is None:
        raise ValueError("all columns are tokens, so there is nothing to tell apart")
    past = known.new_ones(known.shape[0], slots) if seen is None else seen
    new = known.new_ones(known.shape[0], time) if real is None else real
    return torch.cat((past, new), 1)


class TokenMemory:
    """One layer's keys and values during one pass: those of earlier columns, and room for the new ones."""

    def __init__(self, buffers: Buffers, layer: int, slots: int, *, storing: bool = False) -> None:
        self.buffers = buffers
        self.layer = layer
        self.slots = slots
        self.storing = storing

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Take in (batch, groups, time, width) each; give back all columns so far. Raises Stored if nothing else of the
        layer is wanted."""
        self.buffers.check(self.layer, self.slots)
        keys, values = self.buffers.shifted(self.layer, keys, values)
        if self.layer not in self.buffers.keys:
            self.buffers.allocate(self.layer, keys, values)
        stop = self.slots + keys.shape[2]
        whole = []
        for store, new in ((self.buffers.keys, keys), (self.buffers.values, values)):
            old = store[self.layer]
            if old.requires_grad or (new.requires_grad and torch.is_grad_enabled()):  # the graph may hold the old one
                store[self.layer] = torch.cat((old[:, :, : self.slots], new, old[:, :, stop:]), 2)
            else:
                old[:, :, self.slots : stop] = new
            whole.append(store[self.layer][:, :, :stop])
        if self.storing:
            raise Stored
        if self.slots == 0 and not (whole[0].requires_grad or whole[1].requires_grad):
            return keys, values
        return whole[0], whole[1]  # with gradients, what is stored is what is attended to


class SequenceMixer(nn.Module, ABC):
    """Moves information along time. ``x`` is (batch, time, width), the output likewise."""

    remembers: ClassVar[Literal["tokens", "summary"]]
    causal: ClassVar[bool] = True

    def forward(self, x: Tensor, ctx: Context, memory: Any = None) -> tuple[Tensor, Any]:
        """Whichever of the three forms fits: no memory, one token, or several."""
        if memory is None:
            return self.parallel(x, ctx), None
        return self.step(x, memory, ctx) if x.shape[1] == 1 else self.forward_chunk(x, memory, ctx)

    @abstractmethod
    def parallel(self, x: Tensor, ctx: Context) -> Tensor:
        """The training form: whole sequences, from an empty memory."""

    @abstractmethod
    def forward_chunk(self, x: Tensor, memory: Any, ctx: Context) -> tuple[Tensor, Any]:
        """Go on from a memory by any number of tokens. The memory given is not changed."""

    def step(self, x: Tensor, memory: Any, ctx: Context) -> tuple[Tensor, Any]:
        """Go on by one token."""
        return self.forward_chunk(x, memory, ctx)

    def init_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Memory:
        """An empty summary. Mixers that remember tokens are given their memory by the skeleton."""
        raise TypeError(f"{type(self).__name__} remembers {self.remembers}, so its memory is made by the skeleton")

    @abstractmethod
    def state_bytes(self, length: int, dtype: torch.dtype) -> int:
        """Bytes remembered of one row of so many tokens."""

    @abstractmethod
    def flops(self, length: int) -> int:
        """Operations of the parallel form on one row of so many tokens, in the convention of ``core.meter``."""

    def sites(self) -> Mapping[str, Site]:
        """Places inside, by their names under ``blocks.{l}.attn``."""
        return {}


class ChannelMixer(nn.Module, ABC):
    """Works on each position alone."""

    @abstractmethod
    def forward(self, x: Tensor, ctx: Context) -> Tensor: ...

    @abstractmethod
    def flops(self, length: int) -> int:
        """Operations on one row of so many tokens."""

    def sites(self) -> Mapping[str, Site]:
        """Places inside, by their names under ``blocks.{l}.mlp``."""
        return {}


Residual = Callable[[Tensor, nn.Module, Callable[[Tensor], Tensor]], Tensor]
"""(stream, norm, branch) -> stream."""


def pre_norm(stream: Tensor, norm: nn.Module, branch: Callable[[Tensor], Tensor]) -> Tensor:
    """The branch reads the normalised stream and is added to it."""
    return stream + branch(norm(stream))


class Block(nn.Module):
    """One layer: a sequence mixer and a channel mixer, each with its norm, on the residual stream."""

    def __init__(
        self,
        mixer_norm: nn.Module,
        mixer: SequenceMixer,
        channel_norm: nn.Module,
        channel: ChannelMixer,
        residual: Residual = pre_norm,
    ) -> None:
        super().__init__()
        self.mixer_norm = mixer_norm
        self.mixer = mixer
        self.mid = nn.Identity()  # a place to hook the stream between the two
        self.channel_norm = channel_norm
        self.channel = channel
        self.residual = residual

    def forward(self, stream: Tensor, ctx: Context, memory: Any = None) -> tuple[Tensor, Any]:
        def mix(x: Tensor) -> Tensor:
            nonlocal memory
            y, memory = self.mixer(x, ctx, memory)
            return y

        stream = self.mid(self.residual(stream, self.mixer_norm, mix))
        return self.residual(stream, self.channel_norm, lambda x: self.channel(x, ctx)), memory

    def site_table(self) -> dict[str, Site]:
        return {
            "in": Site(self, "input"),
            "attn.norm": Site(self.mixer_norm),
            **{f"attn.{name}": site for name, site in self.mixer.sites().items()},
            "attn.out": Site(self.mixer),
            "mid": Site(self.mid),
            "mlp.norm": Site(self.channel_norm),
            **{f"mlp.{name}": site for name, site in self.channel.sites().items()},
            "mlp.out": Site(self.channel),
            "out": Site(self),
        }


class StackState(State):
    """The state of a model with summaries: one memory per layer, never changed in place, and keys and values for the
    layers that remember tokens, if there are any."""

    def __init__(self, memories: Sequence[Memory], keys: KeyValueState | None, lengths: Tensor, slots: int) -> None:
        self.memories = tuple(memories)
        self.keys = keys
        self._lengths = lengths
        self._slots = slots

    @property
    def batch(self) -> int:
        return self._lengths.shape[0]

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def lengths(self) -> Tensor:
        return self._lengths

    def bytes(self) -> int:
        held = sum(tensor.numel() * tensor.element_size() for memory in self.memories for tensor in memory)
        return held + (0 if self.keys is None else self.keys.bytes())

    def select(self, rows: Tensor) -> "StackState":
        if rows.ndim != 1 or rows.numel() == 0 or int(rows.min()) < 0 or int(rows.max()) >= self.batch:
            raise ValueError(f"rows {rows.tolist()} do not all lie in this state of {self.batch} rows")
        return StackState(
            [tuple(tensor.index_select(0, rows.to(tensor.device)) for tensor in memory) for memory in self.memories],
            None if self.keys is None else self.keys.select(rows),
            self._lengths.index_select(0, rows.cpu()),
            self._slots,
        )


def keys_of(state: State | None) -> KeyValueState | None:
    """The part of a state that remembers tokens."""
    if isinstance(state, StackState):
        return state.keys
    return state if isinstance(state, KeyValueState) else None


@dataclass(frozen=True)
class SkeletonOutput(LMOutput):
    """An output with what the layers reported beside it: auxiliary losses and statistics by name."""

    aux: Mapping[str, Tensor] = field(default_factory=dict)


class Skeleton(Sited, LanguageModel):
    """A language model on the block skeleton. ``recipe`` is the architecture that filled the slots.

    ``position(hidden, ctx)`` may add to the embeddings or publish a table; ``head(hidden)`` gives logits.
    """

    def __init__(
        self,
        recipe: Any,
        *,
        vocab_size: int,
        embedding: nn.Module,
        blocks: Sequence[Block],
        norm: nn.Module,
        head: nn.Module,
        position: nn.Module | None = None,
        max_positions: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.vocab_size = vocab_size
        self.width = recipe.width
        self.depth = len(blocks)
        self.max_positions = max_positions
        self.embedding = embedding
        self.position = position
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.head = head
        self.offers = self._offers()
        initialise(self, seed)

    @property
    def _mixers(self) -> list[SequenceMixer]:
        return [block.mixer for block in self.blocks]  # type: ignore[union-attr]

    def _offers(self) -> frozenset[str]:
        offers = {"gradient", "embeds", "layers", "sites"}
        if all(mixer.causal for mixer in self._mixers):
            offers |= {"causal", "state"}
            if all(mixer.remembers == "tokens" for mixer in self._mixers):
                offers |= {"truncate", "gather", "tree"}
        return frozenset(offers)

    def embed(self, ids: Tensor) -> Tensor:
        return self.embedding(ids)

    def run(
        self,
        ids: Tensor | None,
        *,
        embeds: Tensor | None,
        mask: Tensor | None,
        positions: Tensor | None,
        segments: Tensor | None,
        state: State | None,
        keep_state: bool,
        logits_to_keep: int,
    ) -> SkeletonOutput:
        hidden = self.embedding(ids) if embeds is None else embeds
        ctx = self._context(ids, hidden, mask, positions, segments, state)
        memories = self._memories(hidden, state) if state is not None or keep_state else [None] * self.depth
        if self.position is not None:
            hidden = self.position(hidden, ctx)
        for layer, block in enumerate(self.blocks):
            if layer in self.skipped:
                if isinstance(memory := memories[layer], TokenMemory):
                    memory.buffers.skip([layer], memory.slots)
                continue
            ctx.layer = layer
            hidden, memories[layer] = block(hidden, ctx, memories[layer])
        hidden = self.norm(hidden[:, -logits_to_keep:] if logits_to_keep else hidden)
        return SkeletonOutput(
            self.head(hidden), hidden, self._state(ctx, hidden, memories, state) if keep_state else None, ctx.aux
        )

    def layers(
        self, start: int, stop: int, hidden: Tensor, *, mask: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        if not 0 <= start <= stop <= self.depth:
            raise ValueError(f"layers {start} to {stop} do not all lie in this model of {self.depth}")
        ctx = self._context(None, hidden, mask, positions, None, None)
        if self.position is not None:  # for the table that it publishes; the stream already holds what it adds
            self.position(hidden, ctx)
        for layer in range(start, stop):
            if layer in self.skipped:
                continue
            ctx.layer = layer
            hidden, _ = self.blocks[layer](hidden, ctx)
        return hidden

    def run_layers(
        self,
        start: int,
        stop: int,
        *,
        ids: Tensor | None,
        hidden: Tensor | None,
        mask: Tensor | None,
        positions: Tensor | None,
        kept: Tensor | None,
        state: State | None,
        storing: bool,
    ) -> tuple[Tensor, State]:
        stream = self.embedding(ids) if hidden is None else hidden
        batch, time = stream.shape[:2]
        run = [layer for layer in range(start, stop) if layer not in self.skipped]
        part = Stretch.of(state, run, self.depth, time)
        part.check_kept(kept, batch, time)
        ctx = self._context(ids, stream, part.mask(mask), positions, None, part.before)
        if self.position is not None:  # above layer 0 for the table that it publishes only
            placed = self.position(stream, ctx)
            stream = placed if hidden is None else stream
        for layer in run:
            ctx.layer = layer
            memory = TokenMemory(part.buffers, layer, part.slots, storing=storing)
            with suppress(Stored):
                stream, _ = self.blocks[layer](stream, ctx, memory)
        if (whole := part.whole) is not None:
            return stream, KeyValueState(part.buffers, batch, whole.slots, whole.visible, whole.positions)
        real = ctx.real if kept is None else kept
        seen = None if ctx.seen is None and real is None else seen_after(ctx.seen, real, part.slots, time)
        after = KeyValueState(part.buffers, batch, part.slots + time, seen)
        return stream, after if kept is None else after.cut(after.seen())

    def read_out(self, hidden: Tensor) -> Tensor:
        return self.head(self.norm(hidden))

    def state_bytes(self, length: int) -> int:
        """Declared bytes of the state of one row of so many tokens."""
        return sum(mixer.state_bytes(length, self.dtype) for mixer in self._mixers)

    def flops(self, length: int) -> int:
        """Declared operations of a forward pass over one row of so many tokens."""
        blocks = sum(block.mixer.flops(length) + block.channel.flops(length) for block in self.blocks)  # type: ignore[union-attr]
        return blocks + 2 * length * self.width * self.vocab_size

    def site_table(self) -> dict[str, Site]:
        table = {"embed": Site(self.embedding)}
        for layer, block in enumerate(self.blocks):
            table |= {f"blocks.{layer}.{name}": site for name, site in block.site_table().items()}  # type: ignore[operator]
        return table | {"final.norm": Site(self.norm), "logits": Site(self.head)}

    def _context(
        self,
        ids: Tensor | None,
        hidden: Tensor,
        mask: Tensor | None,
        positions: Tensor | None,
        segments: Tensor | None,
        state: State | None,
    ) -> Context:
        """The facts of a pass, checked and simplified: a mask that hides nothing is none at all."""
        batch, time = hidden.shape[:2]
        slots = 0 if state is None else state.slots
        if state is not None and state.batch != batch:
            raise ValueError(f"the state has {state.batch} rows, the input {batch}; select the rows of the state first")
        if segments is not None:
            if state is not None:
                raise ValueError(
                    "segments are for whole rows of packed documents; leave them out when going on from a state"
                )
            if segments.shape != (batch, time):
                raise ValueError(f"segments must be ({batch}, {time}), got {tuple(segments.shape)}")
            segments = None if (segments == segments[:, :1]).all() else segments
        real = attend = None
        if mask is not None:
            if mask.dtype != torch.bool:
                raise TypeError(f"a mask is bool, True where a token is real or may be attended to; got {mask.dtype}")
            if mask.shape == (batch, time):
                real = None if mask.all() else mask
            elif mask.shape == (batch, 1, time, slots + time):
                attend = mask
            else:
                raise ValueError(
                    f"a mask must be ({batch}, {time}) or ({batch}, 1, {time}, {slots + time}), got {tuple(mask.shape)}"
                )
        if attend is not None and "tree" not in self.offers:
            raise NotOffered(
                "a 4-D mask needs 'tree': a layer of this model sums up its past and cannot hide parts of it"
            )
        keys = keys_of(state)
        seen = None if keys is None else keys.visible
        ctx = Context(ids, hidden.new_empty(0), time, real, segments, attend, slots, seen)
        ctx.positions = self._positions(ctx, hidden, state) if positions is None else positions
        if ctx.positions.shape not in ((batch, time), (1, time)):
            raise ValueError(f"positions must be ({batch}, {time}), got {tuple(ctx.positions.shape)}")
        return ctx

    def _positions(self, ctx: Context, hidden: Tensor, state: State | None) -> Tensor:
        """Real tokens so far, in the row or in the document; (1, time) where all rows agree."""
        index = torch.arange(ctx.time, device=hidden.device)[None]
        if ctx.real is not None:
            index = (ctx.real.cumsum(1) - 1).clamp(min=0)
        if ctx.documents is not None:  # count from the first token of each document
            fresh = torch.cat((torch.ones_like(ctx.documents[:, :1]), ctx.documents.diff(dim=1)), 1) > 0
            index = index - torch.where(fresh, index, 0).cummax(1).values
        if state is not None:
            start = state.next_position.to(hidden.device)[:, None]
            index = index + (start[:1] if (start == start[0]).all() else start)
        return index

    def _memories(self, hidden: Tensor, state: State | None) -> list[Any]:
        """What each layer goes on from."""
        mine = KeyValueState if "truncate" in self.offers else StackState
        if state is not None and not isinstance(state, mine):
            raise TypeError(
                f"this model goes on from states of its own, a {mine.__name__}, not a {type(state).__name__}"
            )
        batch, time = hidden.shape[:2]
        keys = keys_of(state)
        buffers = Buffers(capacity_for(time)) if keys is None else keys.room(time)
        slots = 0 if keys is None else keys.slots
        summaries: Sequence[Memory | None] = state.memories if isinstance(state, StackState) else [None] * self.depth
        return [
            TokenMemory(buffers, layer, slots)
            if mixer.remembers == "tokens"
            else summary or mixer.init_state(batch, hidden.device, hidden.dtype)
            for layer, (mixer, summary) in enumerate(zip(self._mixers, summaries, strict=True))
        ]

    def _state(self, ctx: Context, hidden: Tensor, memories: list[Any], state: State | None) -> State:
        """What the layers remember now, as a value."""
        batch, slots = hidden.shape[0], ctx.slots + ctx.time
        keys = None
        buffers = next((memory.buffers for memory in memories if isinstance(memory, TokenMemory)), None)
        if buffers is not None:
            plain = ctx.seen is None and ctx.real is None
            seen = None if plain else seen_after(ctx.seen, ctx.real, ctx.slots, ctx.time)
            at, held = None, keys_of(state)
            if held is not None and held.positions is not None:
                at = torch.cat((held.positions, ctx.positions.expand(batch, -1)), 1)
            keys = KeyValueState(buffers, batch, slots, seen, at)
            if all(isinstance(memory, TokenMemory) for memory in memories):
                return keys
        before = torch.zeros(batch, dtype=torch.int64) if state is None else state.lengths
        lengths = before + (ctx.time if ctx.real is None else ctx.real.sum(1).cpu())
        summaries = [() if isinstance(memory, TokenMemory) else memory for memory in memories]
        return StackState(summaries, keys, lengths, slots)


class Linear(nn.Linear):
    """``torch.nn.Linear`` that leaves its weights to ``initialise``, and draws no random numbers of its own."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False, role: Role = "in") -> None:
        super().__init__(inputs, outputs, bias=bias)
        self.roles: dict[str, Role] = {"weight": role, "bias": "zero"}

    def reset_parameters(self) -> None:
        """Nothing: the values come from ``initialise``."""


def linear_flops(module: nn.Module, length: int) -> int:
    """Operations of every linear layer inside a module, applied to so many positions."""
    return sum(2 * length * part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))


@torch.no_grad()
def initialise(model: Skeleton, seed: int, keep: Callable[[nn.Parameter], bool] = lambda _: False) -> None:
    """Fill every parameter by the role that its module gives it in ``roles``, but for those to ``keep`` and those on
    the meta device."""
    spread = {"in": 0.02, "embed": 0.02, "out": 0.02 / math.sqrt(2 * max(model.depth, 1))}
    filled: set[int] = set()  # a tensor that two modules share takes the name and role of the first
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            path = f"{prefix}.{name}" if prefix else name
            role = getattr(module, "roles", {}).get(name)
            if id(parameter) in filled or parameter.is_meta or keep(parameter):
                continue
            filled.add(id(parameter))
            if role in spread:
                noise = torch.randn(parameter.shape, generator=seeds.generator(seed, "init", path))
                parameter.copy_(noise * spread[role])
            elif role in ("zero", "one"):
                parameter.fill_(0.0 if role == "zero" else 1.0)
            elif role == "own":
                parameter.copy_(module.initial(name))  # type: ignore[operator]
            elif role == "drawn":
                parameter.copy_(module.draw(name, seeds.generator(seed, "init", path)))  # type: ignore[operator]
            else:
                raise TypeError(
                    f"{path} has no role; its module must name one of {', '.join(get_args(Role))} in `roles`"
                )
