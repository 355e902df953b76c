"""Rows of a batch with padding anywhere and several documents, as plain sequences.

``tokens_first`` brings the tokens of each row together. ``sequences`` takes every document out of its row, so that what
only works on whole sequences, such as a Fourier transform, sees one document alone; ``each_document`` runs it on them
and puts the outputs back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

Run = Callable[..., tuple[Tensor, tuple[Tensor, ...] | None]]
"""(inputs..., memory, lengths) -> (output like the first input, memory at the end of each if one was given)."""


def tokens_first(real: Bool[Tensor, "batch time"]) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
    """The columns of each row, tokens before padding and else in their order; and the way back: taking columns in the
    first order and then in the second changes nothing."""
    order = (~real).to(torch.uint8).argsort(dim=1, stable=True)
    return order, order.argsort(1)


def columns_at(x: Tensor, columns: Int[Tensor, "batch count"], axis: int = 1) -> Tensor:
    """Columns of each row of ``x``, whose columns lie along ``axis``."""
    shape = [1] * x.ndim
    shape[0], shape[axis] = columns.shape
    wanted = [*x.shape]
    wanted[axis] = columns.shape[1]
    return x.gather(axis, columns.view(shape).expand(wanted))


@dataclass(frozen=True)
class Sequences:
    """Documents of about one length, from their first token on and without padding; what stands beyond the end of the
    shorter ones is any column. ``rows`` (count,), ``columns`` (count, longest) and ``lengths`` (count,) say where.
    ``begun`` (count,) marks those that go on from the memory of their row, ``last`` those that end it."""

    rows: Tensor
    columns: Tensor
    lengths: Tensor
    begun: Tensor
    last: Tensor

    @property
    def inside(self) -> Tensor:
        """(count, longest) bool: True up to the end of each."""
        return torch.arange(self.columns.shape[1], device=self.columns.device) < self.lengths[:, None]


def sequences(real: Bool[Tensor, "batch time"] | None, documents: Int[Tensor, "batch time"] | None) -> list[Sequences]:
    """The documents of a batch, those of 2^i + 1 to 2^(i + 1) tokens together, so that at most half is filled up.

    ``documents`` as ``document_numbers`` gives them; the memory of a row belongs to document 0. One of the two must be
    given. A row without a token has no document.
    """
    known = documents if real is None else real
    if known is None:
        raise ValueError("every row is one sequence as it stands, so there is nothing to take apart")
    rows, columns = (torch.ones_like(known, dtype=torch.bool) if real is None else real).nonzero(as_tuple=True)
    if rows.numel() == 0:
        return []
    numbers = torch.zeros_like(rows) if documents is None else documents[rows, columns]
    changes = (rows.diff() != 0) | (numbers.diff() != 0)
    starts = torch.cat((rows.new_zeros(1), changes.nonzero()[:, 0] + 1))
    lengths = torch.cat((starts[1:], starts.new_tensor([rows.numel()]))) - starts
    of_row = rows[starts]
    last = torch.cat((of_row.diff() != 0, changes.new_ones(1)))
    doublings = torch.frexp((lengths - 1).double()).exponent  # of the power of two at or above the length
    groups = []
    for size in doublings.unique():
        pick = (doublings == size).nonzero()[:, 0]
        at = starts[pick][:, None] + torch.arange(int(lengths[pick].max()), device=rows.device)
        groups.append(
            Sequences(
                of_row[pick],
                columns[at.clamp(max=rows.numel() - 1)],
                lengths[pick],
                numbers[starts[pick]] == 0,
                last[pick],
            )
        )
    return groups


def each_document(
    run: Run, inputs: Sequence[Tensor], memory: tuple[Tensor, ...] | None, groups: Sequence[Sequences]
) -> tuple[Tensor, Any]:
    """``run`` on every document by itself. ``inputs`` are (batch, time, ...); beyond its end a document is zeros. The
    output is zeros at padding. The memory of a row after it is that of its last document."""
    out = torch.zeros_like(inputs[0])
    ends = memory
    for group in groups:
        inside = group.inside
        parts = [
            x[group.rows[:, None], group.columns].masked_fill(~inside.view(*inside.shape, *[1] * (x.ndim - 2)), 0)
            for x in inputs
        ]
        before = None
        if memory is not None:
            fresh = ~group.begun
            before = tuple(x[group.rows].masked_fill(fresh.view(-1, *[1] * (x.ndim - 1)), 0) for x in memory)
        made, after = run(*parts, before, group.lengths)
        rows = group.rows[:, None].expand_as(group.columns)
        out = out.index_put((rows[inside], group.columns[inside]), made[inside])
        if ends is not None and after is not None:
            rows = group.rows[group.last]
            ends = tuple(x.index_copy(0, rows, y[group.last]) for x, y in zip(ends, after, strict=True))
    return out, ends
