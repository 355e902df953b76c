"""Which of many arms is the best, or the worst, where each can be tried on a few items only.

Outcomes are 0 or 1. Every arm is tried on the items in one order, so that no arm meets an item twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Rule = Literal["thompson", "ucb", "equal"]
Draw = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""The two parameters of a Beta law per arm -> one draw per arm."""
Outcomes = Callable[[int, Sequence[int]], Sequence[float]]
"""An arm and some items -> 0 or 1 for each."""


def beta_prior(rate: float, items: int, beta: float = 5.0) -> tuple[float, float]:
    """The law whose mean is about the rate of the first arm on all items, which is kept off 0 and 1 by what one more
    item of each outcome would do; alpha is at least 1.1."""
    if not 0.0 <= rate <= 1.0 or items < 1:
        raise ValueError(f"a rate of {rate} on {items} items is none; it lies between 0 and 1, on at least one item")
    rate = min(max(rate, 1 / (items + 2)), (items + 1) / (items + 2))
    return max(1.1, beta * rate / (1 - rate)), beta


@dataclass
class Bandit:
    """What is known of each arm, and what it cost."""

    arms: int
    items: int
    outcomes: Outcomes
    successes: NDArray[np.float64] = field(init=False)
    totals: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        if self.arms < 1 or self.items < 1:
            raise ValueError(f"{self.arms} arms on {self.items} items: give at least one of each")
        self.successes, self.totals = np.zeros(self.arms), np.zeros(self.arms, dtype=np.int64)

    @property
    def spent(self) -> int:
        """Outcomes asked for so far."""
        return int(self.totals.sum())

    def pull(self, arm: int, count: int) -> None:
        """Try an arm on the next items that it has not met, at most so many."""
        first = int(self.totals[arm])
        last = min(first + count, self.items)
        self.successes[arm] += sum(self.outcomes(arm, range(first, last)))
        self.totals[arm] = last

    def next(self, rule: Rule, sign: int, prior: tuple[float, float], draw: Draw) -> int | None:
        """The arm to try where the largest rate (sign 1) or the smallest (-1) is looked for; None where all is known.

        Thompson sampling draws each arm's rate from what is believed of it; UCB adds 2 sqrt(ln(1 + t) / m) to the rate
        seen in m of t trials, an arm without any coming first; "equal" takes the arm with the fewest trials.
        """
        open_ = np.flatnonzero(self.totals < self.items)
        if not len(open_):
            return None
        s, m = self.successes[open_], self.totals[open_]
        if rule == "equal":
            return int(open_[m.argmin()])
        if rule == "thompson":
            worth = sign * draw(prior[0] + s, prior[1] + m - s)
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                worth = sign * s / m + 2 * np.sqrt(np.log(1 + self.totals.sum()) / m)
            worth[m == 0] = np.inf
        return int(open_[worth.argmax()])

    def search(self, rule: Rule, sign: int, batch: int, steps: int, prior: tuple[float, float], draw: Draw) -> None:
        """Try so many batches, each of the arm that the rule takes after what was seen before."""
        for _ in range(steps):
            arm = self.next(rule, sign, prior, draw)
            if arm is None:
                return
            self.pull(arm, batch)

    def chosen(self, sign: int, names: Sequence[str], least: int = 1) -> int:
        """The arm of the largest (1) or smallest (-1) rate among those tried on ``least`` items at least, or on all;
        of equal ones that whose name comes last, or first. Raises ValueError where no arm was tried so often."""
        enough = np.flatnonzero(self.totals >= min(least, self.items))
        if not len(enough):
            raise ValueError(f"no arm was tried on {least} items; raise the budget or lower what is asked of each")
        rates = {arm: (self.successes[arm] / self.totals[arm], names[arm]) for arm in enough.tolist()}
        return (max if sign > 0 else min)(rates, key=rates.__getitem__)


def null_spreads(outcomes: NDArray[np.float64], draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """(arms, items) 0 or 1 -> (draws,): the spread between the best and the worst rate where outcomes have changed
    places between arms, item by item at random. What is left is what arms that do not differ would show."""
    found = np.empty(draws)
    for number in range(draws):
        rates = generator.permuted(outcomes, axis=0).mean(1)
        found[number] = rates.max() - rates.min()
    return found


def flipped(
    first: NDArray[np.float64], second: NDArray[np.float64], draws: int, generator: np.random.Generator
) -> float:
    """Two rows of outcomes on the same items: how often their difference is as large where they change places item by
    item at random, the two-sided p."""
    difference = first - second
    signs = generator.integers(0, 2, (draws, len(difference))) * 2 - 1
    as_large = np.abs(signs @ difference) >= abs(difference.sum()) - 1e-9
    return (1 + int(as_large.sum())) / (1 + draws)
