"""Ratings from judgements of pairs, by Bradley and Terry's model, with intervals that know what was judged together.

P(a beats b) = sigmoid(theta_a - theta_b + covariates); the thetas add up to 0, and 400 theta / ln 10 + 1000 is shown.
Ties are two half wins, or an outcome of their own by Davidson: P(tie) ~ nu sqrt(p_a p_b). Judgements of one prompt (and
of one judge) are not independent: the covariance is the sandwich over these clusters; a bootstrap resamples prompts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy import stats
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from trivium.evaluation.stats._matches import Covariate, Matches, Ties
from trivium.evaluation.stats.intervals import Interval, Values, cluster_index
from trivium.evaluation.stats.judgements import Judgement, systems

Cluster = Literal["none", "prompt", "both"]
Solver = Literal["newton", "mm"]
INTERVALS: dict[Cluster, str] = {
    "none": "model-based",
    "prompt": "sandwich clustered by prompt",
    "both": "sandwich clustered by prompt and judge",
}

POINTS = 400 / math.log(10)
"""Points of a rating per unit of theta, as in Elo's scale."""
CENTRE = 1000.0


@dataclass(frozen=True)
class Rating:
    """One system in the table."""

    system: str
    score: float
    low: float
    high: float
    """Of the score by itself, 95 %."""
    rank: int
    """1 + the systems that are surely better: whose simultaneous interval lies wholly above this one's."""
    judgements: int


@dataclass(frozen=True)
class Effect:
    """What a covariate adds to theta_a - theta_b."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Ratings:
    """The table, best first, and what it rests on."""

    table: tuple[Rating, ...]
    effects: tuple[Effect, ...]
    tie: float | None
    """Davidson's nu; None where ties are half wins."""
    judgements: int
    ties: int
    prompts: int
    judges: int
    cluster: Cluster
    intervals: str
    """How the intervals were made."""
    ridge: float
    names: tuple[str, ...] = field(repr=False)
    theta: Values = field(repr=False)
    """In the order of ``names``."""
    covariance: Values = field(repr=False)
    """Of theta."""

    def __getitem__(self, system: str) -> Rating:
        for one in self.table:
            if one.system == system:
                return one
        raise KeyError(f"{system!r} was not judged; there are {', '.join(self.names)}")

    def difference(self, a: str, b: str, confidence: float = 0.95) -> Interval:
        """Points between two systems, with the interval of their difference, which the parts' intervals do not give."""
        apart = np.zeros(len(self.names))
        apart[self.names.index(self[a].system)] += 1
        apart[self.names.index(self[b].system)] -= 1
        value = float(apart @ self.theta) * POINTS
        half = _quantile(confidence, self.prompts) * math.sqrt(max(0.0, apart @ self.covariance @ apart)) * POINTS
        return Interval(value, value - half, value + half, self.judgements, self.prompts, "sandwich")


def bradley_terry(
    judgements: Sequence[Judgement],
    *,
    ties: Ties = "half",
    covariates: Sequence[Covariate] = (),
    ridge: float = 0.0,
    cluster: Cluster = "prompt",
    solver: Solver = "newton",
    resamples: int = 0,
    seed: int = 0,
) -> Ratings:
    """Rate everything that was judged.

    ``covariates``: "position", +1 where a was shown first and -1 where b was; "length", the difference of the lengths
    over its root mean square. With them the ratings are of answers shown alike and equally long. ``ridge``: a normal
    prior of variance 1 / ridge on each theta, 0 for none; needed where someone always or never won. ``resamples``: of
    prompts, for bootstrap intervals and ranks by max-t; 0 takes the sandwich, and Bonferroni for the ranks.
    ``cluster``: what is not independent, "both" for prompts and judges; "none" trusts every judgement by itself.
    """
    _check(judgements, ties, covariates, ridge, cluster, solver, resamples)
    names = systems(judgements)
    data = Matches(judgements, names, ties, covariates)
    if not ridge:
        _connected(data.wins(), names)
    basis = _sum_to_zero(len(names))
    parameters = data.minorised(basis) if solver == "mm" else data.fitted(basis, ridge, data.weights)
    size = basis.shape[1]
    lift = np.zeros((len(names), len(parameters)))  # parameters -> theta
    lift[:, :size] = basis
    theta = lift @ parameters
    gradient, information = data.slopes(basis, ridge, parameters)
    inverse = np.linalg.inv(information)
    clusters = [cluster_index([one.prompt for one in judgements])]
    prompts, judges = int(clusters[0].max()) + 1, len({one.judge for one in judgements})
    if cluster == "none":
        whole, count = inverse, len(judgements)
    else:
        whole, count = inverse @ _meat(gradient, judgements, cluster) @ inverse, prompts
    covariance = lift @ whole @ lift.T
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    single, together = _quantile(0.95, count), _quantile(1 - 0.05 / len(names), count)
    low, high, wide_low, wide_high = (theta + s * q * errors for q in (single, together) for s in (-1, 1))
    said = INTERVALS[cluster]
    if resamples:
        drawn = data.resampled(basis, ridge, parameters, clusters[0], resamples, seed) @ lift.T
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        spread = np.maximum(drawn.std(0, ddof=1), 1e-12)
        widest = np.quantile(np.abs((drawn - theta) / spread).max(1), 0.95)
        wide_low, wide_high = theta - widest * spread, theta + widest * spread
        said = f"bootstrap of prompts, {len(drawn)} of {resamples} resamples"
    rank = 1 + (wide_low[None, :] > wide_high[:, None]).sum(1)
    often = np.bincount(np.concatenate([data.a, data.b]), minlength=len(names))
    rows = [
        Rating(name, _points(theta[n]), _points(low[n]), _points(high[n]), int(rank[n]), int(often[n]))
        for n, name in enumerate(names)
    ]
    effects = []
    for n, name in enumerate(covariates, size):
        half = single * math.sqrt(max(0.0, float(whole[n, n])))
        effects.append(Effect(name, float(parameters[n]), float(parameters[n] - half), float(parameters[n] + half)))
    return Ratings(
        tuple(sorted(rows, key=lambda row: (-row.score, row.system))),
        tuple(effects),
        float(np.exp(parameters[-1])) if ties == "davidson" else None,
        len(judgements),
        int((data.credit == 0.5).sum()),
        prompts,
        judges,
        cluster,
        said,
        ridge,
        names,
        theta,
        covariance,
    )


def _meat(gradient: Values, judgements: Sequence[Judgement], cluster: Cluster) -> Values:
    """Sum over clusters of the outer product of their gradients; with judges, by both less by each pair of them."""

    def over(labels: Sequence[object]) -> Values:
        where = cluster_index(labels)  # type: ignore[arg-type]
        size = int(where.max()) + 1
        sums = np.zeros((size, gradient.shape[1]))
        np.add.at(sums, where, gradient)
        return size / max(size - 1, 1) * sums.T @ sums

    by_prompt = over([one.prompt for one in judgements])
    if cluster == "prompt":
        return by_prompt
    both = by_prompt + over([one.judge for one in judgements]) - over([(one.prompt, one.judge) for one in judgements])
    values, vectors = np.linalg.eigh(both)  # a difference of covariances need not be one
    return (vectors * np.maximum(values, 0.0)) @ vectors.T


def _connected(wins: Values, names: Sequence[str]) -> None:
    """Refuse where some group of systems never loses to the rest, so that the distance has no end."""
    count, group = connected_components(csr_array(wins), connection="strong")
    if count == 1:
        return
    reached = wins > 0
    groups = [group == number for number in range(count)]
    inside = next(there for there in groups if not reached[np.ix_(~there, there)].any())  # no other ever beat them
    some = [name for name, there in zip(names, inside, strict=True) if there]
    met = reached[np.ix_(inside, ~inside)].any()
    what = "never lost or tied against" if met else "never met"
    raise ValueError(
        f"{', '.join(some[:5])} {what} the other systems, so how far apart they are has no finite estimate; judge more "
        "pairs, leave them out, or state a prior, such as ridge=0.1"
    )


def _points(theta: float) -> float:
    return float(CENTRE + POINTS * theta)


def _sum_to_zero(count: int) -> Values:
    """(count, count - 1) orthonormal columns that add up to 0."""
    return np.linalg.svd(np.eye(count) - 1 / count)[0][:, : count - 1]


def _quantile(confidence: float, clusters: int) -> float:
    return float(stats.t.ppf(0.5 + confidence / 2, max(clusters - 1, 1)))


def _check(
    judgements: Sequence[Judgement],
    ties: str,
    covariates: Sequence[str],
    ridge: float,
    cluster: str,
    solver: str,
    resamples: int,
) -> None:
    if not judgements:
        raise ValueError("there is no judgement to rate by")
    for name, value, known in (
        ("ties", ties, ("half", "davidson")),
        ("cluster", cluster, ("none", "prompt", "both")),
        ("solver", solver, ("newton", "mm")),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}")
    wrong = [name for name in covariates if name not in ("position", "length")]
    if wrong or len(set(covariates)) != len(covariates):
        raise ValueError(f"covariates are 'position' and 'length', each once; got {list(covariates)}")
    if not ridge >= 0 or not math.isfinite(ridge):
        raise ValueError(f"ridge is the precision of a prior, 0 for none; got {ridge}")
    if resamples < 0 or 0 < resamples < 100:
        raise ValueError(f"resamples must be 0, or at least 100 to have percentiles; got {resamples}")
    if ties == "davidson" and not any(one.credit == 0.5 for one in judgements):
        raise ValueError("no judgement is a tie, so Davidson's model has nothing to fit; take ties='half'")
    if ties == "davidson" and all(one.credit == 0.5 for one in judgements):
        raise ValueError("every judgement is a tie, so Davidson's model has no finite fit; take ties='half'")
    if solver == "mm" and (covariates or ridge):
        raise ValueError("MM knows neither covariates nor a prior; take solver='newton'")
    if cluster == "both" and len({one.judge for one in judgements}) < 2:
        raise ValueError("there is one judge, so nothing varies between judges; take cluster='prompt'")
    if cluster != "none" and len({one.prompt for one in judgements}) < 2:
        raise ValueError("all judgements are of one prompt; take cluster='none', or judge more prompts")
