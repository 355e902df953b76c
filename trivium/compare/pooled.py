"""Measures of all outputs together, which are no mean over examples: their value, interval and paired difference.

What each record keeps for them are its ``vectors``: of its own output, and of what that is set against. All contenders
share the bins, and an example weighs the same with however many seeds.

Intervals come from resampling clusters of examples, outputs and references alike and for all contenders at once. Such
a statistic of few texts is too low, and that of a resample of them lower still: the spread of the resamples is
therefore set around the value itself. It says how sure a value or a difference is, not how far below that of endless
texts it lies; since that hits all contenders alike, compare them with each other only. The p-value of a difference
counts how often it grows as large when the outputs of two contenders change places, cluster by cluster at random.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trivium.core import seeds
from trivium.evaluation.stats.intervals import Interval, Values
from trivium.evaluation.stats.paired import Pair
from trivium.nn import confusion, mauve

RESAMPLES = 2000


@dataclass(frozen=True)
class Statistic:
    """Of counts per bin: ``of`` (batch, bins) own x (batch, bins) reference -> (batch,), from ``low`` to ``high``.

    ``binned``: the vectors of all outputs and references, and of how many examples they are -> the bin of each
    (vectors,), and how many bins there are.
    """

    of: Callable[[Tensor, Tensor], Tensor]
    fewest: int
    low: float
    high: float
    binned: Callable[[Tensor, int, np.random.Generator], tuple[Tensor, int]]


def _quantised(vectors: Tensor, examples: int, generator: np.random.Generator) -> tuple[Tensor, int]:
    bins = mauve.bins_for(examples)
    return mauve.quantised(vectors, bins, generator), bins


def _cells(vectors: Tensor, examples: int, generator: np.random.Generator) -> tuple[Tensor, int]:
    """Pairs of the label that was said and the right one, as the cells of their table, row by row."""
    said, right = vectors.long().T
    labels = int(vectors.max()) + 1
    return said * labels + right, labels * labels


def _table(of: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A number of the table of one's own answers, whatever the reference."""
    return lambda own, reference: of(_square(own))


def _scaled(of: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A number of the table of one's own answers as a share of that of the reference's answers; where these are all
    wrong, as may be in a resample, of what half a right one among them would make."""

    def share(own: Tensor, reference: Tensor) -> Tensor:
        return of(_square(own)) / torch.maximum(of(_square(reference)), 0.5 / reference.sum(-1))

    return share


def _square(counts: Tensor) -> Tensor:
    labels = math.isqrt(counts.shape[-1])
    return counts.unflatten(-1, (labels, labels))


STATISTICS: Mapping[str, Statistic] = {
    "mauve": Statistic(mauve.area, mauve.FEWEST, 0.0, 1.0, _quantised),
    "macro_f1": Statistic(_table(confusion.macro_f1), 2, 0.0, 1.0, _cells),
    "matthews": Statistic(_table(confusion.matthews), 2, -1.0, 1.0, _cells),
    "label_bias": Statistic(_table(confusion.label_bias), 2, 0.0, 1.0, _cells),
    "scaled_f1": Statistic(_scaled(confusion.macro_f1), 2, 0.0, math.inf, _cells),
    "scaled_accuracy": Statistic(_scaled(confusion.accuracy), 2, 0.0, math.inf, _cells),
}
"""Of the last five, vectors are pairs: the number of the label that is said, and that of the right one. The last two
are shares of what the answers of the reference reach."""


class Pooled:
    """One such measure over the outputs of all contenders.

    ``own``: contender -> example -> the vectors of its outputs, one per seed; ``reference``: example -> the vector they
    are set against; ``cluster``: example -> what is drawn together.
    """

    def __init__(
        self,
        name: str,
        own: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
        reference: Mapping[str, Sequence[float]],
        cluster: Mapping[str, Hashable],
    ) -> None:
        self.statistic = STATISTICS[name]
        self.examples = sorted(reference)
        index: dict[Hashable, int] = {}
        self.clusters = np.array([index.setdefault(cluster[e], len(index)) for e in self.examples], dtype=np.int64)
        place = {example: n for n, example in enumerate(self.examples)}
        texts = [(place[e], None, reference[e]) for e in self.examples]
        texts += [(place[e], who, v) for who in sorted(own) for e in own[who] if e in place for v in own[who][e]]
        self.own = {who: np.zeros((len(self.examples), 0)) for who in own}
        self.reference = np.zeros((len(self.examples), 0))
        if not self._enough(np.ones(len(self.examples), bool)):
            return
        vectors = torch.tensor([vector for *_, vector in texts], dtype=torch.float64)
        generator = seeds.numpy_generator(0, "pooled", name)
        labels, bins = self.statistic.binned(vectors, len(self.examples), generator)
        self.own = {who: np.zeros((len(self.examples), bins)) for who in own}
        self.reference = np.zeros((len(self.examples), bins))
        for (row, who, _), label in zip(texts, labels.tolist(), strict=True):
            (self.reference if who is None else self.own[who])[row, label] += 1.0
        for counts in self.own.values():
            counts /= np.maximum(counts.sum(1, keepdims=True), 1.0)

    def summary(self, who: str) -> Interval | None:
        """The value of one contender with its interval; None where it has too few outputs."""
        there = self._there(who)
        if not self._enough(there):
            return None
        own, reference, count = self._by_cluster(there, self.own[who], self.reference)
        value = self._of(own.sum(0), reference.sum(0))
        drawn = self._resampled(count)
        return self._interval(float(value), self._of(drawn @ own, drawn @ reference), int(there.sum()), count)

    def pair(self, a: str, b: str) -> Pair | None:
        """The difference of two contenders over the examples that both have, first minus second."""
        there = self._there(a) & self._there(b)
        if not self._enough(there):
            return None
        first, second, reference, count = self._by_cluster(there, self.own[a], self.own[b], self.reference)
        whole = reference.sum(0)
        value = float(self._of(first.sum(0), whole) - self._of(second.sum(0), whole))
        drawn = self._resampled(count)
        resampled = self._of(drawn @ first, drawn @ reference) - self._of(drawn @ second, drawn @ reference)
        interval = self._interval(value, resampled, int(there.sum()), count, difference=True)
        kept = seeds.numpy_generator(0, "swaps").integers(0, 2, (RESAMPLES, count)).astype(float)
        one, other = kept @ first + (1 - kept) @ second, kept @ second + (1 - kept) @ first
        whole = np.broadcast_to(whole, one.shape)
        swapped = np.abs(self._of(one, whole) - self._of(other, whole))
        p = (1 + int((swapped >= abs(value) - 1e-12).sum())) / (1 + RESAMPLES)
        return Pair(interval, p, f"swaps within clusters, {RESAMPLES} draws", None)

    def _there(self, who: str) -> NDArray[np.bool_]:
        return self.own[who].sum(1) > 0

    def _enough(self, there: NDArray[np.bool_]) -> bool:
        return int(there.sum()) >= self.statistic.fewest

    def _by_cluster(self, there: NDArray[np.bool_], *counts: Values) -> tuple:
        """Each array summed over the examples of a cluster, and the number of clusters."""
        _, where = np.unique(self.clusters[there], return_inverse=True)
        count = int(where.max()) + 1
        member = (np.arange(count)[:, None] == where).astype(float)  # (clusters, examples)
        return (*(member @ each[there] for each in counts), count)

    def _of(self, own: Values, reference: Values) -> Values:
        return self.statistic.of(torch.from_numpy(own), torch.from_numpy(np.array(reference))).numpy()

    def _resampled(self, count: int) -> Values:
        """How often each cluster is drawn: (resamples, clusters)."""
        generator = seeds.numpy_generator(0, "pooled bootstrap", count)
        return generator.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(float)

    def _interval(self, value: float, drawn: Values, n: int, clusters: int, *, difference: bool = False) -> Interval:
        if clusters == 1:
            return Interval(value, None, None, n, 1, "a single cluster")
        low, high = np.quantile(drawn - drawn.mean(), [0.025, 0.975])
        least, most = self.statistic.low, self.statistic.high
        if difference:
            least, most = least - most, most - least
        return Interval(
            value,
            max(value + min(float(low), 0.0), least),
            min(value + max(float(high), 0.0), most),
            n,
            clusters,
            "cluster bootstrap around the value",
            2.8 * float(drawn.std(ddof=1)),
        )
