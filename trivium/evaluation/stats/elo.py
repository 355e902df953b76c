"""Elo's rating: R_a += K (S_a - E_a), game by game, with E_a = 1 / (1 + 10^((R_b - R_a) / 400)).

It depends on the order of the judgements, so it tells a history. Judgements that have no order are shuffled many times;
the spread over shuffles is of Elo's making and says nothing of the systems. Bradley and Terry's model has no such part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trivium.core import seeds
from trivium.evaluation.stats.intervals import Values
from trivium.evaluation.stats.judgements import Judgement, systems

START = 1000.0


@dataclass(frozen=True)
class Shuffled:
    """Elo's rating of one system over random orders of the judgements."""

    system: str
    mean: float
    spread: float
    """Standard deviation over orders."""
    low: float
    high: float
    """2.5th and 97.5th percentile over orders."""


def online(judgements: Sequence[Judgement], *, k: float = 4.0, start: float = START) -> dict[str, float]:
    """The ratings after the judgements in their order: by time where all have one, otherwise as given."""
    names, who = _checked(judgements, k)
    times = [one.time for one in judgements]
    timed = [time for time in times if time is not None]
    if timed and len(timed) < len(times):
        raise ValueError(f"{len(times) - len(timed)} judgements have no time: give it to all, or none, for their order")
    order = np.argsort(np.array(timed), kind="stable") if timed else np.arange(len(judgements))
    (found,) = _played(who, order[None], len(names), k, start)
    return dict(zip(names, found.tolist(), strict=True))


def shuffled(
    judgements: Sequence[Judgement], *, orders: int = 500, k: float = 4.0, start: float = START, seed: int = 0
) -> tuple[Shuffled, ...]:
    """The ratings averaged over random orders, with their spread, best first."""
    names, who = _checked(judgements, k)
    if orders < 2:
        raise ValueError(f"orders must be at least 2 to have a spread, got {orders}")
    generator = seeds.numpy_generator(seed, "orders of judgements")
    order = generator.permuted(np.tile(np.arange(len(judgements)), (orders, 1)), axis=1)
    found = _played(who, order, len(names), k, start)  # (orders, systems)
    low, high = np.quantile(found, [0.025, 0.975], axis=0)
    rows = zip(names, found.mean(0), found.std(0, ddof=1), low, high, strict=True)
    made = [Shuffled(name, *(float(x) for x in figures)) for name, *figures in rows]
    return tuple(sorted(made, key=lambda one: (-one.mean, one.system)))


def _played(who: Values, order: NDArray[np.intp], count: int, k: float, start: float) -> Values:
    """(orders, systems): the games one after another, all orders at once."""
    ratings, rows = np.full((len(order), count), float(start)), np.arange(len(order))
    for at in order.T:
        a, b, credit = who[0, at].astype(int), who[1, at].astype(int), who[2, at]
        expected = 1 / (1 + 10 ** ((ratings[rows, b] - ratings[rows, a]) / 400))
        change = k * (credit - expected)
        ratings[rows, a] += change
        ratings[rows, b] -= change
    return ratings


def _checked(judgements: Sequence[Judgement], k: float) -> tuple[tuple[str, ...], Values]:
    if not judgements:
        raise ValueError("there is no judgement to rate by")
    if not k > 0:
        raise ValueError(f"k, the most that one judgement moves a rating, must be positive; got {k}")
    names = systems(judgements)
    place = {name: n for n, name in enumerate(names)}
    return names, np.array([[place[one.a], place[one.b], one.credit] for one in judgements]).T
