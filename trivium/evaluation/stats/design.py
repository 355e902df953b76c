"""Before a run: what it could see, how many items it takes, and what guessing would score."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from trivium.evaluation.stats.intervals import Numbers


def detectable(error: float, *, power: float = 0.8, level: float = 0.05) -> float:
    """The smallest true difference that a two-sided test sees with that power: 2.8 standard errors by default.

    ``error`` is the standard error of the paired difference, which shared items make smaller than those of the parts.
    """
    if error < 0 or not math.isfinite(error):
        raise ValueError(f"a standard error is finite and not negative, got {error}")
    _shares(power=power, level=level)
    return float(stats.norm.isf(level / 2) + stats.norm.ppf(power)) * error


def power(difference: float, error: float, *, level: float = 0.05) -> float:
    """Chance that a true ``difference`` is seen by a two-sided test, given the standard error of its estimate."""
    if not error > 0:
        raise ValueError(f"a standard error must be positive to speak of power, got {error}")
    _shares(level=level)
    cut, away = float(stats.norm.isf(level / 2)), abs(difference) / error
    return float(stats.norm.sf(cut - away) + stats.norm.cdf(-cut - away))


def items_needed(difference: float, spread: float, *, power: float = 0.8, level: float = 0.05) -> int:
    """Independent items after which ``difference`` is seen with that power; ``spread``: standard deviation of the
    per-item differences (of clusters' sums where items are clustered, which gives clusters)."""
    if difference == 0 or not spread >= 0:
        raise ValueError(f"need a difference that is not 0 and a spread of at least 0, got {difference} and {spread}")
    return max(1, math.ceil((detectable(spread, power=power, level=level) / difference) ** 2 - 1e-9))


def paired_spread(first: float, second: float, correlation: float) -> float:
    """Standard deviation of per-item differences, from those of the two systems and the correlation of their items.

    Of two accuracies a and b the deviations are sqrt(a (1 - a)) and sqrt(b (1 - b)).
    """
    if first < 0 or second < 0 or not -1 <= correlation <= 1:
        raise ValueError(
            f"need deviations of at least 0 and a correlation from -1 to 1, got {first}, {second} and {correlation}"
        )
    return math.sqrt(max(0.0, first**2 + second**2 - 2 * correlation * first * second))


@dataclass(frozen=True)
class Levels:
    """What is scored without reading the questions."""

    chance: float
    """By choosing among the options at random: the mean of 1 / options."""
    majority: float
    """By always giving the commonest answer."""
    answer: Hashable
    """That answer."""


def levels(answers: Sequence[Hashable], options: int | Sequence[int]) -> Levels:
    """Chance and majority levels of questions with these right answers and numbers of options."""
    if not len(answers):
        raise ValueError("there is no answer to take a level of")
    counts = np.full(len(answers), options) if isinstance(options, int) else np.asarray(options)
    if len(counts) != len(answers) or (counts < 1).any():
        raise ValueError(f"need a number of options of at least 1 for each of {len(answers)} answers, got {options}")
    answer, often = Counter(answers).most_common(1)[0]
    return Levels(float((1 / counts).mean()), often / len(answers), answer)


def above_chance(hits: Numbers, options: int | Sequence[int]) -> float:
    """One-sided p of the number of right answers if each had been drawn among its question's options.

    Exact, for questions with different numbers of options too (a Poisson binomial law).
    """
    right = np.asarray(hits, float)
    if not len(right) or not np.isin(right, (0.0, 1.0)).all():
        raise ValueError("hits must be 0 or 1, one per question, and there must be some")
    counts = np.full(len(right), options) if isinstance(options, int) else np.asarray(options)
    if len(counts) != len(right) or (counts < 1).any():
        raise ValueError(f"need a number of options of at least 1 for each of {len(right)} questions, got {options}")
    law = np.ones(1)
    for k, n in zip(*np.unique(counts, return_counts=True), strict=True):
        law = np.convolve(law, stats.binom.pmf(np.arange(n + 1), n, 1 / k))
    return float(min(1.0, law[int(right.sum()) :].sum()))


def _shares(**named: float) -> None:
    for name, value in named.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} is a share between 0 and 1, got {value}")
