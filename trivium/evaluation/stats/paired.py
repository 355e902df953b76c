"""Two contenders on the same items: the difference with its interval, and how likely it is without a cause.

Items of one cluster change sign together, as they are resampled together.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from trivium.core import seeds
from trivium.evaluation.stats.intervals import (
    RESAMPLES,
    Interval,
    Numbers,
    Values,
    by_cluster,
    clustered_interval,
    is_binary,
    mean_interval,
)
from trivium.evaluation.stats.verdicts import Verdict

EXACT_UP_TO = 20
"""Clusters up to which every pattern of signs is gone through."""


@dataclass(frozen=True)
class Pair:
    """Paired difference of two contenders on one measure, first minus second."""

    interval: Interval
    p: float | None
    test: str
    correlation: float | None
    p_holm: float | None = None
    verdict: Verdict | None = None


def paired(
    first: Numbers,
    second: Numbers,
    clusters: Sequence[Hashable],
    weights: Numbers | None = None,
    *,
    binary: bool = False,
    seed: int = 0,
) -> Pair:
    """Compare two contenders on the same items: difference with interval, p-value, correlation of the item scores."""
    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.shape != b.shape or len(a) != len(clusters):
        raise ValueError(f"paired items must match: got {len(a)} and {len(b)} values in {len(clusters)} clusters")
    interval = clustered_interval(a - b, clusters, weights, seed=seed)
    if binary and weights is None and is_binary(a) and is_binary(b) and interval.clusters == len(a):
        p, test = mcnemar(int((a > b).sum()), int((a < b).sum())), "exact McNemar"
    else:
        totals, _ = by_cluster(a - b, clusters, weights)
        p = sign_flip(totals, seed=seed)
        test = "exact sign-flip" if len(totals) <= EXACT_UP_TO else f"sign-flip, {RESAMPLES} draws"
    return Pair(interval, p, test, correlation(a, b))


def paired_seeds(first: Numbers, second: Numbers) -> Pair:
    """Compare two trained contenders, one value per seed: t-interval and paired t-test."""
    a, b = np.asarray(first, float), np.asarray(second, float)
    interval = mean_interval(a - b)
    if len(a) < 2:
        return Pair(interval, None, "none", None)
    spread = float((a - b).std(ddof=1))
    p = float(stats.ttest_rel(a, b).pvalue) if spread > 0 else float(np.all(a == b))
    return Pair(interval, p, "paired t-test", correlation(a, b))


def mcnemar(better: int, worse: int) -> float:
    """Exact two-sided p of ``better`` against ``worse`` discordant items; 1 where there is none."""
    return float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0


def sign_flip(differences: Numbers, *, seed: int = 0) -> float:
    """Two-sided p under the null that each cluster's difference was as likely of the other sign.

    Exact over all sign patterns up to 20 clusters; above, p = (1 + count) / (1 + draws).
    """
    d = np.asarray(differences, float)
    slack = 1e-12 * float(np.abs(d).sum())  # sums in another order differ in the last digits: ties must stay ties
    observed = abs(float(d.sum())) - slack
    if len(d) <= EXACT_UP_TO:
        sums = np.zeros(1)
        for value in d:
            sums = np.concatenate([sums + value, sums - value])
        return float((np.abs(sums) >= observed).mean())
    generator = seeds.numpy_generator(seed, "sign_flip")
    signs = generator.integers(0, 2, (RESAMPLES, len(d)), dtype=np.int8) * 2 - 1
    count = int((np.abs(signs @ d) >= observed).sum())
    return (1 + count) / (1 + RESAMPLES)


def correlation(a: Values, b: Values) -> float | None:
    """Pearson's correlation of the item scores; None where one side is constant."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])
