"""Bootstrap intervals of whatever can be had from sums: ratios over documents, micro F1, perplexity, agreement.

Every item brings its counts (a numerator and a denominator, a contingency table); items are resampled by clusters, the
counts of a resample are added up, and the statistic is taken of the sums. A mean of per-document ratios never appears.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Literal

import numpy as np
from scipy import stats

from trivium.core import seeds
from trivium.evaluation.stats.intervals import RESAMPLES, Interval, Numbers, Values, cluster_index

Bootstrap = Literal["percentile", "bca"]
UNDEFINED = 0.01
"""Largest share of resamples that may leave a statistic undefined (no denominator, no variation) and be left out."""
AT_ONCE = 4_000_000
"""Counts drawn at once, which bounds the memory."""


def sums_interval(
    counts: Values,
    statistic: Callable[[Values], Values],
    clusters: Sequence[Hashable] | None = None,
    *,
    method: Bootstrap = "bca",
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Interval of ``statistic`` (..., counts) -> (...) of the summed ``counts`` (items, counts).

    "bca" corrects the percentiles for bias and for a spread that changes with the value (Efron 1987); it needs a few
    dozen clusters to do so well. A single cluster, or a statistic that is undefined in many resamples, has no interval.
    """
    each = np.asarray(counts, float)
    if each.ndim != 2 or not len(each):
        raise ValueError(f"counts must be one row per item and there must be items, got the shape {each.shape}")
    if not np.isfinite(each).all():
        rows = np.flatnonzero(~np.isfinite(each).all(1))[:5].tolist()
        raise ValueError(f"counts must be finite; those of items {rows} are not")
    if method not in ("percentile", "bca"):
        raise ValueError(f"method must be 'percentile' or 'bca', got {method!r}")
    _check(resamples, confidence)
    sums = _by_cluster(each, clusters)
    value, n, size = float(statistic(sums.sum(0))), len(each), len(sums)
    if not np.isfinite(value):
        raise ValueError(f"the statistic of all {n} items together is {value}: it is undefined for these counts")
    if size == 1:
        return Interval(value, None, None, n, 1, "a single cluster")
    parts = resampled_counts(size, resamples, seeds.numpy_generator(seed, "bootstrap"), sums.shape[1])
    drawn = np.concatenate([statistic(w @ sums) for w in parts])
    defined = np.isfinite(drawn)
    if (~defined).mean() > UNDEFINED:
        return Interval(value, None, None, n, size, f"undefined in {(~defined).mean():.0%} of the resamples")
    drawn = drawn[defined]
    levels = np.array([0.5 - confidence / 2, 0.5 + confidence / 2])
    if method == "bca":
        levels = _bca_levels(drawn, value, statistic(sums.sum(0) - sums), levels)
    low, high = np.quantile(drawn, levels)
    name = "BCa cluster bootstrap" if method == "bca" else "cluster bootstrap"
    return Interval(value, float(low), float(high), n, size, name, 2.8 * float(drawn.std(ddof=1)))


def ratio_interval(
    numerators: Numbers,
    denominators: Numbers,
    clusters: Sequence[Hashable] | None = None,
    *,
    of: Callable[[Values], Values] = lambda ratio: ratio,
    method: Bootstrap = "bca",
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Interval of ``of`` (sum of numerators / sum of denominators), both resampled together.

    Perplexity per word: numerators are the negative log-likelihoods of the documents, denominators their words, and
    ``of`` is ``numpy.exp``.
    """
    top, bottom = np.asarray(numerators, float), np.asarray(denominators, float)
    if top.shape != bottom.shape or top.ndim != 1:
        raise ValueError(f"numerators and denominators must match: got the shapes {top.shape} and {bottom.shape}")
    if (bottom < 0).any() or bottom.sum() == 0:
        raise ValueError(f"denominators must not be negative nor all 0; they go from {bottom.min()} to {bottom.max()}")

    def ratio(sums: Values) -> Values:
        with np.errstate(divide="ignore", invalid="ignore"):
            return of(sums[..., 0] / sums[..., 1])

    return sums_interval(
        np.stack([top, bottom], 1),
        ratio,
        clusters,
        method=method,
        resamples=resamples,
        seed=seed,
        confidence=confidence,
    )


def simultaneous(
    table: Values | Sequence[Numbers],
    clusters: Sequence[Hashable] | None = None,
    weights: Numbers | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = 0.95,
) -> list[Interval]:
    """Intervals of the means of all rows of ``table`` (rows, items) that hold together, by a max-t bootstrap.

    Clusters are drawn for all rows at once, so rows that go together are charged less than Bonferroni would charge.
    The level that this leaves to each row is turned into a t quantile, which few clusters need. Rows may be systems,
    or differences to a baseline: where all are wanted, one family is one call.
    """
    values = np.asarray(table, float)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"the table must be rows of finite values over the same items, got the shape {values.shape}")
    _check(resamples, confidence)
    weight = np.ones(values.shape[1]) if weights is None else np.asarray(weights, float)
    if weight.shape != values.shape[1:] or not np.isfinite(weight).all() or (weight < 0).any() or weight.sum() <= 0:
        raise ValueError(f"weights must be {values.shape[1]} finite numbers, not negative and not all zero")
    sums = _by_cluster(np.concatenate([values * weight, weight[None]]).T, clusters)  # (clusters, rows and the weight)
    size, total = len(sums), sums.sum(0)
    means = total[:-1] / total[-1]
    if size == 1:
        return [Interval(float(mean), None, None, values.shape[1], 1, "a single cluster") for mean in means]
    residuals = sums[:, :-1] - sums[:, -1:] * means
    errors = np.sqrt(size / (size - 1) * (residuals**2).sum(0)) / total[-1]
    moving = errors > 1e-12 * np.maximum(np.abs(means), 1e-300)
    critical = 0.0
    if moving.any():
        largest = []
        for w in resampled_counts(size, resamples, seeds.numpy_generator(seed, "max-t")):
            drawn = w @ sums
            with np.errstate(divide="ignore", invalid="ignore"):
                away = np.abs(drawn[:, :-1] / drawn[:, -1:] - means)[:, moving] / errors[moving]
            largest.append(np.nan_to_num(away, nan=0.0).max(1))
        normal = float(np.quantile(np.concatenate(largest), confidence)) * np.sqrt(size / (size - 1))
        critical = float(stats.t.isf(stats.norm.sf(normal), size - 1))
    return [
        Interval(
            float(mean),
            float(mean - critical * error),
            float(mean + critical * error),
            values.shape[1],
            size,
            "simultaneous, max-t bootstrap",
            2.8 * float(error),
        )
        for mean, error in zip(means, errors, strict=True)
    ]


def resampled_counts(size: int, resamples: int, generator: np.random.Generator, width: int = 1) -> Iterator[Values]:
    """How often each of ``size`` clusters is drawn, in parts (resamples, clusters) that fit into memory; so do the sums
    of as many counts as ``width`` says."""
    step = max(1, AT_ONCE // max(size, width))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        yield generator.multinomial(size, np.full(size, 1 / size), rows).astype(float)


def _by_cluster(counts: Values, clusters: Sequence[Hashable] | None) -> Values:
    """(items, counts) -> (clusters, counts)"""
    if clusters is None:
        return counts
    if len(clusters) != len(counts):
        raise ValueError(f"every item needs its cluster: got {len(clusters)} clusters for {len(counts)} items")
    where = cluster_index(clusters)
    sums = np.zeros((int(where.max()) + 1, counts.shape[1]))
    np.add.at(sums, where, counts)
    return sums


def _bca_levels(drawn: Values, value: float, without: Values, levels: Values) -> Values:
    """The levels at which to read the percentiles: shifted by the bias, stretched by the acceleration."""
    if np.ptp(drawn) == 0:
        return levels
    below = ((drawn < value).mean() + (drawn <= value).mean()) / 2
    bias = stats.norm.ppf(np.clip(below, 0.5 / len(drawn), 1 - 0.5 / len(drawn)))
    away = np.nanmean(without) - without[np.isfinite(without)]
    spread = (away**2).sum()
    acceleration = (away**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
    z = bias + stats.norm.ppf(levels)
    return stats.norm.cdf(bias + z / (1 - acceleration * z))


def _check(resamples: int, confidence: float) -> None:
    if resamples < 100:
        raise ValueError(f"resamples must be at least 100 to have percentiles, got {resamples}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is a share between 0 and 1, such as 0.95; got {confidence}")
