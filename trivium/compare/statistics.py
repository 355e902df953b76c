"""Paired statistics: what differs between two contenders on the same items, how sure that is, and the verdict.

An item is an example with its seeds averaged (or a training seed); items of one cluster are not independent and are
resampled, flipped and counted together. A measure may weigh its items (bits per byte weighs documents by their bytes),
which makes every mean below a ratio of sums: mean = sum w v / sum w.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from trivium.core import seeds

RESAMPLES = 10_000
FEW_CLUSTERS = 100
"""Below this many clusters a percentile bootstrap is too narrow, so the clustered t-interval is used."""
LEVEL = 0.05
FEWEST = 6
"""Clusters below which not even a single comparison can be judged: see ``fewest_clusters``."""
FEWEST_SEEDS = 3
"""Training seeds below which a run is a smoke test and nothing is judged."""
EXACT_UP_TO = 20

Verdict = Literal["supported", "contradicted", "not visible at this scale"]

Values = NDArray[np.float64]
Numbers = Sequence[float] | Values


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval. ``detectable``: the smallest true difference that would usually be seen."""

    mean: float
    low: float | None
    high: float | None
    n: int
    clusters: int
    method: str = ""
    detectable: float | None = None


@dataclass(frozen=True)
class Pair:
    """Paired difference of two contenders on one measure, first minus second."""

    interval: Interval
    p: float | None
    test: str
    correlation: float | None
    p_holm: float | None = None
    verdict: Verdict | None = None


def mean_interval(values: Numbers, confidence: float = 0.95) -> Interval:
    """Student's t-interval of independent values, such as one difference per training seed."""
    v = np.asarray(values, float)
    n = len(v)
    if n == 0:
        raise ValueError("there is no value to take a mean of")
    if n == 1:
        return Interval(float(v[0]), None, None, 1, 1, "a single value")
    half = float(stats.t.ppf(0.5 + confidence / 2, n - 1) * v.std(ddof=1) / math.sqrt(n))
    return Interval(float(v.mean()), float(v.mean()) - half, float(v.mean()) + half, n, n, "t-interval", half)


def clustered_interval(
    values: Numbers,
    clusters: Sequence[Hashable],
    weights: Numbers | None = None,
    *,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Interval of a (weighted) mean over clusters: a bootstrap of clusters, or a clustered t where they are few."""
    totals, sums = _by_cluster(values, clusters, weights)
    n, count = len(values), len(sums)
    mean = float(totals.sum() / sums.sum())
    if count == 1:
        return Interval(mean, None, None, n, 1, "a single cluster")
    error = _clustered_error(totals, sums)
    detectable = 2.8 * error  # 1.96 + 0.84: seen with 80 % power at the 5 % level
    if count < FEW_CLUSTERS:
        half = float(stats.t.ppf(0.5 + confidence / 2, count - 1)) * error
        return Interval(mean, mean - half, mean + half, n, count, "clustered t", detectable)
    low, high = _cluster_bootstrap(totals, sums, seed, confidence)
    return Interval(mean, low, high, n, count, "cluster bootstrap", detectable)


def proportion_interval(values: Numbers, confidence: float = 0.95) -> Interval:
    """Wilson's interval for independent outcomes that are 0 or 1."""
    hits, n = int(sum(values)), len(values)
    found = stats.binomtest(hits, n).proportion_ci(confidence, method="wilson")
    return Interval(hits / n, float(found.low), float(found.high), n, n, "Wilson")


def summary(
    values: Numbers,
    clusters: Sequence[Hashable],
    weights: Numbers | None = None,
    *,
    binary: bool = False,
    seed: int = 0,
) -> Interval:
    """How one contender did: Wilson for independent items of a ``binary`` measure, else the clustered interval."""
    if binary and weights is None and _binary(values) and len(set(clusters)) == len(values):
        return proportion_interval(values)
    return clustered_interval(values, clusters, weights, seed=seed)


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
    if binary and weights is None and _binary(a) and _binary(b) and interval.clusters == len(a):
        p, test = mcnemar(int((a > b).sum()), int((a < b).sum())), "exact McNemar"
    else:
        totals, _ = _by_cluster(a - b, clusters, weights)
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


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: controls the chance of any false claim in the family."""
    order = np.argsort(np.asarray(p, float), kind="stable")
    adjusted, running = [0.0] * len(p), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = running
    return adjusted


def fewest_clusters(family: int, level: float = LEVEL) -> int:
    """The clusters that an exact two-sided sign-flip test needs for a p below the level after Holm over a family.

    With n clusters no p is below 2^(1 - n): one comparison needs 6, and 48 need 11. With fewer nothing can be seen, and
    to say that no difference was seen would mislead.
    """
    return math.floor(math.log2(max(family, 1) / level)) + 2


def with_holm(family: Sequence[Pair]) -> list[Pair]:
    """The pairs with ``p_holm`` over those that have a p-value."""
    tested = [n for n, pair in enumerate(family) if pair.p is not None]
    adjusted = dict(zip(tested, holm([family[n].p or 0.0 for n in tested]), strict=True))
    return [replace(pair, p_holm=adjusted.get(n)) for n, pair in enumerate(family)]


def verdict(low: float | None, high: float | None, more_than: float = 0.0) -> Verdict | None:
    """The word for 'the difference exceeds ``more_than``', from its interval; None where there is no interval."""
    if low is None or high is None:
        return None
    if low > more_than:
        return "supported"
    return "contradicted" if high < more_than else "not visible at this scale"


def judged(pair: Pair, higher_is_better: bool | None, *, fewest: int = FEWEST, level: float = LEVEL) -> Pair:
    """The pair with the verdict on 'the first contender is better than the second'.

    No verdict for a measure without direction or with fewer than ``fewest`` clusters. A direction is stated only
    where the interval excludes zero and Holm's p is below the level.
    """
    if higher_is_better is None or pair.p_holm is None or pair.interval.clusters < fewest:
        return replace(pair, verdict=None)
    low, high = pair.interval.low, pair.interval.high
    if low is None or high is None:
        return replace(pair, verdict=None)
    word = verdict(low, high) if higher_is_better else verdict(-high, -low)
    return replace(pair, verdict=word if pair.p_holm < level else "not visible at this scale")


def correlation(a: Values, b: Values) -> float | None:
    """Pearson's correlation of the item scores; None where one side is constant."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _by_cluster(values: Numbers, clusters: Sequence[Hashable], weights: Numbers | None) -> tuple[Values, Values]:
    """Per cluster the weighted sum of its values and the sum of its weights."""
    v = np.asarray(values, float)
    w = np.ones_like(v) if weights is None else np.asarray(weights, float)
    if not len(v):
        raise ValueError("there is no value to take a mean of")
    if not (np.isfinite(v).all() and np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        raise ValueError("values must be finite, weights finite, not negative and not all zero")
    index: dict[Hashable, int] = {}
    where = np.array([index.setdefault(cluster, len(index)) for cluster in clusters])
    return np.bincount(where, w * v).astype(float), np.bincount(where, w).astype(float)


def _clustered_error(totals: Values, sums: Values) -> float:
    """sqrt of C/(C-1) * sum_c (sum_i w_i (v_i - mean))^2 / (sum w)^2."""
    count = len(totals)
    residuals = totals - sums * (totals.sum() / sums.sum())
    return float(math.sqrt(count / (count - 1) * (residuals**2).sum()) / sums.sum())


def _cluster_bootstrap(totals: Values, sums: Values, seed: int, confidence: float) -> tuple[float, float]:
    generator = seeds.numpy_generator(seed, "bootstrap")
    drawn = generator.integers(0, len(totals), (RESAMPLES, len(totals)))
    means = totals[drawn].sum(1) / sums[drawn].sum(1)
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def _binary(values: Numbers) -> bool:
    """Whether all are 0 or 1; the mean over seeds of a binary measure need not be."""
    return bool(np.isin(np.asarray(values, float), (0.0, 1.0)).all())
