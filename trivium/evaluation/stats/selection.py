"""What was chosen by its score: the score it would have had by luck alone, and an honest one.

The best of many formats, prompts, exemplars, checkpoints or layers looks good on the items that chose it. Report it on
items that did not: a split, or every item scored by a choice made without it. And set a spread against its null.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trivium.core import seeds
from trivium.evaluation.stats.intervals import Interval, Numbers, Values, cluster_index, clustered_interval

Places = NDArray[np.intp]


@dataclass(frozen=True)
class Null:
    """A selected maximum or spread beside what candidates without any difference would show."""

    observed: float
    null: float
    """Its mean when outcomes change places between candidates within each item."""
    high: float
    """Its 95th percentile then."""
    p: float
    candidates: int
    items: int
    draws: int


def null(
    table: Values | Sequence[Numbers],
    clusters: Sequence[Hashable] | None = None,
    *,
    statistic: Literal["spread", "maximum"] = "spread",
    draws: int = 1000,
    seed: int = 0,
) -> Null:
    """Permutation null of the spread (best minus worst), or maximum, of the means of ``table`` (candidates, items).

    Under the null the candidates of an item could have changed places. They are permuted within items, so that easy and
    hard items stay what they are: the null of independent items would be too wide. Items of one cluster are permuted
    alike. For a minimum, give the table with its sign changed.
    """
    values = _table(table)
    if statistic not in ("spread", "maximum"):
        raise ValueError(f"statistic must be 'spread' or 'maximum', got {statistic!r}")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    count, n = values.shape
    sums = values
    if clusters is not None:  # items that move together add up before they move
        where = cluster_index(clusters)
        if len(where) != n:
            raise ValueError(f"every item needs its cluster: got {len(where)} clusters for {n} items")
        sums = np.stack([np.bincount(where, row) for row in values])
    generator = seeds.numpy_generator(seed, "null of a selection")

    def of(means: Values) -> float:
        return float(np.ptp(means) if statistic == "spread" else means.max())

    observed = of(sums.sum(1) / n)
    drawn = np.array([of(generator.permuted(sums, axis=0).sum(1) / n) for _ in range(draws)])
    slack = 1e-12 * max(1.0, abs(observed))  # sums in another order differ in the last digits: ties must stay ties
    p = (1 + int((drawn >= observed - slack).sum())) / (1 + draws)
    return Null(observed, float(drawn.mean()), float(np.quantile(drawn, 0.95)), p, count, n, draws)


def split(
    items: int, clusters: Sequence[Hashable] | None = None, *, share: float = 0.5, seed: int = 0
) -> tuple[Places, Places]:
    """Places of the items to select on and of those to report on; clusters stay whole and neither part is empty."""
    where = _clusters(items, clusters)
    size = int(where.max()) + 1
    if not 0 < share < 1:
        raise ValueError(f"share is the part to select on, between 0 and 1; got {share}")
    if size < 2:
        raise ValueError("one cluster cannot be split into a part that selects and one that reports")
    order = seeds.numpy_generator(seed, "split of a selection").permutation(size)
    chosen = np.isin(where, order[: min(max(round(share * size), 1), size - 1)])
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def folds(items: int, count: int, clusters: Sequence[Hashable] | None = None, *, seed: int = 0) -> Places:
    """The fold, 0 to ``count`` - 1, of each item: at random, clusters whole, their number differing by at most one."""
    where = _clusters(items, clusters)
    size = int(where.max()) + 1
    if not 2 <= count <= size:
        raise ValueError(f"folds must be from 2 to the number of clusters, {size}; got {count}")
    of_cluster = np.empty(size, dtype=np.intp)
    of_cluster[seeds.numpy_generator(seed, "folds").permutation(size)] = np.arange(size) % count
    return of_cluster[where]


@dataclass(frozen=True)
class Selected:
    """A selection with a score that it did not itself lift."""

    candidate: int
    """The choice by all items; what to use from now on."""
    apparent: float
    """Its mean on the items that chose it: too good."""
    report: Interval
    """Its mean on items that had no say in the choice."""
    choices: tuple[int, ...]
    """What was chosen on each part; many different ones say that the choice is noise."""
    candidates: int

    @property
    def optimism(self) -> float:
        """How much the selection flatters itself."""
        return self.apparent - self.report.mean


def reported(
    table: Values | Sequence[Numbers],
    clusters: Sequence[Hashable] | None = None,
    *,
    share: float = 0.5,
    higher_is_better: bool = True,
    seed: int = 0,
) -> Selected:
    """The best row of ``table`` (candidates, items), chosen on a share of the items and scored on the others."""
    values = _table(table)
    chosen_on, reported_on = split(values.shape[1], clusters, share=share, seed=seed)
    choice = _best(values[:, chosen_on], higher_is_better)
    left = list(range(values.shape[1])) if clusters is None else list(clusters)
    report = clustered_interval(values[choice, reported_on], [left[n] for n in reported_on], seed=seed)
    return Selected(choice, float(values[choice, chosen_on].mean()), report, (choice,), len(values))


def nested(
    table: Values | Sequence[Numbers],
    clusters: Sequence[Hashable] | None = None,
    *,
    count: int = 5,
    higher_is_better: bool = True,
    seed: int = 0,
) -> Selected:
    """The best row of ``table`` (candidates, items) with its score by nested cross-validation.

    Every fold is scored by the row that the other folds chose. The interval takes the folds' items as independent; that
    they share choosers makes it a little too narrow.
    """
    values = _table(table)
    of = folds(values.shape[1], count, clusters, seed=seed)
    choices = [_best(values[:, of != fold], higher_is_better) for fold in range(count)]
    honest = values[np.array(choices)[of], np.arange(values.shape[1])]
    report = clustered_interval(honest, range(len(honest)) if clusters is None else clusters, seed=seed)
    choice = _best(values, higher_is_better)
    return Selected(choice, float(values[choice].mean()), report, tuple(choices), len(values))


def _best(values: Values, higher_is_better: bool) -> int:
    """The row with the best mean, the first of equal ones."""
    means = values.mean(1).round(12)
    return int(means.argmax() if higher_is_better else means.argmin())


def _table(table: Values | Sequence[Numbers]) -> Values:
    values = np.asarray(table, float)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"need a table of candidates by items, got the shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("every candidate needs a finite score of every item; drop items that one of them misses")
    return values


def _clusters(items: int, clusters: Sequence[Hashable] | None) -> Places:
    if items < 1:
        raise ValueError(f"there must be items to split, got {items}")
    if clusters is None:
        return np.arange(items)
    if len(clusters) != items:
        raise ValueError(f"every item needs its cluster: got {len(clusters)} clusters for {items} items")
    return cluster_index(clusters)
