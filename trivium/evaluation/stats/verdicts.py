"""Verdicts in fixed words, and how little data allows none."""

import math
from typing import Literal

LEVEL = 0.05
FEWEST = 6
"""Clusters below which not even a single comparison can be judged: see ``fewest_clusters``."""
FEWEST_SEEDS = 3
"""Training seeds below which a run is a smoke test and nothing is judged."""

Verdict = Literal["supported", "contradicted", "not visible at this scale"]


def verdict(low: float | None, high: float | None, more_than: float = 0.0) -> Verdict | None:
    """The word for 'the difference exceeds ``more_than``', from its interval; None where there is no interval."""
    if low is None or high is None:
        return None
    if low > more_than:
        return "supported"
    return "contradicted" if high < more_than else "not visible at this scale"


def fewest_clusters(family: int, level: float = LEVEL) -> int:
    """The clusters that an exact two-sided sign-flip test needs for a p below the level after Holm over a family.

    With n clusters no p is below 2^(1 - n): one comparison needs 6, and 48 need 11. With fewer nothing can be seen, and
    to say that no difference was seen would mislead.
    """
    return math.floor(math.log2(max(family, 1) / level)) + 2
