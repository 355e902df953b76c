"""How far raters agree beyond chance: Cohen's kappa of two, Krippendorff's alpha of any number with gaps.

Both are ratios of disagreements that add up over units, so their intervals resample units (or clusters of them) whole.
"""

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np

from trivium.evaluation.stats.bootstrap import sums_interval
from trivium.evaluation.stats.intervals import RESAMPLES, Interval, Values

Weights = Literal["none", "linear", "quadratic"]
Level = Literal["nominal", "ordinal", "interval"]


def kappa(
    first: Sequence[Hashable],
    second: Sequence[Hashable],
    *,
    weights: Weights = "none",
    categories: Sequence[Hashable] | None = None,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Cohen's kappa, 1 - observed / expected disagreement; weighted by the distance of categories, or its square.

    ``categories`` gives their order, which weights need; by default they are sorted. Where both raters use one and the
    same category throughout, kappa is undefined, and refused.
    """
    if len(first) != len(second) or not len(first):
        raise ValueError(f"two raters must have rated the same units: got {len(first)} and {len(second)} ratings")
    if weights not in ("none", "linear", "quadratic"):
        raise ValueError(f"weights must be 'none', 'linear' or 'quadratic', got {weights!r}")
    known = _categories([*first, *second], categories)
    place = {category: n for n, category in enumerate(known)}
    k = len(known)
    cells = np.zeros((len(first), k, k))
    cells[np.arange(len(first)), [place[x] for x in first], [place[x] for x in second]] = 1.0
    apart = np.abs(np.arange(k)[:, None] - np.arange(k)).astype(float)
    cost = (apart > 0).astype(float) if weights == "none" else apart if weights == "linear" else apart**2

    def of(sums: Values) -> Values:
        table = sums.reshape(*sums.shape[:-1], k, k)
        n = table.sum((-1, -2))
        expected = table.sum(-1)[..., :, None] * table.sum(-2)[..., None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            return 1.0 - (cost * table).sum((-1, -2)) * n / (cost * expected).sum((-1, -2))

    if k == 1:
        raise ValueError(f"both raters say {known[0]!r} throughout: agreement beyond chance is undefined")
    return sums_interval(cells.reshape(len(first), -1), of, clusters, resamples=resamples, seed=seed)


def alpha(
    ratings: Sequence[Sequence[Any]],
    *,
    level: Level = "nominal",
    categories: Sequence[Hashable] | None = None,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Krippendorff's alpha of ``ratings`` (raters, units), in which None or NaN is a missing one.

    Units with a single rating say nothing of agreement and are left out (``n`` counts those that are left). "nominal"
    knows equal and different, "ordinal" ranks, "interval" the distance of numbers. ``categories`` gives the order of
    ordinal ones that are no numbers. ``clusters`` are of the units.
    """
    if level not in ("nominal", "ordinal", "interval"):
        raise ValueError(f"level must be 'nominal', 'ordinal' or 'interval', got {level!r}")
    if len(ratings) < 2 or len({len(row) for row in ratings}) != 1 or not len(ratings[0]):
        raise ValueError("need a row of ratings per rater, two or more, all over the same units (None where missing)")
    units = [[x for x in column if not _missing(x)] for column in zip(*ratings, strict=True)]
    kept = [n for n, unit in enumerate(units) if len(unit) > 1]
    if not kept:
        raise ValueError("no unit has two ratings, so nothing can agree")
    known = _categories([x for n in kept for x in units[n]], categories)
    if len(known) == 1:
        raise ValueError(f"every rating is {known[0]!r}: agreement beyond chance is undefined")
    if level == "interval" and not all(isinstance(x, (int, float, np.number)) for x in known):
        raise ValueError(f"the interval level needs numbers, got {known[:3]}; ordinal needs their order only")
    place = {category: n for n, category in enumerate(known)}
    k = len(known)
    counts = np.array([np.bincount([place[x] for x in units[n]], minlength=k) for n in kept], float)
    often = counts.sum(1)[:, None, None]
    pairs = (counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(k)) / (often - 1)
    numbers = np.array(known, float) if level == "interval" else np.arange(k, dtype=float)

    def of(sums: Values) -> Values:
        together = sums.reshape(*sums.shape[:-1], k, k)  # Krippendorff's coincidences
        margin = together.sum(-1)
        total = margin.sum(-1)
        cost = _distances(margin, numbers, level)
        expected = margin[..., :, None] * margin[..., None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            return 1.0 - (total - 1) * (cost * together).sum((-1, -2)) / (cost * expected).sum((-1, -2))

    left = None if clusters is None else [clusters[n] for n in kept]
    return sums_interval(pairs.reshape(len(kept), -1), of, left, resamples=resamples, seed=seed)


def _distances(margin: Values, numbers: Values, level: Level) -> Values:
    """(..., k) -> (..., k, k) squared distances; ordinal ones count the ratings that lie between."""
    if level == "nominal":
        return 1.0 - np.eye(len(numbers))
    if level == "interval":
        return (numbers[:, None] - numbers) ** 2
    middle = np.cumsum(margin, -1) - margin / 2
    return (middle[..., :, None] - middle[..., None, :]) ** 2


def _missing(x: Any) -> bool:
    return x is None or (isinstance(x, float) and np.isnan(x))


def _categories(seen: Sequence[Hashable], given: Sequence[Hashable] | None) -> list[Any]:
    """The categories in their order; only those that occur, so that none has a margin of 0."""
    present = set(seen)
    if any(_missing(x) for x in present):
        raise ValueError("a rating is missing (None or NaN); drop its unit, or use alpha, which allows gaps")
    if given is None:
        try:
            return sorted(present)  # type: ignore[type-var]
        except TypeError:
            raise ValueError(
                f"the categories {list(present)[:4]} have no common order; give it as categories"
            ) from None
    if len(set(given)) != len(given) or present - set(given):
        raise ValueError(
            f"categories must be distinct and hold every rating; missing: {sorted(map(str, present - set(given)))}"
        )
    return list(given)
