"""Which document stands at which place of a sampled order: a pure function, asked for at any place without the others.

Groups of documents (sources, languages) are dealt into one another as evenly as they can be: draw j of a group of D
draws lies at (2j + 1) / 2D of the way, and all are sorted by that, so that every stretch of the order holds each group
by its share, to a document or two, however small it is. Within a group nothing comes a second time before all have come
once: the first epoch goes by the members as they are given, and each later one by a shuffle of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trivium.data.shuffle import shuffled

STRETCH = 1 << 18
"""Places that are worked out at once."""


@dataclass(frozen=True)
class Draws:
    """How much of a group is drawn."""

    group: str
    members: NDArray[np.int64]
    """(n,) numbers of its documents, in the order of the first epoch."""
    count: int
    """Documents that are drawn in all; more than n where some come again."""

    def __post_init__(self) -> None:
        if self.count < 0 or (self.count and not len(self.members)):
            raise ValueError(
                f"{self.count} documents cannot be drawn from {self.group!r}, which has {len(self.members)}"
            )

    def at(self, draws: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
        """Which documents these draws are, by their number from 0 within the group."""
        n = len(self.members)
        found = self.members[draws % n] if n else np.zeros(0, np.int64)
        for epoch in np.unique(draws[draws >= n] // n) if n else ():
            here = draws // n == epoch
            found[here] = self.members[shuffled(draws[here] % n, n, seed, "epoch", self.group, int(epoch))]
        return found


@dataclass(frozen=True)
class Order:
    """The order in which documents are drawn.

    ``len(order)`` is the number of places; ``order.between(begin, end)`` gives the numbers of the documents at places
    begin to end - 1, and ``order.from_(begin)`` goes through all from there on. Documents are numbered as they stayed
    after curation, from 0, in the order of files and lines; a number comes as often as its document is drawn. Nothing
    depends on where one begins: ``list(order.from_(k)) == list(order.from_(0))[k:]``. To find a place costs O(G log G)
    for G groups, never a walk through what lies before it.

    Whoever wants the documents themselves reads ``data.kept.Kept.documents(begin)``, which follows this order where a
    plan has a mixer, and that of files and lines where it has none.
    """

    draws: Sequence[Draws]
    seed: int = 0

    def __len__(self) -> int:
        return int(self._counts.sum())

    def between(self, begin: int, end: int) -> NDArray[np.int64]:
        """(end - begin,) numbers of documents. Raises ValueError for places outside."""
        group, draw = self.split(begin, end)
        found = np.empty(end - begin, np.int64)
        for number in np.unique(group):
            here = group == number
            found[here] = self.draws[number].at(draw[here], self.seed)
        return found

    def from_(self, begin: int = 0) -> Iterator[int]:
        """The number of the document at each place from this one to the end."""
        for start in range(begin, len(self), STRETCH):
            yield from self.between(start, min(start + STRETCH, len(self))).tolist()

    def split(self, begin: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each place, two of (end - begin,): which group is drawn from, and which of its draws that is, from 0."""
        if not 0 <= begin <= end <= len(self):
            raise ValueError(f"places {begin} to {end} do not lie in an order of {len(self)}")
        if begin == end:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        slack = 2 * len(self.draws)  # a group may be ahead of its share, or behind it, by less than one draw
        first, last = (self._before(place / len(self)) for place in (begin - slack, end + slack))
        group = np.repeat(np.arange(len(first)), last - first)
        draw = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
        key = (2 * draw + 1) / (2 * self._counts[group])
        sorted_ = np.lexsort((group, key))[begin - int(first.sum()) : end - int(first.sum())]
        return group[sorted_], draw[sorted_]

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        return np.array([draws.count for draws in self.draws], np.int64)

    def _before(self, part: float) -> NDArray[np.int64]:
        """(groups,) draws of each that lie before this part of the way; exactly, in the numbers they are sorted by."""
        counts = self._counts
        found = np.clip(np.floor(part * counts).astype(np.int64), 0, counts)  # it, or one less
        return found + ((found < counts) & ((2 * found + 1) / (2 * np.maximum(counts, 1)) < part))
