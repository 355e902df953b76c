"""What a model remembers, as a value: key-value buffers shared by handles, and the recurrent states of others."""

import copy
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from trivium.core.protocols import State

SMALLEST = 128
"""Slots of the smallest buffer; capacities double from here."""

WASTE = 64
"""Invisible slots below which a state is never compacted."""


class Buffers:
    """Keys and values of every layer, (batch, heads, capacity, width) each, allocated when a layer first writes.

    ``live`` knows the handles that read from here: one that reaches further than another forbids the other to append
    in place.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        self.holes: dict[int, int] = {}
        """Layers that were skipped, and the first column that they lack."""
        self.shifts: dict[int, tuple[Tensor, Tensor]] = {}
        """What is added to the keys and values of a layer's next tokens as they are stored; empty for nothing."""
        self.lexicon: tuple[Tensor, ...] = ()
        """The numbers (batch,) of the lexicons that the rows are in; empty where a model has one table for all."""
        self.live: weakref.WeakSet[KeyValueState] = weakref.WeakSet()

    def shifted(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """New keys and values as they are to be stored."""
        if layer not in self.shifts:
            return keys, values
        more_keys, more_values = self.shifts[layer]
        return keys + more_keys, values + more_values

    def skip(self, layers: Iterable[int], start: int) -> None:
        """Note that these layers write nothing from column ``start`` on."""
        for layer in layers:
            self.holes[layer] = min(start, self.holes.get(layer, start))

    def check(self, layer: int, start: int) -> None:
        """Raise ValueError where the layer lacks a column before ``start``."""
        if self.holes and self.holes.get(layer, start) < start:
            raise ValueError(
                f"layer {layer} was skipped in an earlier pass, so it has no keys of some tokens before column "
                f"{start}; skip it from there on, or truncate the state to before that pass"
            )
        self.holes.pop(layer, None)

    def twin(self) -> "Buffers":
        """The same columns with holes of its own. Handles of both know of each other."""
        new = Buffers(self.capacity)
        new.keys, new.values, new.holes, new.live = dict(self.keys), dict(self.values), dict(self.holes), self.live
        new.lexicon = self.lexicon
        return new

    def allocate(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Room for a layer whose keys and values look like these."""
        with torch.inference_mode(False):  # else a state begun in inference mode could not go on outside of it
            batch, heads, _, _ = key.shape
            self.keys[layer] = torch.zeros(
                batch, heads, self.capacity, key.shape[3], dtype=key.dtype, device=key.device
            )
            self.values[layer] = torch.zeros(
                batch, heads, self.capacity, value.shape[3], dtype=value.dtype, device=value.device
            )

    @property
    def differentiable(self) -> bool:
        """Whether gradients flow through what is stored, so that nothing may be written in place."""
        return any(key.requires_grad for key in self.keys.values()) or any(
            value.requires_grad for value in self.values.values()
        )

    def copied(self, slots: int, capacity: int, rows: Tensor | None = None, columns: Tensor | None = None) -> "Buffers":
        """A copy of the first ``slots``, of the given rows, or of the slots ``columns`` (batch, slots) of each row."""
        new = Buffers(capacity)
        new.shifts = self.shifts
        new.lexicon = tuple(x if rows is None else x.index_select(0, rows.to(x.device)) for x in self.lexicon)
        for old, target in ((self.keys, new.keys), (self.values, new.values)):
            for layer, tensor in old.items():
                part = tensor[:, :, :slots]
                if columns is not None:
                    index = columns[:, None, :, None].expand(-1, tensor.shape[1], -1, tensor.shape[3])
                    part = tensor.gather(2, index.to(tensor.device))
                if rows is not None:
                    part = part.index_select(0, rows.to(tensor.device))
                if part.requires_grad:
                    padding = part.new_zeros(*part.shape[:2], capacity - part.shape[2], part.shape[3])
                    target[layer] = torch.cat([part, padding], 2)
                    continue
                with torch.inference_mode(False):
                    room = torch.zeros(*part.shape[:2], capacity, part.shape[3], dtype=part.dtype, device=part.device)
                room[:, :, : part.shape[2]] = part
                target[layer] = room
        # Columns that are moved may leave a hole anywhere.
        new.holes = {layer: hole if columns is None else 0 for layer, hole in self.holes.items() if hole < slots}
        return new


def capacity_for(slots: int, least: int = SMALLEST) -> int:
    """The smallest power-of-two multiple of ``least`` that holds ``slots``."""
    capacity = least
    while capacity < slots:
        capacity *= 2
    return capacity


class KeyValueState(State):
    """A handle on the first ``slots`` columns of shared buffers.

    ``visible`` (batch, slots) bool says which of them are tokens of the row: padding and dropped drafts stay where
    they are and are merely not seen; None means all. ``positions`` (batch, slots) is kept only where it is not just the
    count of visible slots: for models with attention windows, and for tokens that were ``placed``.

    Going on from a handle writes behind its columns, in place, unless another handle that is still alive reaches
    there; then the columns are copied first. So a loop copies nothing and a branch copies once. A loop that drops
    drafts should let go of the longer state (and of the output that holds it) before it goes on from the shorter one.
    """

    def __init__(
        self, buffers: Buffers, batch: int, slots: int, visible: Tensor | None = None, positions: Tensor | None = None
    ) -> None:
        self.buffers = buffers
        self.visible = visible
        self.positions = positions
        self._batch = batch
        self._slots = slots
        self._lengths: Tensor | None = None
        self._next: Tensor | None = None
        buffers.live.add(self)

    @property
    def batch(self) -> int:
        return self._batch

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def lengths(self) -> Tensor:
        if self._lengths is None:
            self._lengths = (
                torch.full((self._batch,), self._slots) if self.visible is None else self.visible.sum(1).cpu()
            )
        return self._lengths

    @property
    def next_position(self) -> Tensor:
        if self.positions is None:
            return self.lengths
        if self._next is None:
            seen = self.positions if self.visible is None else self.positions.masked_fill(~self.visible, -1)
            self._next = seen.amax(1).cpu() + 1
        return self._next

    @property
    def device(self) -> torch.device:
        return next(iter(self.buffers.keys.values())).device

    def bytes(self) -> int:
        tensors = (*self.buffers.keys.values(), *self.buffers.values.values())
        held = sum(self._slots * x.shape[0] * x.shape[1] * x.shape[3] * x.element_size() for x in tensors)
        return held + sum(x.numel() * x.element_size() for x in self.buffers.lexicon)

    def at(self) -> Tensor:
        """(batch, slots) position of each slot."""
        if self.positions is not None:
            return self.positions
        if self.visible is None:
            return torch.arange(self._slots, device=self.device)[None].expand(self._batch, -1)
        return (self.visible.cumsum(1) - 1).clamp(min=0)

    def seen(self) -> Tensor:
        """(batch, slots) bool: ``visible``, spelled out."""
        if self.visible is not None:
            return self.visible
        return torch.ones(self._batch, self._slots, dtype=torch.bool, device=self.device)

    def tensors(self) -> list[Tensor]:
        """Keys and values of each layer in turn, (batch, heads, slots or more, width): the very ones that the last pass
        attended to, so that gradients of what it gave can be asked for."""
        held = self.buffers
        return [store[layer] for layer in sorted(held.keys) for store in (held.keys, held.values)]

    def holding(self, tensors: Sequence[Tensor], shifts: Sequence[Tensor] = ()) -> Self:
        """The same tokens with other keys and values (batch, heads, slots, width), in the order of ``tensors``. The
        pass that goes on from it adds ``shifts`` (batch, heads, new, width) to those of its own tokens."""
        new = Buffers(self._slots)
        new.lexicon = self.buffers.lexicon
        layers = sorted(self.buffers.keys) if tensors else range(len(shifts) // 2)
        for at, layer in enumerate(layers):
            if tensors:
                new.keys[layer], new.values[layer] = tensors[2 * at], tensors[2 * at + 1]
            if shifts:
                new.shifts[layer] = shifts[2 * at], shifts[2 * at + 1]
        return type(self)(new, self._batch, self._slots, self.visible, self.positions)

    def placed(self, positions: Tensor) -> Self:
        """The same tokens, which were fed at these positions (batch, slots); what comes next counts on from them."""
        if positions.shape != (self._batch, self._slots):
            raise ValueError(
                f"positions must be ({self._batch}, {self._slots}), one for each slot, got {tuple(positions.shape)}"
            )
        usual = torch.equal(positions, self._handle(self._slots, self.visible, None).at())
        return self._handle(self._slots, self.visible, None if usual else positions)

    def select(self, rows: Tensor) -> Self:
        check_rows(rows, self._batch)
        if rows.numel() == self._batch and torch.equal(rows.cpu(), torch.arange(self._batch)):
            return self._handle(self._slots, self.visible, self.positions)
        pick = lambda x: None if x is None else x.index_select(0, rows.to(x.device))  # noqa: E731
        buffers = self.buffers.copied(self._slots, self.buffers.capacity, rows=rows)
        return type(self)(buffers, rows.numel(), self._slots, pick(self.visible), pick(self.positions))

    def gather(self, keep: Tensor) -> Self:
        if keep.dtype != torch.bool or keep.ndim != 2 or keep.shape[0] != self._batch or keep.shape[1] > self._slots:
            raise ValueError(
                f"keep must be bool of shape ({self._batch}, n) with n at most {self._slots}, "
                f"got {keep.dtype} {tuple(keep.shape)}"
            )
        visible = self.seen().clone()
        start = self._slots - keep.shape[1]
        visible[:, start:] &= keep.to(visible.device)
        return self._shrunk(visible)

    def truncate(self, length: int | Tensor) -> Self:
        wanted = torch.as_tensor(length)
        if wanted.ndim > 1 or (wanted.ndim == 1 and wanted.shape[0] != self._batch):
            raise ValueError(
                f"length must be one number or one for each of {self._batch} rows, got {tuple(wanted.shape)}"
            )
        if (wanted < 0).any() or (wanted > self.lengths).any():
            raise ValueError(f"cannot truncate rows of {self.lengths.tolist()} tokens to {wanted.tolist()}")
        if self.visible is None and wanted.ndim == 0:
            slots = int(wanted)
            return self._handle(slots, None, None if self.positions is None else self.positions[:, :slots])
        visible = self.seen()
        limit = wanted.to(visible.device).expand(self._batch)[:, None]
        return self._shrunk(visible & (visible.cumsum(1) <= limit))

    def _handle(self, slots: int, visible: Tensor | None, positions: Tensor | None) -> Self:
        return type(self)(self.buffers, self._batch, slots, visible, positions)

    def before(self, column: int) -> Self:
        """The columns before this one."""
        first = lambda x: None if x is None else x[:, :column]  # noqa: E731
        visible = first(self.visible)
        return self._handle(column, None if visible is None or visible.all() else visible, first(self.positions))

    def cut(self, visible: Tensor) -> Self:
        """A handle that sees these of its columns (batch, slots) only, without those behind the last one seen."""
        used = visible.any(0).nonzero()
        slots = int(used[-1, 0]) + 1 if used.numel() else 0
        visible = visible[:, :slots]
        positions = None if self.positions is None else self.positions[:, :slots]
        if positions is not None and ((positions == (visible.cumsum(1) - 1)) | ~visible).all():
            positions = None
        return self._handle(slots, None if visible.all() else visible, positions)

    def _shrunk(self, visible: Tensor) -> Self:
        """The same, much waste in between squeezed out."""
        shorter = self.cut(visible)
        slots, visible, positions = shorter._slots, shorter.seen(), shorter.positions
        longest = int(visible.sum(1).max())
        if slots - longest < max(WASTE, slots // 4):
            return shorter
        # Stable order, visible ones first: each row left-aligned.
        columns = visible.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :longest]
        buffers = self.buffers.copied(longest, capacity_for(longest), columns=columns)
        pick = lambda x: None if x is None else x.gather(1, columns)  # noqa: E731
        seen = visible.gather(1, columns)
        return type(self)(buffers, self._batch, longest, None if seen.all() else seen, pick(positions))

    def room(self, new: int, least: int = SMALLEST) -> Buffers:
        """Buffers that hold this state's columns and may be written behind them, ``new`` columns far."""
        need = self._slots + new
        shared = any(other._slots > self._slots for other in self.buffers.live)
        if not shared and need <= self.buffers.capacity and self.buffers.capacity % least == 0:
            return self.buffers
        return self.buffers.copied(self._slots, capacity_for(need, least))


class Stored(Exception):
    """Raised where a layer's keys and values are stored, if nothing else is wanted of the layer."""


@dataclass(frozen=True)
class Stretch:
    """Where a pass of some layers writes. ``before``: the state before its columns; ``whole``: the state that has these
    columns already, for other layers; None where they are new."""

    buffers: Buffers
    before: KeyValueState | None = None
    whole: KeyValueState | None = None

    @classmethod
    def of(cls, state: State | None, layers: Iterable[int], depth: int, new: int) -> Self:
        """For these layers and so many columns: the last ones of the state where the layers lack them, else new ones,
        which the other layers then lack.

        Raises ValueError where the layers lack different columns or another number, TypeError for a foreign state.
        """
        run = frozenset(layers)
        others = frozenset(range(depth)) - run
        if state is None:
            buffers = Buffers(capacity_for(new))
            buffers.skip(others, 0)
            return cls(buffers)
        if not isinstance(state, KeyValueState):
            raise TypeError(f"layers go on from a KeyValueState, not from a {type(state).__name__}")
        slots, holes = state.slots, state.buffers.holes
        ends = {min(holes.get(layer, slots), slots) for layer in run} or {slots}
        if len(ends) > 1:
            raise ValueError(
                f"layers {min(run)} to {max(run) + 1} lack different columns of this state: they reach to "
                f"{', '.join(map(str, sorted(ends)))} of {slots}; run those that lack the same ones together"
            )
        end = ends.pop()
        if end == slots:
            buffers = state.room(new)
            buffers.skip(others, slots)
            return cls(buffers, state)
        if new != slots - end:
            raise ValueError(
                f"these layers lack the last {slots - end} columns of the state, so give as many, not {new}"
            )
        taken = any(other.slots > end for other in state.buffers.live if other is not state)
        buffers = state.buffers.copied(slots, state.buffers.capacity) if taken else state.buffers.twin()
        return cls(buffers, state.before(end), state)

    @property
    def slots(self) -> int:
        """Columns before those of the pass."""
        return 0 if self.before is None else self.before.slots

    def mask(self, given: Tensor | None) -> Tensor | None:
        """The mask of the pass: the given one, or which columns of the whole state are tokens."""
        if given is None and self.whole is not None and self.whole.visible is not None:
            return self.whole.visible[:, self.slots :]
        return given

    def check_kept(self, kept: Tensor | None, batch: int, new: int) -> None:
        """Raise ValueError where columns to keep are named, but are not new or not named rightly."""
        if kept is not None and (self.whole is not None or kept.shape != (batch, new) or kept.dtype != torch.bool):
            raise ValueError(f"kept says which new columns are remembered, as bool ({batch}, {new})")


class RecurrentState(State):
    """A state of fixed size: a transformers cache of convolution and recurrent states, copied before it is changed."""

    def __init__(self, cache: Any, lengths: Tensor, slots: int) -> None:
        self.cache = cache
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
        return sum(x.numel() * x.element_size() for _, _, x in stored(self.cache))

    def copied(self, rows: Tensor | None = None) -> Self:
        """The same memory in tensors of its own, of the given rows or of all."""
        pick = lambda x: x.clone() if rows is None else x.index_select(0, rows.to(x.device))  # noqa: E731
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        for layer in cache.layers:
            for name, held in vars(layer).items():  # transformers keeps tensors and flags in dicts, one entry per state
                if isinstance(held, dict):
                    setattr(layer, name, {key: pick(x) if isinstance(x, Tensor) else x for key, x in held.items()})
        return type(self)(
            cache, self._lengths if rows is None else self._lengths.index_select(0, rows.cpu()), self._slots
        )

    def select(self, rows: Tensor) -> Self:
        check_rows(rows, self.batch)
        return self.copied(rows)


def check_rows(rows: Tensor, batch: int) -> None:
    """Raise ValueError unless ``rows`` is (n,), not empty, and every entry is a row of the state."""
    if rows.ndim != 1 or rows.numel() == 0 or int(rows.min()) < 0 or int(rows.max()) >= batch:
        raise ValueError(f"rows must be (n,) numbers of the {batch} rows of this state, got {rows.tolist()}")


def stored(cache: Any) -> list[tuple[dict[int, Tensor], int, Tensor]]:
    """Every tensor of a recurrent cache, with the dict and the key it is stored under."""
    return [
        (states, key, tensor)
        for layer in cache.layers
        for states in (layer.conv_states, layer.recurrent_states)
        for key, tensor in states.items()
        if tensor is not None
    ]
