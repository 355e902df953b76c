"""A simulation of what design-based supervised learning promises: intervals that cover the truth, short ones.

x ~ N(0, 1), Y ~ Bernoulli(expit(0.79 x)); the quantity is the slope of the linear regression of Y on x. The surrogate
is wrong more often the further a document lies on the side of its own label, so that its errors go with x: it flips
Y = 1 with probability expit(-2.35 + 0.5 x) and Y = 0 with expit(-2.35 - 0.5 x), right in 89 of 100 documents.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from trivium.core import seeds
from trivium.evaluation.stats.dsl import Term, dsl
from trivium.evaluation.stats.intervals import Values

SLOPE = 0.79
FLIPS = (-2.35, 0.5)


@dataclass(frozen=True)
class Performance:
    """Of one estimator over the replications."""

    bias: float
    rmse: float
    coverage: float
    """Share of the 95 % intervals that hold the truth."""
    width: float
    """Mean width of the intervals."""


@dataclass(frozen=True)
class Simulated:
    """What the three estimators did on the same replications."""

    truth: float
    accuracy: float
    """Of the surrogate, over all documents."""
    naive: Performance
    gold_only: Performance
    dsl: Performance


def truth() -> float:
    """E[x expit(0.79 x)], by Gauss-Hermite quadrature: the slope in the population."""
    x, w = np.polynomial.hermite_e.hermegauss(80)
    return float((w * x * special.expit(SLOPE * x)).sum() / w.sum())


def coverage(
    replications: int = 300,
    *,
    documents: int = 1000,
    gold: int = 200,
    splits: int = 10,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> Simulated:
    """Draw documents, label ``gold`` of them, estimate the slope by each way; so many times."""
    if replications < 1 or not 0 < gold <= documents:
        raise ValueError(f"need a replication and 1 to {documents} gold documents, got {replications} and {gold}")
    found: dict[str, list[Term]] = {"naive": [], "gold_only": [], "dsl": []}
    right = 0.0
    for number in range(replications):
        generator = seeds.numpy_generator(seed, "replication", number)
        x, y, q = drawn(documents, generator)
        labelled = np.full(documents, np.nan)
        chosen = generator.permutation(documents)[:gold]
        labelled[chosen] = y[chosen]
        fit = dsl(labelled, q, x, gold / documents, splits=splits, seed=number)
        for name, terms in (("naive", fit.naive), ("gold_only", fit.gold_only), ("dsl", fit.terms)):
            found[name].append(terms[1])
        right += float((q == y).mean()) / replications
        advance()
    aim = truth()
    return Simulated(aim, right, **{name: _performance(terms, aim) for name, terms in found.items()})


def drawn(documents: int, generator: np.random.Generator) -> tuple[Values, Values, Values]:
    """Covariate, true label and surrogate of so many documents."""
    x = generator.normal(size=documents)
    y = (generator.uniform(size=documents) < special.expit(SLOPE * x)).astype(float)
    flips = generator.uniform(size=documents) < special.expit(FLIPS[0] + FLIPS[1] * np.where(y == 1, x, -x))
    return x, y, np.where(flips, 1 - y, y)


def _performance(terms: list[Term], aim: float) -> Performance:
    away = np.array([term.value for term in terms]) - aim
    inside = [term.low <= aim <= term.high for term in terms]
    return Performance(
        float(away.mean()),
        float(np.sqrt((away**2).mean())),
        float(np.mean(inside)),
        float(np.mean([term.high - term.low for term in terms])),
    )
