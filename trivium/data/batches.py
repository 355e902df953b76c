"""Training batches as a pure function of the seed and the step, so that a run can go on from anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from trivium.core.nouns import Batch
from trivium.core.seeds import numpy_generator
from trivium.data.packing import Packed, pack


@dataclass(frozen=True, eq=False)
class Batches:
    """Rows of packed documents, ``batch_size`` at a time.

    ``documents`` are ids, one sequence per document (see ``packing.tokenised``). They are shuffled and packed once;
    the rows are dealt in a new order each epoch, and every row is seen once before any is seen again. Nothing is
    remembered between calls that changes an answer: ``batch(7)`` is the same batch in any process at any time.
    """

    documents: Sequence[Sequence[int]]
    length: int
    batch_size: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")

    @cached_property
    def packed(self) -> Packed:
        order = numpy_generator(self.seed, "documents").permutation(len(self.documents))
        return pack([self.documents[index] for index in order], self.length)

    @property
    def tokens(self) -> int:
        """Tokens in one epoch."""
        return len(self.packed) * self.length

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        if step < 0:
            raise ValueError(f"steps are counted from 0, got {step}")
        taken = range(step * self.batch_size, (step + 1) * self.batch_size)
        rows = torch.stack([self._order(at // len(self.packed))[at % len(self.packed)] for at in taken])
        return Batch(self.packed.ids[rows], segments=self.packed.segments[rows])

    def _order(self, epoch: int) -> Tensor:
        """(rows,) the order of one epoch; the last two are kept."""
        known = self._orders
        if epoch not in known:
            while len(known) > 1:
                known.pop(next(iter(known)))
            known[epoch] = torch.from_numpy(numpy_generator(self.seed, "epoch", epoch).permutation(len(self.packed)))
        return known[epoch]

    @cached_property
    def _orders(self) -> dict[int, Tensor]:
        return {}


@dataclass(frozen=True, eq=False)
class Growing:
    """Batches that grow: each of ``sizes`` rows holds for an equal share of the ``steps``, the last one to the end.

    The rows are dealt as ``rows`` deals them, whatever the sizes. Beyond the steps the last size stays.
    """

    rows: Batches
    sizes: tuple[int, ...]
    steps: int

    def __post_init__(self) -> None:
        if self.rows.batch_size != 1:
            raise ValueError(f"rows must come one at a time, so with batch_size 1; got {self.rows.batch_size}")
        if not self.sizes or min(self.sizes) < 1:
            raise ValueError(f"sizes must be at least one number of rows, each at least 1; got {self.sizes}")
        if self.steps < len(self.sizes):
            raise ValueError(f"{len(self.sizes)} sizes need as many steps at least, got {self.steps}")

    def size(self, step: int) -> int:
        """Rows in the batch of a step."""
        return self.sizes[min(step * len(self.sizes) // self.steps, len(self.sizes) - 1)]

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        starts = [-(-index * self.steps // len(self.sizes)) for index in range(len(self.sizes))]
        stops = [min(stop, step) for stop in (*starts[1:], step)]
        first = sum(max(stop - start, 0) * rows for start, stop, rows in zip(starts, stops, self.sizes, strict=True))
        parts = [self.rows.batch(at) for at in range(first, first + self.size(step))]
        segments = [part.segments for part in parts if part.segments is not None]
        return Batch(torch.cat([part.ids for part in parts]), segments=torch.cat(segments))
