"""Several hypotheses at once: p-values adjusted over a family that is declared before anything is looked at."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trivium.evaluation.stats.paired import Pair
from trivium.evaluation.stats.verdicts import FEWEST, LEVEL, verdict


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: controls the chance of any false claim in the family."""
    _check(p)
    order = np.argsort(np.asarray(p, float), kind="stable")
    adjusted, running = [0.0] * len(p), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = running
    return adjusted


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted p-values, in the order given: controls the share of false finds, for exploring.

    Holds for independent tests and for tests that go together; not for a claim, which takes Holm.
    """
    _check(p)
    values = np.asarray(p, float)
    order = np.argsort(values, kind="stable")
    scaled = values[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return adjusted.tolist()


def with_holm(family: Sequence[Pair]) -> list[Pair]:
    """The pairs with ``p_holm`` over those that have a p-value."""
    tested = [n for n, pair in enumerate(family) if pair.p is not None]
    adjusted = dict(zip(tested, holm([family[n].p or 0.0 for n in tested]), strict=True))
    return [replace(pair, p_holm=adjusted.get(n)) for n, pair in enumerate(family)]


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


def _check(p: Sequence[float]) -> None:
    wrong = [value for value in p if not 0 <= value <= 1]
    if wrong:
        raise ValueError(f"p-values go from 0 to 1, got {wrong[0]}; leave out comparisons that have none")
