"""Named places inside a model that can be seen (``capture``) and changed (``edit``).

Names are the same for every architecture, and each model offers those it has:

    embed                       token embeddings, before positions are added
    blocks.{l}.in               residual stream entering a block
    blocks.{l}.attn.norm        input of the attention, normalised
    blocks.{l}.attn.q|k|v       (batch, time, heads, head width), as projected: no norm or rotation yet
    blocks.{l}.attn.scores      (batch, heads, time, keys), scaled, before the mask is added and the softmax taken
    blocks.{l}.attn.weights     (batch, heads, time, keys), after the softmax
    blocks.{l}.attn.z           (batch, time, heads, head width), what the output projection reads
    blocks.{l}.attn.out         what the attention adds to the stream
    blocks.{l}.attn.shortcut    what a learned path beside the attention adds, where there is one
    blocks.{l}.mid              residual stream between attention and feed-forward
    blocks.{l}.mlp.norm         input of the feed-forward, normalised
    blocks.{l}.mlp.act          (batch, time, neurons), what the last projection reads
    blocks.{l}.mlp.router       (batch, time, experts), how well each expert suits a token, before any softmax
    blocks.{l}.mlp.out          what the feed-forward adds to the stream
    blocks.{l}.out              residual stream leaving a block
    final.norm                  what the head reads
    logits

Where nothing else is said the shape is (batch, time, width). So in a sequential block ``mid = in + attn.out`` (and
``attn.shortcut`` where there is one) and ``out = mid + mlp.out``. Whatever mixes along time is called attn, in a
state-space model too; such a model has no scores and no weights.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from trivium.core.errors import NotOffered, UnknownName, did_you_mean
from trivium.models._selecting import Positions, Reduce, Selection, insist_on_room, time_axis

Edit = Callable[[Tensor], Tensor]


@runtime_checkable
class PlacedEdit(Protocol):
    """An edit that must know which site it is at, such as one of some heads."""

    def at(self, name: str) -> Edit: ...


class View(Protocol):
    """How a site's tensor lies inside the one that the module really passes."""

    def read(self, whole: Tensor) -> Tensor: ...

    def write(self, whole: Tensor, part: Tensor) -> Tensor: ...

    def share(self, numbers: int) -> int:
        """Numbers of the site for each position, where the whole has so many."""
        ...


@dataclass(frozen=True)
class Heads:
    """(..., heads * width) seen as (..., heads, width)."""

    heads: int

    def read(self, whole: Tensor) -> Tensor:
        return whole.unflatten(-1, (self.heads, -1))

    def write(self, whole: Tensor, part: Tensor) -> Tensor:
        return part.flatten(-2)

    def share(self, numbers: int) -> int:
        return numbers


@dataclass(frozen=True)
class Slice:
    """One of several projections that lie one after another: (..., start:stop) seen as (..., heads, width)."""

    start: int
    stop: int
    heads: int

    def read(self, whole: Tensor) -> Tensor:
        return whole[..., self.start : self.stop].unflatten(-1, (self.heads, -1))

    def write(self, whole: Tensor, part: Tensor) -> Tensor:
        return torch.cat([whole[..., : self.start], part.flatten(-2), whole[..., self.stop :]], -1)

    def share(self, numbers: int) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Interleaved:
    """One of several projections that lie head by head: (..., heads * parts * width) seen as (..., heads, width)."""

    heads: int
    parts: int
    index: int

    def read(self, whole: Tensor) -> Tensor:
        return whole.unflatten(-1, (self.heads, self.parts, -1))[..., self.index, :]

    def write(self, whole: Tensor, part: Tensor) -> Tensor:
        pieces = list(whole.unflatten(-1, (self.heads, self.parts, -1)).unbind(-2))
        pieces[self.index] = part
        return torch.stack(pieces, -2).flatten(-3)

    def share(self, numbers: int) -> int:
        return numbers // self.parts


@dataclass(frozen=True)
class Site:
    """Where a named tensor is found: at the input or the output of a module.

    ``item`` picks from an output that is a tuple. ``shared`` says that the tensor is read again after the module (the
    residual stream read by a norm), so that an edit must change it in place. ``fixed``: why an edit would have no
    effect, so that the site can only be seen. ``numbers``: how many there are for each position, where the module does
    not tell.
    """

    module: nn.Module
    side: Literal["input", "output"] = "output"
    view: View | None = None
    item: int = 0
    shared: bool = False
    fixed: str = ""
    numbers: int | None = None

    def size(self, width: int) -> int:
        """Numbers for each position, in a model of this width."""
        whole = self.numbers
        if whole is None and not isinstance(self.module, nn.Embedding):
            first, last = ("in_features", "nx") if self.side == "input" else ("out_features", "nf")
            whole = getattr(self.module, first, None) or getattr(self.module, last, None)
        whole = width if whole is None else whole
        return whole if self.view is None else self.view.share(whole)

    def hook(self, name: str, edit: Edit) -> torch.utils.hooks.RemovableHandle:
        """Pass the site's tensor through ``edit`` on every call of the module."""

        def change(whole: Tensor) -> Tensor:
            part = whole if self.view is None else self.view.read(whole)
            traced = self.view is not None and torch.is_grad_enabled() and whole.requires_grad
            if traced and self.shared:
                part = part.clone()  # else changing the whole would change the part's history, too
            new = edit(part)
            if new is part and not traced:
                return whole
            if not isinstance(new, Tensor) or new.shape != part.shape:
                got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
                expected = f"a tensor of shape {tuple(part.shape)}"
                raise ValueError(f"the edit at {name!r} must return {expected}, it returned {got}")
            # A seen part is put back even if unchanged where gradients are wanted: they must pass through it.
            changed = new.to(whole.dtype) if self.view is None else self.view.write(whole, new.to(whole.dtype))
            return whole.copy_(changed) if self.shared else changed

        def after(module: nn.Module, args: Any, output: Any) -> Any:
            if isinstance(output, Tensor):
                return change(output)
            return (*output[: self.item], change(output[self.item]), *output[self.item + 1 :])

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (change(args[0]), *args[1:]), kwargs
            first = next(key for key, value in kwargs.items() if isinstance(value, Tensor))
            return args, kwargs | {first: change(kwargs[first])}

        if self.side == "output":
            return self.module.register_forward_hook(after)
        return self.module.register_forward_pre_hook(before, with_kwargs=True)


class Sited:
    """Gives a model ``sites``, ``capture`` and ``edit`` from its ``site_table``.

    Hooks run in the order in which the blocks were entered, so edits compose, and a capture sees the edits that were
    entered before it (at ``mid``, which is changed in place, all of them).
    """

    watched: int = 0
    """Number of capture and edit blocks that are open; fused or compiled paths must step aside while it is not 0."""

    def site_table(self) -> Mapping[str, Site]:
        """Every name that this model offers, with its place. Made anew when asked, so exchanged modules are seen."""
        raise NotImplementedError

    def watching(self, names: tuple[str, ...]) -> AbstractContextManager[None]:
        """Prepare the model for hooks at these sites (attention that shows its weights); undone on exit."""
        return nullcontext()

    def sites(self) -> tuple[str, ...]:
        return tuple(self.site_table())

    def absent(self, name: str) -> str:
        """Why this model lacks a site, where that was found out."""
        return ""

    def capture_bytes(
        self,
        *names: str,
        batch: int,
        time: int,
        earlier: int = 0,
        positions: Positions | None = None,
        reduce: Reduce | None = None,
    ) -> int:
        """Bytes that a capture keeps of a pass over ``batch`` rows of ``time`` tokens, ``earlier`` ones being in the
        state: counted before it is run. Raises UnknownName for a site that the model lacks."""
        found = Selection(positions, reduce)
        found.check(batch, time)
        each, per_key = self._bytes(names)
        return found.kept(batch, time) * (each + per_key * (earlier + time))

    def _bytes(self, names: Iterable[str]) -> tuple[int, int]:
        """Bytes of each position at these sites, and those for each key besides."""
        self._found(names)
        table, itemsize = self.site_table(), self.dtype.itemsize  # type: ignore[attr-defined]
        each = per_key = 0
        for name in names:
            if time_axis(name) == 2:  # every head has a number for each key, in float32 or wider
                beside = table.get(name.rpartition(".")[0] + ".z")
                known = beside.view.heads if beside is not None and isinstance(beside.view, Heads) else 1
                per_key += (table[name].numbers or known) * max(itemsize, 4)
            elif name == "logits":
                each += self.vocab_size * itemsize  # type: ignore[attr-defined]
            else:
                each += table[name].size(self.width) * itemsize  # type: ignore[attr-defined]
        return each, per_key

    @contextmanager
    def capture(
        self,
        *names: str,
        positions: Positions | None = None,
        reduce: Reduce | None = None,
        detach: bool = False,
        device: torch.device | str | None = None,
        limit: int | None = None,
    ) -> Iterator[dict[str, Tensor]]:
        """Within the block, each pass stores the tensor at each named site (the last pass wins): a view with its
        gradient history, unless ``detach`` cuts that or ``device`` moves it.

        positions: the columns of the pass to keep (of queries, at scores and weights): one (then without its axis),
        several, or (batch, n) of each row its own, negative ones counted from the end; or a bool mask (time,), or
        (batch, time), which gives the marked vectors of all rows one behind another. reduce: the "mean", "sum" or "max"
        over those positions. What is kept is counted before a pass runs, see ``capture_bytes``, and refused beyond
        ``limit`` bytes, by default the memory that is free.

        Raises UnknownName for a site that the model lacks, ValueError for positions that a pass lacks, TooLarge before
        a pass whose capture would not fit, and RuntimeError on exit for a site never reached.
        """
        seen: dict[str, Tensor] = {}
        found = Selection(positions, reduce, detach, device)
        each, per_key = self._bytes(names)

        def keep(name: str) -> Edit:
            def store(tensor: Tensor) -> Tensor:
                seen[name] = found(tensor, time_axis(name))
                return tensor

            return store

        def check(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = next((x for x in (*args[:1], kwargs.get("ids"), kwargs.get("embeds")) if x is not None), None)
            if given is None or given.ndim < 2:
                return  # what is wrong with the input, the model says
            batch, time = given.shape[:2]
            earlier = 0 if (state := kwargs.get("state")) is None else state.slots
            found.check(batch, time)
            bytes = found.kept(batch, time) * (each + per_key * (earlier + time))
            kept_on = self.device if device is None else torch.device(device)  # type: ignore[attr-defined]
            insist_on_room(
                bytes, limit, kept_on, f"the capture of {len(names)} sites over {batch} rows of {time} tokens"
            )

        with ExitStack() as stack:
            if names and isinstance(self, nn.Module):
                stack.callback(self.register_forward_pre_hook(check, with_kwargs=True).remove)
            stack.enter_context(self.hooked({name: keep(name) for name in names}))
            yield seen
        self._insist("capture", [name for name in names if name not in seen])

    @contextmanager
    def edit(self, edits: Mapping[str, Edit | PlacedEdit]) -> Iterator[None]:
        """Within the block, the tensor at each named site is replaced by what its function returns; ``models.edits``
        has the usual ones. Raises UnknownName for a site that the model lacks, NotOffered for one that can only be
        seen, and RuntimeError on exit for an edit that never ran."""
        ran: set[str] = set()

        def note(name: str, function: Edit | PlacedEdit) -> Edit:
            change: Any = function.at(name) if isinstance(function, PlacedEdit) else function

            def run(tensor: Tensor) -> Tensor:
                ran.add(name)
                return change(tensor)

            return run

        for name, site in self._found(edits).items():
            if site.fixed:
                raise NotOffered(f"the site {name!r} can be seen but not changed: {site.fixed}")
        with self.hooked({name: note(name, function) for name, function in edits.items()}):
            yield
        self._insist("edit", [name for name in edits if name not in ran])

    def _found(self, names: Iterable[str]) -> dict[str, Site]:
        """The named sites. Raises UnknownName, with the near names and the reason if one is known."""
        table = self.site_table()
        for name in names:
            if name not in table:
                reason = self.absent(name)
                because = f" ({reason})" if reason else ""
                raise UnknownName(f"this model has no site {name!r}{because}{did_you_mean(name, table)}")
        return {name: table[name] for name in names}

    @contextmanager
    def hooked(self, hooks: Mapping[str, Edit]) -> Iterator[None]:
        """Within the block the tensor at each named site is passed through a function, whether any pass gets there or
        not. Raises UnknownName for a site that the model lacks."""
        found = self._found(hooks)
        with ExitStack() as stack:
            stack.enter_context(self.watching(tuple(hooks)))
            self.watched += 1
            stack.callback(lambda: setattr(self, "watched", self.watched - 1))
            for name, function in hooks.items():
                stack.callback(found[name].hook(name, function).remove)
            yield

    @staticmethod
    def _insist(what: str, missed: list[str]) -> None:
        if missed:
            names = ", ".join(repr(name) for name in missed)
            raise RuntimeError(f"the {what} at {names} never ran: no pass inside the block went through it")
