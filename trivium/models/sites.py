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
``attn.shortcut`` where there is one) and ``out = mid + mlp.out``.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from trivium.core.errors import UnknownName, did_you_mean

Edit = Callable[[Tensor], Tensor]


class View(Protocol):
    """How a site's tensor lies inside the one that the module really passes."""

    def read(self, whole: Tensor) -> Tensor: ...

    def write(self, whole: Tensor, part: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Heads:
    """(..., heads * width) seen as (..., heads, width)."""

    heads: int

    def read(self, whole: Tensor) -> Tensor:
        return whole.unflatten(-1, (self.heads, -1))

    def write(self, whole: Tensor, part: Tensor) -> Tensor:
        return part.flatten(-2)


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


@dataclass(frozen=True)
class Site:
    """Where a named tensor is found: at the input or the output of a module.

    ``item`` picks from an output that is a tuple. ``shared`` says that the tensor is read again after the module (the
    residual stream read by a norm), so that an edit must change it in place.
    """

    module: nn.Module
    side: Literal["input", "output"] = "output"
    view: View | None = None
    item: int = 0
    shared: bool = False

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

    @contextmanager
    def capture(self, *names: str) -> Iterator[dict[str, Tensor]]:
        """Within the block, each pass stores the tensor at each named site, with its gradient history (the last pass
        wins). Raises UnknownName for a site that the model lacks, and RuntimeError on exit for one never reached."""
        seen: dict[str, Tensor] = {}

        def keep(name: str) -> Edit:
            def store(tensor: Tensor) -> Tensor:
                seen[name] = tensor
                return tensor

            return store

        with self._hooked({name: keep(name) for name in names}):
            yield seen
        self._insist("capture", [name for name in names if name not in seen])

    @contextmanager
    def edit(self, edits: Mapping[str, Edit]) -> Iterator[None]:
        """Within the block, the tensor at each named site is replaced by what its function returns. Raises UnknownName
        for a site that the model lacks, and RuntimeError on exit for an edit that never ran."""
        ran: set[str] = set()

        def note(name: str, function: Edit) -> Edit:
            def run(tensor: Tensor) -> Tensor:
                ran.add(name)
                return function(tensor)

            return run

        with self._hooked({name: note(name, function) for name, function in edits.items()}):
            yield
        self._insist("edit", [name for name in edits if name not in ran])

    @contextmanager
    def _hooked(self, hooks: Mapping[str, Edit]) -> Iterator[None]:
        table = self.site_table()
        for name in hooks:
            if name not in table:
                raise UnknownName(f"this model has no site {name!r}{did_you_mean(name, table)}")
        with ExitStack() as stack:
            stack.enter_context(self.watching(tuple(hooks)))
            self.watched += 1
            stack.callback(lambda: setattr(self, "watched", self.watched - 1))
            for name, function in hooks.items():
                stack.callback(table[name].hook(name, function).remove)
            yield

    @staticmethod
    def _insist(what: str, missed: list[str]) -> None:
        if missed:
            names = ", ".join(repr(name) for name in missed)
            raise RuntimeError(f"the {what} at {names} never ran: no pass inside the block went through it")
