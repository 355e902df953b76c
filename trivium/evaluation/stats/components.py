"""Where the spread of a score comes from: other items, or another repeat of the same ones.

Repeats differ in whatever was drawn anew: seeds, exemplars, orders, formats. Nested repeats were drawn for each item by
itself (a sample of text); crossed repeats were drawn once for all items (one set of exemplars), so that their luck does
not average out over items.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trivium.evaluation.stats.intervals import Numbers, Values


@dataclass(frozen=True)
class Components:
    """Variances of an item's score, and the standard errors of the mean that they leave."""

    mean: float
    items: float
    """Between items, their repeats averaged away."""
    repeats: float
    """Between crossed repeats, shared by all items; 0 for nested ones, which share nothing."""
    within: float
    """Between repeats of one item, beyond what all items share."""
    n: int
    per_item: float
    """Repeats of an item."""

    @property
    def icc(self) -> float:
        """Share of the variance of a single score that belongs to its item."""
        whole = self.items + self.repeats + self.within
        return self.items / whole if whole > 0 else math.nan

    def error(self, repeats: float | None = None, items: int | None = None) -> float:
        """Standard error of the mean with so many repeats and items: sqrt(items/n + repeats/R + within/(n R)).

        Both as they were by default. What remains at infinite repeats only more items take away.
        """
        count, often = items or self.n, repeats or self.per_item
        if count < 1 or often < 1:
            raise ValueError(f"items and repeats must be at least 1, got {count} and {often}")
        return math.sqrt(self.items / count + self.repeats / often + self.within / (count * often))


def nested(scores: Sequence[Numbers]) -> Components:
    """Components of ``scores``: per item its repeats, as many as it has. One-way analysis of variance."""
    rows = [np.asarray(row, float) for row in scores]
    sizes = np.array([len(row) for row in rows])
    if len(rows) < 2 or (sizes < 1).any():
        raise ValueError(f"need two items or more, each with a score; got {len(rows)} items")
    if (sizes < 2).all():
        raise ValueError("no item was scored twice, so repeats cannot be told from items; give repeats")
    if not all(np.isfinite(row).all() for row in rows):
        raise ValueError("scores must be finite; leave out a repeat that failed")
    total, n = sizes.sum(), len(rows)
    means = np.array([row.mean() for row in rows])
    grand = float((sizes * means).sum() / total)
    within = sum(((row - mean) ** 2).sum() for row, mean in zip(rows, means, strict=True)) / (total - n)
    between = (sizes * (means - grand) ** 2).sum() / (n - 1)
    per_item = (total - (sizes**2).sum() / total) / (n - 1)  # the mean for equal sizes
    return Components(grand, max(0.0, float((between - within) / per_item)), 0.0, float(within), n, float(per_item))


def crossed(scores: Values | Sequence[Numbers]) -> Components:
    """Components of a full table (items, repeats) in which a column was drawn once for all items."""
    table = np.asarray(scores, float)
    if table.ndim != 2 or min(table.shape) < 2:
        raise ValueError(f"need a table of two items and two repeats or more, got the shape {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("crossed repeats need a score of every item in every repeat; drop items that miss one")
    n, often = table.shape
    grand, by_item, by_repeat = table.mean(), table.mean(1), table.mean(0)
    rest = table - by_item[:, None] - by_repeat[None] + grand
    within = (rest**2).sum() / ((n - 1) * (often - 1))
    items = (often * ((by_item - grand) ** 2).sum() / (n - 1) - within) / often
    repeats = (n * ((by_repeat - grand) ** 2).sum() / (often - 1) - within) / n
    return Components(float(grand), max(0.0, float(items)), max(0.0, float(repeats)), float(within), n, float(often))
