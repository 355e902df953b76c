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
from collections import UserDict, UserList
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
embedding, a bias, a gain, a value that its module computes in ``initial(name)``, or one that it draws itself in
``draw(name, generator)``."""

Divided = Literal["columns", "rows"]
"""How a linear layer is divided over processes: by what comes out of it, or by what goes in."""

Memory = tuple[Tensor, ...]
"""What a layer remembers where its size does not depend on the length: tensors with the batch first."""


@dataclass
class Context:
    """The facts of one pass. Masks are described here, not built; a layer derives what it needs, once per pass.

    ``positions`` (batch or 1, time): counted, or given where ``explicit``. ``real`` (batch, time) bool: False for
    padding; None where all are real. ``segments`` (batch, time): documents that must not see each other. ``attend``
    (batch, 1, time, slots + time) bool: the caller's own mask. ``slots`` earlier columns are in the state; ``seen``
    (batch, slots) bool tells which are visible, None if all; ``past``: that part of the state, for layers that ask
    where its tokens stand. ``lexicon``: what embedding and head are given beside their input, if anything. ``rotary``
    and ``relative``: what a position slot published: a table by position, or vectors of relative positions and which of
    them each pair has, (batch or 1, time, slots + time). ``streams``: the streams of the pass so far, where blocks look
    back on them. ``aux``: losses of each token (batch, time) and statistics, which layers report as "name.layer" and
    which are handed out with the output; what a loss weighs in training, LanguageModel.auxiliary tells by its name.
    """

    ids: Tensor | None
    positions: Tensor
    time: int
    real: Tensor | None = None
    segments: Tensor | None = None
    attend: Tensor | None = None
    slots: int = 0
    seen: Tensor | None = None
    past: KeyValueState | None = None
    explicit: bool = False
    lexicon: tuple[Tensor, ...] = ()
    layer: int = 0
    rotary: tuple[Tensor, Tensor] | None = None
    relative: tuple[Tensor, Tensor] | None = None
    # No list and no dict: of these FSDP would hand each block a copy, and what it adds would be lost.
    streams: UserList[Tensor] = field(default_factory=UserList)
    aux: UserDict[str, Tensor] = field(default_factory=UserDict)
    _last_seen: dict[int, Tensor] = field(default_factory=dict)

    @cached_property
    def documents(self) -> Tensor | None:
        """(batch, time): number of the document within its row; None where each row is one."""
        return None if self.segments is None else document_numbers(self.segments, self.real)

    @cached_property
    def sequences(self) -> list[Sequences] | None:
        """The documents of all rows, each by itself without padding; None where every row is one as it stands."""
        return None if self.real is None and self.documents is None else sequences(self.real, self.documents)

    @cached_property
    def key_positions(self) -> Tensor:
        """(batch or 1, slots + time): where each column stands, those of the state first."""
        if self.past is None or self.slots == 0:
            return self.positions
        counted = self.past.visible is None and self.past.positions is None
        before = self.past.at()[:1] if counted else self.past.at()  # counted rows are all alike
        rows = max(len(before), len(self.positions))
        return torch.cat((before.expand(rows, -1), self.positions.expand(rows, -1)), 1)

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

    @cached_property
    def unbroken(self) -> bool:
        """Whether a query may see all columns before it, back to where its document begins: no padding, no dropped
        drafts, no mask of the caller's."""
        return self.real is None and self.seen is None and self.attend is None

    def last_seen(self, window: int) -> Tensor:
        """(batch or 1, 1, time, slots + time) bool: of the columns that a query may see, the last ``window``. What is
        unbroken needs no such mask to work by."""
        if window not in self._last_seen:
            mask = self.attention_mask
            if mask is None:
                keys = self.slots + self.time
                mask = torch.ones(self.time, keys, dtype=torch.bool, device=self.positions.device)
                mask = mask.tril(self.slots)[None, None]
            later = mask.flip(-1).cumsum(-1, dtype=torch.int32).flip(-1)  # visible ones from each column on
            self._last_seen[window] = mask & (later <= window)
        return self._last_seen[window]

    @cached_property
    def document_mask(self) -> Tensor | None:
        """(batch, 1, time, time) bool: the real tokens of a query's own document, before and behind it, for layers that
        look both ways; None where those are all columns."""
        mask = None if self.real is None else self.real[:, None, None].expand(-1, 1, self.time, -1)
        if self.documents is not None:
            alike = self.documents[:, None, :, None] == self.documents[:, None, None, :]
            mask = alike if mask is None else mask & alike
        return mask


def seen_after(seen: Tensor | None, real: Tensor | None, slots: int, time: int) -> Tensor:
    """(batch, slots + time) bool: which columns are tokens, once the new ones are in. One of the two must be given."""
    known = seen if seen is not None else real
    if known is None:
        raise ValueError("all columns are tokens, so there is nothing to tell apart")
    past = known.new_ones(known.shape[0], slots) if seen is None else seen
    new = known.new_ones(known.shape[0], time) if real is None else real
    return torch.cat((past, new), 1)


def checked(
    batch: int, time: int, mask: Tensor | None, segments: Tensor | None, state: State | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """What a pass was told, simplified: (batch, time) real tokens, a 4-D mask, (batch, time) segments; each None where
    it hides or parts nothing. Raises ValueError and TypeError for what does not fit together."""
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
    return real, attend, segments


class TokenMemory:
    """One layer's keys and values during one pass: those of earlier columns, and room for the new ones."""

    def __init__(self, buffers: Buffers, layer: int, slots: int, *, storing: bool = False) -> None:
        self.buffers = buffers
        self.layer = layer
        self.slots = slots
        self.storing = storing

    @property
    def keys(self) -> Tensor | None:
        """(batch, groups, slots, width): what was kept of the earlier columns; None where there are none."""
        return self.buffers.keys[self.layer][:, :, : self.slots] if self.slots else None

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
    bidirectional: ClassVar[bool] = False
    """Whether, under a mask that lets it, every position sees every other."""
    relative: ClassVar[bool] = False
    """Whether it asks where the tokens of its memory stand, ``Context.key_positions``."""
    reads_ids: ClassVar[bool] = False
    """Whether it looks at ``ctx.ids``, so that embeddings alone are not enough."""

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

    def shared_flops(self) -> int:
        """Operations on top of a pass of any number of rows."""
        return 0

    def tensor_plan(self) -> Mapping[str, Divided]:
        """Linear layers that several processes may hold in parts: by "columns" (of outputs) on the way in, by "rows"
        (of inputs) on the way out. Where there are none, each process holds the whole."""
        return {}

    def sites(self) -> Mapping[str, Site]:
        """Places inside, by their names under ``blocks.{l}.attn``."""
        return {}


class TwoWayMixer(SequenceMixer):
    """One that reads later tokens too, and so has nothing to go on from."""

    remembers = "summary"
    causal = False

    def forward_chunk(self, x: Tensor, memory: Any, ctx: Context) -> tuple[Tensor, Any]:
        raise NotOffered(f"{type(self).__name__} reads later tokens too, so it cannot go on from a memory")

    def state_bytes(self, length: int, dtype: torch.dtype) -> int:
        return 0


class ChannelMixer(nn.Module, ABC):
    """Works on each position alone. One that looks at others, later ones included, says that it is not ``causal``."""

    causal: bool = True

    @abstractmethod
    def forward(self, x: Tensor, ctx: Context) -> Tensor: ...

    @abstractmethod
    def flops(self, length: int) -> int:
        """Operations on one row of so many tokens."""

    def tensor_plan(self) -> Mapping[str, Divided]:
        """Linear layers that several processes may hold in parts: by "columns" (of outputs) on the way in, by "rows"
        (of inputs) on the way out. Where there are none, each process holds the whole."""
        return {}

    def sites(self) -> Mapping[str, Site]:
        """Places inside, by their names under ``blocks.{l}.mlp``."""
        return {}


class Nothing(ChannelMixer):
    """The channel mixer of a block that has none."""

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return torch.zeros_like(x)

    def flops(self, length: int) -> int:
        return 0


class Lexicons(nn.Module, ABC):
    """An embedding in which the vectors of tokens belong to the row: they follow from a number, which every state of
    the row remembers and which the head is given, too."""

    @abstractmethod
    def numbers(self, batch: int) -> Tensor:
        """(batch,) int64 on the CPU: the lexicons of rows that begin."""

    @abstractmethod
    def forward(self, ids: Tensor, numbers: Tensor) -> Tensor:
        """(batch, time) -> (batch, time, width)"""


class Residual(nn.Module, ABC):
    """How a branch joins the residual stream."""

    @abstractmethod
    def forward(self, stream: Tensor, norm: nn.Module, branch: Callable[[Tensor], Tensor]) -> Tensor:
        """The stream above the branch, (batch, time, width) like the one below it."""

    def flops(self, length: int) -> int:
        """Operations on one row of so many tokens, besides those of the branch."""
        return linear_flops(self, length)

    def sites(self) -> Mapping[str, Site]:
        """Places inside, by their names under ``blocks.{l}.attn`` or ``blocks.{l}.mlp``."""
        return {}


class PreNorm(Residual):
    """The branch reads the normalised stream and is added to it."""

    def forward(self, stream: Tensor, norm: nn.Module, branch: Callable[[Tensor], Tensor]) -> Tensor:
        return stream + branch(norm(stream))


class PostNorm(Residual):
    """The branch is added to the stream, and the sum is normalised."""

    def forward(self, stream: Tensor, norm: nn.Module, branch: Callable[[Tensor], Tensor]) -> Tensor:
        return norm(stream + branch(stream))


class Block(nn.Module):
    """One layer: a sequence mixer and a channel mixer, each with its norm, that join the residual stream. The latter
    may be ``Nothing``.

    ``join`` brings the stream of a layer of another width to that of this one. ``averages``: what makes the stream
    after each of the two, given it and the context, of all streams of the pass so far, ``Context.streams``; it adds the
    one it is given.
    """

    def __init__(
        self,
        mixer_norm: nn.Module,
        mixer: SequenceMixer,
        channel_norm: nn.Module,
        channel: ChannelMixer,
        mixer_residual: Residual | None = None,
        channel_residual: Residual | None = None,
        averages: tuple[nn.Module, nn.Module] | None = None,
        join: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.mixer_norm = mixer_norm
        self.mixer = mixer
        self.mid = nn.Identity()  # a place to hook the stream between the two
        self.channel_norm = channel_norm
        self.channel = channel
        self.mixer_residual = PreNorm() if mixer_residual is None else mixer_residual
        self.channel_residual = PreNorm() if channel_residual is None else channel_residual
        self.averages = None if averages is None else nn.ModuleList(averages)
        self.join = join

    def forward(self, stream: Tensor, ctx: Context, memory: Any = None) -> tuple[Tensor, Any]:
        def mix(x: Tensor) -> Tensor:
            nonlocal memory
            y, memory = self.mixer(x, ctx, memory)
            return y

        stream = stream if self.join is None else self.join(stream)
        if self.averages is not None and not ctx.streams:
            ctx.streams.append(stream)  # the first one of a pass, which no average has seen
        stream = self.mixer_residual(stream, self.mixer_norm, mix)
        stream = self.mid(stream if self.averages is None else self.averages[0](stream, ctx))
        stream = self.channel_residual(stream, self.channel_norm, lambda x: self.channel(x, ctx))
        return stream if self.averages is None else self.averages[1](stream, ctx), memory

    def flops(self, length: int) -> int:
        """Operations on one row of so many tokens."""
        parts = (self.mixer, self.mixer_residual, self.channel, self.channel_residual)
        join = 0 if self.join is None else linear_flops(self.join, length)
        return join + sum(part.flops(length) for part in parts)

    def site_table(self) -> dict[str, Site]:
        channel = {
            "mlp.norm": Site(self.channel_norm),
            **{f"mlp.{name}": site for name, site in self.channel.sites().items()},
            "mlp.out": Site(self.channel),
        }
        return {
            "in": Site(self, "input"),
            "attn.norm": Site(self.mixer_norm),
            **{f"attn.{name}": site for name, site in self.mixer.sites().items()},
            "attn.out": Site(self.mixer),
            **{f"attn.{name}": site for name, site in self.mixer_residual.sites().items()},
            "mid": Site(self.mid),
            **({} if isinstance(self.channel, Nothing) else channel),
            **{f"mlp.{name}": site for name, site in self.channel_residual.sites().items()},
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
    """An output with what the layers reported beside it, as "name.layer": auxiliary losses (batch, time), one for each
    token, and statistics."""

    aux: Mapping[str, Tensor] = field(default_factory=dict)


class Native(Sited, LanguageModel):
    """A language model that a recipe of ``trivium.architectures`` builds: it can be saved by that recipe, and says what
    a pass costs before it is made."""

    recipe: Any
    embedding: nn.Module
    head: nn.Module

    @abstractmethod
    def state_bytes_for(self, ids: Tensor) -> int:
        """Declared bytes of the state after these rows (batch, time), none of them padded."""

    @abstractmethod
    def flops_for(self, ids: Tensor) -> int:
        """Declared operations of a forward pass over these rows (batch, time), none of them padded."""


class Skeleton(Native):
    """A language model on the block skeleton. ``recipe`` is the architecture that filled the slots.

    ``position(hidden, ctx)`` may add to the embeddings or publish a table; ``head(hidden)`` gives logits. Where the
    embedding is one of ``Lexicons``, it and the head are called with the numbers (batch,) of the rows as well.
    Parameters to ``keep`` are filled already.
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
        keep: Callable[[nn.Parameter], bool] = lambda _: False,
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.auxiliary = dict(getattr(recipe, "auxiliary", {}))
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
        initialise(self, seed, keep)

    @property
    def _mixers(self) -> list[SequenceMixer]:
        return [block.mixer for block in self.blocks]  # type: ignore[union-attr]

    def _offers(self) -> frozenset[str]:
        reads_ids = any(mixer.reads_ids for mixer in self._mixers)
        offers = {"gradient", "sites"} if reads_ids else {"gradient", "sites", "embeds"}
        if not reads_ids and all(block.averages is None for block in self.blocks):
            offers.add("layers")  # else a layer reads streams from further below
        if all(mixer.bidirectional for mixer in self._mixers):
            offers.add("bidirectional")
        if all("weights" in mixer.sites() for mixer in self._mixers):
            offers.add("attention")
        if all(block.mixer.causal and block.channel.causal for block in self.blocks):  # type: ignore[union-attr]
            offers |= {"causal", "state"}
            if all(mixer.remembers == "tokens" for mixer in self._mixers):
                offers |= {"truncate", "gather", "tree"}
        elif not any(mixer.causal for mixer in self._mixers):
            offers.add("bidirectional")
        return frozenset(offers)

    def embed(self, ids: Tensor) -> Tensor:
        return self.embedding(ids, *self._lexicon(len(ids)))

    def _lexicon(self, batch: int, state: State | None = None) -> tuple[Tensor, ...]:
        """What embedding and head are given beside their input: remembered, or begun."""
        if not isinstance(self.embedding, Lexicons):
            return ()
        keys = keys_of(state)
        if keys is not None and keys.buffers.lexicon:
            return keys.buffers.lexicon
        if state is not None and state.slots > 0:
            raise TypeError(
                f"this model goes on from states that know the lexicon of each row, and this {type(state).__name__} "
                "does not; go on from one that the model itself gave"
            )
        return (self.embedding.numbers(batch),)

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
        if embeds is not None:
            self._needs_no_ids("embeddings without ids need 'embeds'")
        given = ids if embeds is None else embeds
        assert given is not None
        ctx = self._context(ids, given, mask, positions, segments, state)
        hidden = self.embedding(ids, *ctx.lexicon) if embeds is None else embeds
        memories = self._memories(hidden, ctx, state) if state is not None or keep_state else [None] * self.depth
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
        logits = self.head(hidden, *ctx.lexicon)
        return SkeletonOutput(
            logits, hidden, self._state(ctx, hidden, memories, state) if keep_state else None, dict(ctx.aux)
        )

    def stage(
        self, start: int, stop: int, x: Tensor, *, ids: Tensor, mask: Tensor | None, segments: Tensor | None
    ) -> Tensor:
        """Layers start to stop of one pass over whole sequences. ``x``: the ids at layer 0, else what layer start - 1
        gave; what comes out of the last layer is normed, ready for the head. Raises ValueError where a layer reports
        something beside its output, which would be lost on the way."""
        hidden = self.embedding(x) if start == 0 else x
        ctx = self._context(ids, hidden, mask, None, segments, None)
        if self.position is not None:  # further on for the table that it publishes only
            placed = self.position(hidden, ctx)
            hidden = placed if start == 0 else hidden
        for layer in range(start, stop):
            ctx.layer = layer
            hidden, _ = self.blocks[layer](hidden, ctx)
        if ctx.aux:
            raise ValueError(
                f"blocks {start} to {stop} report {', '.join(sorted(ctx.aux))} beside their output, which a pipeline "
                "does not hand on; set mesh.pipeline to 1"
            )
        return self.norm(hidden) if stop == self.depth else hidden

    def layers(
        self, start: int, stop: int, hidden: Tensor, *, mask: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        self._needs_no_ids("a range of layers needs 'layers'")
        if "layers" not in self.offers:
            raise NotOffered(
                "a layer of this model reads all streams below it, or one of another width, so no range of layers "
                "runs by itself"
            )
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
        given = ids if hidden is None else hidden
        assert given is not None
        batch, time = given.shape[:2]
        run = [layer for layer in range(start, stop) if layer not in self.skipped]
        part = Stretch.of(state, run, self.depth, time)
        part.check_kept(kept, batch, time)
        ctx = self._context(ids, given, part.mask(mask), positions, None, part.before)
        part.buffers.lexicon = ctx.lexicon or part.buffers.lexicon
        stream = self.embedding(ids, *ctx.lexicon) if hidden is None else hidden
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
        after = KeyValueState(part.buffers, batch, part.slots + time, seen, self._places(ctx, batch))
        return stream, after if kept is None else after.cut(after.seen())

    def read_out(self, hidden: Tensor) -> Tensor:
        return self.head(self.norm(hidden), *self._lexicon(len(hidden)))

    def state_bytes(self, length: int) -> int:
        """Declared bytes of the state of one row of so many tokens."""
        number = torch.int64.itemsize if isinstance(self.embedding, Lexicons) else 0
        return number + sum(mixer.state_bytes(length, self.dtype) for mixer in self._mixers)

    def flops(self, length: int, rows: int = 1) -> int:
        """Declared operations of a forward pass over so many rows of so many tokens."""
        blocks: int = sum(block.flops(length) for block in self.blocks)  # type: ignore[operator, misc]
        ends = linear_flops(self.norm, length) + 2 * length * self.width * self.vocab_size
        return rows * (blocks + ends) + sum(mixer.shared_flops() for mixer in self._mixers)

    def state_bytes_for(self, ids: Tensor) -> int:
        return ids.shape[0] * self.state_bytes(ids.shape[1])

    def flops_for(self, ids: Tensor) -> int:
        return self.flops(ids.shape[1], len(ids))

    def site_table(self) -> dict[str, Site]:
        table = {"embed": Site(self.embedding)}
        for layer, block in enumerate(self.blocks):
            table |= {f"blocks.{layer}.{name}": site for name, site in block.site_table().items()}  # type: ignore[operator]
        return table | {"final.norm": Site(self.norm), "logits": Site(self.head)}

    def _needs_no_ids(self, what: str) -> None:
        if any(mixer.reads_ids for mixer in self._mixers):
            raise NotOffered(f"{what}: a layer of this model compares token ids; give ids, through all layers")

    def _context(
        self,
        ids: Tensor | None,
        given: Tensor,
        mask: Tensor | None,
        positions: Tensor | None,
        segments: Tensor | None,
        state: State | None,
    ) -> Context:
        """The facts of a pass over ``given`` ids or vectors, checked and simplified: a mask that hides nothing is none
        at all."""
        batch, time = given.shape[:2]
        slots = 0 if state is None else state.slots
        real, attend, segments = checked(batch, time, mask, segments, state)
        if attend is not None and "tree" not in self.offers:
            raise NotOffered(
                "a 4-D mask needs 'tree': a layer of this model sums up its past and cannot hide parts of it"
            )
        keys = keys_of(state)
        seen = None if keys is None else keys.visible
        ctx = Context(ids, given.new_empty(0), time, real, segments, attend, slots, seen, keys)
        ctx.lexicon = self._lexicon(batch, state)
        ctx.explicit = positions is not None
        ctx.positions = self._positions(ctx, given.device, state) if positions is None else positions
        if ctx.positions.shape not in ((batch, time), (1, time)):
            raise ValueError(f"positions must be ({batch}, {time}), got {tuple(ctx.positions.shape)}")
        return ctx

    def _positions(self, ctx: Context, device: torch.device, state: State | None) -> Tensor:
        """Real tokens so far, in the row or in the document; (1, time) where all rows agree."""
        index = torch.arange(ctx.time, device=device)[None]
        if ctx.real is not None:
            index = (ctx.real.cumsum(1) - 1).clamp(min=0)
        if ctx.documents is not None:  # count from the first token of each document
            fresh = torch.cat((torch.ones_like(ctx.documents[:, :1]), ctx.documents.diff(dim=1)), 1) > 0
            index = index - torch.where(fresh, index, 0).cummax(1).values
        if state is not None:
            start = state.next_position.to(device)[:, None]
            index = index + (start[:1] if (start == start[0]).all() else start)
        return index

    def _memories(self, hidden: Tensor, ctx: Context, state: State | None) -> list[Any]:
        """What each layer goes on from."""
        if "state" not in self.offers:
            raise NotOffered(
                "going on from a state needs 'state': a layer of this model looks at later tokens too, which are not "
                "there yet; feed whole sequences"
            )
        mine = KeyValueState if "truncate" in self.offers else StackState
        if state is not None and not isinstance(state, mine):
            raise TypeError(
                f"this model goes on from states of its own, a {mine.__name__}, not a {type(state).__name__}"
            )
        batch, time = hidden.shape[:2]
        keys = keys_of(state)
        buffers = Buffers(capacity_for(time)) if keys is None else keys.room(time)
        buffers.lexicon = ctx.lexicon or buffers.lexicon
        slots = 0 if keys is None else keys.slots
        summaries: Sequence[Memory | None] = state.memories if isinstance(state, StackState) else [None] * self.depth
        return [
            TokenMemory(buffers, layer, slots)
            if mixer.remembers == "tokens"
            else summary or mixer.init_state(batch, hidden.device, hidden.dtype)
            for layer, (mixer, summary) in enumerate(zip(self._mixers, summaries, strict=True))
        ]

    def _places(self, ctx: Context, batch: int) -> Tensor | None:
        """(batch, slots + time): where the columns of the state stand, if that is not just their count and matters."""
        placed = ctx.past is not None and ctx.past.positions is not None
        asked = ctx.explicit and any(mixer.relative for mixer in self._mixers)
        return ctx.key_positions.expand(batch, -1) if placed or asked else None

    def _state(self, ctx: Context, hidden: Tensor, memories: list[Any], state: State | None) -> State:
        """What the layers remember now, as a value."""
        batch, slots = hidden.shape[0], ctx.slots + ctx.time
        keys = None
        buffers = next((memory.buffers for memory in memories if isinstance(memory, TokenMemory)), None)
        if buffers is not None:
            plain = ctx.seen is None and ctx.real is None
            seen = None if plain else seen_after(ctx.seen, ctx.real, ctx.slots, ctx.time)
            keys = KeyValueState(buffers, batch, slots, seen, self._places(ctx, batch))
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
def initialise(model: Native, seed: int, keep: Callable[[nn.Parameter], bool] = lambda _: False) -> None:
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
