"""The usual edits of a model's sites: put in another value, or take one out.

``patch`` and ``ablate`` make functions for ``model.edit({site: function})``; ``compose`` joins several at one site, in
the order given. All take ``positions`` (columns of the pass) and, at sites that have them, ``heads``; where none are
given they change all. To cut what some positions see of others is in ``models.knockout``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from trivium.models._selecting import Positions, Selection, heads_axis, time_axis
from trivium.models.sites import Edit, PlacedEdit

Kind = Literal["zero", "mean", "resample"]
Change = Callable[[Tensor, int], Tensor]
"""A site's tensor and the axis of its positions -> what comes in its place."""


@dataclass(frozen=True)
class Replacement:
    """An edit that replaces a site's tensor, or some positions and heads of it, by what ``change`` makes of it."""

    change: Change
    positions: Positions | None = None
    heads: tuple[int, ...] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        Selection(self.positions)  # which refuses what are no positions
        if self.heads is not None and (not self.heads or min(self.heads) < 0):
            raise ValueError(f"heads are numbers from 0, at least one; got {list(self.heads)}")

    def at(self, name: str) -> "Replacement":
        if self.heads is not None and heads_axis(name) is None:
            raise ValueError(f"the site {name!r} has no heads; edit attn.q, k, v, z, scores or weights instead")
        return replace(self, name=name)

    def __call__(self, tensor: Tensor) -> Tensor:
        axis = time_axis(self.name)
        new = self.change(tensor, axis)
        if self.positions is not None:
            marks = marked(self.positions, tensor.shape[0], tensor.shape[axis], tensor.device)
            shape = [size if at in (0, axis) else 1 for at, size in enumerate(tensor.shape)]
            new = torch.where(marks.view(shape), new, tensor)
        if self.heads is not None:
            new = torch.where(of_heads(tensor, self.heads, self.name), new, tensor)
        return new


def of_heads(tensor: Tensor, heads: Iterable[int], name: str) -> Tensor:
    """Marks of these heads, in a shape that spreads over the tensor."""
    axis = heads_axis(name)
    if axis is None or tensor.ndim != 4:
        raise ValueError(f"{name!r} is {tuple(tensor.shape)} here, so it has no heads")
    count = tensor.shape[axis]
    if outside := [head for head in heads if head >= count]:
        raise ValueError(f"there is no head {outside[0]} at {name!r}, which has {count}")
    marks = torch.zeros(count, dtype=torch.bool, device=tensor.device)
    marks[list(heads)] = True
    return marks.view([count if at == axis else 1 for at in range(4)])


def marked(positions: Positions, batch: int, time: int, device: torch.device | None = None) -> Tensor:
    """(batch, time) bool: the columns that are named, see ``models.sites``. Raises ValueError for those outside."""
    found = Selection(positions)
    found.check(batch, time)
    given = torch.tensor([found.given]) if isinstance(found.given, int) else found.given
    assert given is not None
    given = given.to(device)
    if given.dtype == torch.bool:
        return given.expand(batch, -1)
    marks = torch.zeros(batch, time, dtype=torch.bool, device=device)
    return marks.scatter(1, (given % time).expand(batch, -1), True)


def patch(source: Tensor, positions: Positions | None = None, heads: Sequence[int] | None = None) -> Replacement:
    """Puts in what was captured elsewhere: a value of the site's own shape, or one that spreads over it, such as of one
    row. Raises ValueError where it does not fit."""
    if not isinstance(source, Tensor):
        raise TypeError(f"a patch takes a tensor, such as one of those captured; got {type(source).__name__}")

    def change(tensor: Tensor, axis: int) -> Tensor:
        try:
            return source.to(tensor.device, tensor.dtype).expand(tensor.shape)
        except RuntimeError:
            raise ValueError(
                f"the patch is {tuple(source.shape)} and the site {tuple(tensor.shape)} here; capture it from a pass "
                "over as many rows and tokens, or over one row"
            ) from None

    return Replacement(change, positions, None if heads is None else tuple(heads))


def ablate(
    kind: Kind = "zero",
    *,
    source: Tensor | None = None,
    mask: Tensor | None = None,
    positions: Positions | None = None,
    heads: Sequence[int] | None = None,
    generator: torch.Generator | None = None,
) -> Replacement:
    """Takes a value out: "zero" puts 0 in its place; "mean" the mean over rows and positions; "resample" the value of
    another row, drawn for each row.

    source: what is captured at the same site over other texts, from which the mean is taken or rows are drawn (of as
    many tokens); without it, the pass itself, where "resample" gives each row a different row. mask: (rows, time) bool,
    which positions count for the mean. Raises ValueError for a resample without a generator, or of fewer than two rows.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}; got {kind!r}")
    if kind == "zero" and source is not None:
        raise ValueError("zeros need no source; leave it out, or ask for 'mean' or 'resample'")
    if kind != "mean" and mask is not None:
        raise ValueError(f"a mask says what a mean is taken over; {kind!r} has no use for one")
    if (kind == "resample") != (generator is not None):
        raise ValueError("a resample draws rows, so it needs a generator, and nothing else does")

    def change(tensor: Tensor, axis: int) -> Tensor:
        given = tensor if source is None else source.to(tensor.device, tensor.dtype)
        if kind == "zero":
            return torch.zeros_like(tensor)
        if kind == "mean":
            marks = torch.ones(given.shape[0], given.shape[axis], dtype=torch.bool) if mask is None else mask
            if marks.shape != (given.shape[0], given.shape[axis]) or not marks.any():
                raise ValueError(
                    f"the mask is {tuple(marks.shape)} with {int(marks.sum())} marks, and the mean is over "
                    f"{(given.shape[0], given.shape[axis])}; mark at least one position"
                )
            found = given.movedim(axis, 1)[marks.to(given.device)]  # (marks, ...)
            wide = found.to(torch.promote_types(found.dtype, torch.float32)).mean(0)
            return wide.to(tensor.dtype).unsqueeze(axis - 1).expand_as(tensor)
        return given[_others(len(tensor), None if source is None else len(given), generator).to(given.device)]

    return Replacement(change, positions, None if heads is None else tuple(heads))


def _others(rows: int, among: int | None, generator: torch.Generator | None) -> Tensor:
    """For each row the number of another: of ``among`` given ones, or, without them, of the rest of the same batch."""
    if among is not None:
        return torch.randint(among, (rows,), generator=generator)
    if rows < 2:
        raise ValueError("a resample within one row has no other row to draw from; give source, or more rows")
    order = torch.randperm(rows, generator=generator)
    others = torch.empty(rows, dtype=torch.int64)
    others[order] = order.roll(1)  # one ring through all rows, so that none is its own
    return others


@dataclass(frozen=True)
class Composed:
    """Edits of one site, one after the other."""

    edits: tuple[Edit | PlacedEdit, ...]

    def at(self, name: str) -> "Composed":
        return Composed(tuple(one.at(name) if isinstance(one, PlacedEdit) else one for one in self.edits))

    def __call__(self, tensor: Tensor) -> Tensor:
        for one in self.edits:
            edit: Any = one
            tensor = edit(tensor)
        return tensor


def compose(*edits: Edit | PlacedEdit) -> Composed:
    """Several edits of one site, the first one first."""
    if not edits:
        raise ValueError("give at least one edit to compose")
    return Composed(edits)
