"""Measures of all rows together that are no mean: how well confidence fits success, how evenly groups are named.

A record keeps one row of numbers per output under the statistic's ``key``. Intervals come from resampling clusters of
examples, set around the value itself, since such statistics are larger in a resample than in the whole; the p-value of
a difference counts how often it grows as large when the rows of two contenders change places, cluster by cluster.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trivium.core import seeds
from trivium.data import overlaps
from trivium.evaluation.stats import calibration, desiderata
from trivium.evaluation.stats.intervals import Interval
from trivium.evaluation.stats.paired import Pair
from trivium.nn.faithfulness import log_ratio

RESAMPLES = 500
Rows = NDArray[np.float64]


@dataclass(frozen=True)
class RowStatistic:
    """Of rows (items, numbers) -> a number from ``low`` to ``high``; None where the rows do not define it."""

    key: str
    of: Callable[[Rows], float | None]
    fewest: int = 1
    low: float = 0.0
    high: float = 1.0


def _log_ratio(rows: Rows) -> float | None:
    """Of a measure and its control, in two columns; None where the mean of either is 0."""
    return log_ratio(*rows.T.tolist()) if (rows.mean(0) > 0).all() else None


STATISTICS: Mapping[str, RowStatistic] = {
    "ece_mass": RowStatistic("calibration", lambda rows: calibration.ece(*_whole(rows)), 10),
    "ece_width": RowStatistic("calibration", lambda rows: calibration.ece(*_whole(rows), binning="width"), 10),
    "coverage_area": RowStatistic("calibration", lambda rows: calibration.coverage_area(*_whole(rows)), 10),
    "robustness_null": RowStatistic("robust", desiderata.null_of),
    "fairness_null": RowStatistic("fair", desiderata.null_of),
    "bias_gender": RowStatistic("gender", desiderata.unevenness, high=0.5),
    "bias_race": RowStatistic("race", desiderata.unevenness, high=0.5),
    **{name: RowStatistic(name, partial(overlaps.score, name), high=100.0) for name in ("bleu", "chrf", "chrf++")},
    "ter": RowStatistic("ter", partial(overlaps.score, "ter"), high=math.inf),
    **{
        f"{name}_log_ratio": RowStatistic(f"{name}_log_ratio", _log_ratio, low=-math.inf, high=math.inf)
        for name in ("soft_nc", "soft_ns")
    },
    "stereotype_gender": RowStatistic("stereotype", desiderata.stereotype, high=0.5),
}


def _whole(rows: Rows) -> tuple[Rows, Rows]:
    """Confidence and correctness; a credit that was shared among ties counts 0, as in HELM."""
    return rows[:, 0], np.floor(rows[:, 1])


class PooledRows:
    """One such measure over all contenders. ``rows``: contender -> example -> rows, one per seed."""

    def __init__(
        self, name: str, rows: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], cluster: Mapping[str, Hashable]
    ) -> None:
        self.statistic, self.rows, self.cluster = STATISTICS[name], rows, cluster

    def summary(self, who: str) -> Interval | None:
        """The value of one contender with its interval; None where its rows do not define it."""
        groups = self._by_cluster(who, self.rows[who])
        whole = self._of(groups)
        if whole is None:
            return None
        n = sum(map(len, groups))
        return self._interval(whole, [self._of([groups[at] for at in draw]) for draw in _draws(len(groups))], n, groups)

    def pair(self, a: str, b: str) -> Pair | None:
        """The difference of two contenders over the examples that both have, first minus second."""
        both = [example for example in self.rows[a] if example in self.rows[b]]
        one, other = self._by_cluster(a, both), self._by_cluster(b, both)
        first, second = self._of(one), self._of(other)
        if first is None or second is None:
            return None
        drawn = [_minus(self._of([one[at] for at in d]), self._of([other[at] for at in d])) for d in _draws(len(one))]
        value, swapped = first - second, 0
        flips = seeds.numpy_generator(0, "row swaps").integers(0, 2, (RESAMPLES, len(one))).astype(bool)
        for flip in flips:
            x = self._of([q if yes else p for p, q, yes in zip(one, other, flip, strict=True)])
            y = self._of([p if yes else q for p, q, yes in zip(one, other, flip, strict=True)])
            swapped += abs(_minus(x, y) or 0.0) >= abs(value) - 1e-12
        interval = self._interval(value, drawn, sum(map(len, one)), one, difference=True)
        return Pair(interval, (1 + swapped) / (1 + RESAMPLES), f"swaps within clusters, {RESAMPLES} draws", None)

    def _by_cluster(self, who: str, examples: Sequence[str] | Mapping[str, object]) -> list[Rows]:
        found: dict[Hashable, list[Sequence[float]]] = {}
        for example in examples:
            found.setdefault(self.cluster[example], []).extend(self.rows[who][example])
        return [np.array(rows, float) for rows in found.values()]

    def _of(self, groups: Sequence[Rows]) -> float | None:
        if sum(map(len, groups)) < self.statistic.fewest:
            return None
        return self.statistic.of(np.concatenate(groups))

    def _interval(
        self, value: float, drawn: Sequence[float | None], n: int, groups: Sequence[Rows], *, difference: bool = False
    ) -> Interval:
        known = np.array([one for one in drawn if one is not None])
        if len(groups) == 1 or len(known) < len(drawn) / 2:
            return Interval(value, None, None, n, len(groups), "a single cluster" if len(groups) == 1 else "too sparse")
        low, high = np.quantile(known - known.mean(), [0.025, 0.975])
        least = self.statistic.low - self.statistic.high if difference else self.statistic.low
        return Interval(
            value,
            max(value + min(float(low), 0.0), least),
            min(value + max(float(high), 0.0), self.statistic.high),
            n,
            len(groups),
            "cluster bootstrap around the value",
            2.8 * float(known.std(ddof=1)),
        )


def _draws(clusters: int) -> NDArray[np.int64]:
    return seeds.numpy_generator(0, "row bootstrap", clusters).integers(0, clusters, (RESAMPLES, clusters))


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
