"""Whether a confidence is a probability: calibration errors, selective accuracy, and a scale that repairs it.

``confidence`` is the probability that a system gives its own answer, ``correct`` whether it was right (0 or 1; a shared
tie may count a part). HELM truncates such parts to 0: pass ``numpy.floor(correct)`` for its numbers.
"""

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special, stats

from trivium.evaluation.stats.intervals import Numbers, Values
from trivium.evaluation.stats.selection import folds as in_folds

Binning = Literal["mass", "width"]
ENOUGH = 300
"""Items below which a calibration error is mostly noise, upwards."""
EDGE = 1e-12
"""Confidences are kept this far from 0 and 1 where their log-odds are taken."""


@dataclass(frozen=True)
class Group:
    """One bar of a reliability diagram."""

    confidence: float
    accuracy: float
    low: float
    high: float
    """Wilson's 95 % interval of the accuracy."""
    n: int


def reliability(confidence: Numbers, correct: Numbers, *, groups: int = 10, binning: Binning = "mass") -> list[Group]:
    """The groups of a reliability diagram, least confident first; empty ones are left out.

    "mass": groups of near-equal size after sorting, cut half-way between neighbours, so that equal confidences stay
    together. "width": intervals of equal width from 0 to 1, closed above.
    """
    c, e = _checked(confidence, correct)
    if groups < 1:
        raise ValueError(f"groups must be at least 1, got {groups}")
    if binning not in ("mass", "width"):
        raise ValueError(f"binning must be 'mass' or 'width', got {binning!r}")
    if binning == "width":
        bounds = np.arange(1, groups) / groups
    else:
        parts = np.array_split(np.sort(c), min(groups, len(c)))
        bounds = np.unique([(a[-1] + b[0]) / 2 for a, b in itertools.pairwise(parts)])
    where = np.searchsorted(bounds, c, side="left")
    found = []
    for number in np.unique(where):
        inside = where == number
        n, accuracy = int(inside.sum()), float(e[inside].mean())
        low, high = _wilson(accuracy, n)
        found.append(Group(float(c[inside].mean()), accuracy, low, high, n))
    return found


def ece(confidence: Numbers, correct: Numbers, *, groups: int = 10, binning: Binning = "mass") -> float:
    """Expected calibration error: sum over groups of n_b/n |mean confidence - accuracy|. One group gives ECE-1."""
    found = reliability(confidence, correct, groups=groups, binning=binning)
    total = sum(group.n for group in found)
    return sum(group.n / total * abs(group.confidence - group.accuracy) for group in found)


def brier(confidence: Numbers, correct: Numbers) -> float:
    """Mean squared distance of confidence and outcome."""
    c, e = _checked(confidence, correct)
    return float(((c - e) ** 2).mean())


def brier_of_choices(probabilities: Sequence[Numbers], answers: Sequence[int]) -> float:
    """Mean over questions of sum_i (p_i - 1[i is right])^2, over all options of a question; from 0 to 2."""
    if len(probabilities) != len(answers) or not len(answers):
        raise ValueError(
            f"need an answer for each question: got {len(probabilities)} questions, {len(answers)} answers"
        )
    total = 0.0
    for number, (row, answer) in enumerate(zip(probabilities, answers, strict=True)):
        p = np.asarray(row, float)
        if not np.isfinite(p).all() or (p < 0).any() or abs(p.sum() - 1) > 1e-6 or not 0 <= answer < len(p):
            raise ValueError(f"question {number} needs probabilities that add up to 1 and hold answer {answer}: {row}")
        total += float((p**2).sum() - 2 * p[answer] + 1)
    return total / len(answers)


def coverage_accuracy(confidence: Numbers, correct: Numbers) -> tuple[Values, Values]:
    """Coverage k/n and the accuracy on the k most confident items, k = 1 to n. Of equal confidences every one is as
    likely to be taken, so the order of the items does not matter."""
    c, e = _checked(confidence, correct)
    order = np.argsort(-c, kind="stable")
    _, tied = np.unique(-c[order], return_inverse=True)
    shared = np.bincount(tied, e[order]) / np.bincount(tied)
    taken = np.arange(1, len(c) + 1)
    return taken / len(c), np.cumsum(shared[tied]) / taken


def coverage_area(confidence: Numbers, correct: Numbers) -> float:
    """Area under the coverage-accuracy curve: the mean over all coverages. Confidence at random gives the accuracy."""
    return float(coverage_accuracy(confidence, correct)[1].mean())


def most_confident(confidence: Numbers, correct: Numbers, share: float = 0.1) -> float:
    """Accuracy on the most confident share of the items, one more than its whole number as HELM counts it."""
    if not 0 < share <= 1:
        raise ValueError(f"share is the part of the items that is most trusted, in (0, 1]; got {share}")
    accuracy = coverage_accuracy(confidence, correct)[1]
    return float(accuracy[min(int(share * len(accuracy) + 1e-9), len(accuracy) - 1)])


def platt(
    confidence: Numbers,
    correct: Numbers,
    *,
    folds: int = 5,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Values:
    """Confidences on Platt's scale, sigmoid(a logit(c) + b), fitted by logistic regression.

    Cross-fitted: the scale of each fold comes from the others, clusters whole. ``folds=1`` fits and applies on the same
    items, as HELM does, which flatters.
    """
    c, e = _checked(confidence, correct)
    if folds == 1:
        return _scaled(c, e, c)
    of = in_folds(len(c), folds, clusters, seed=seed)
    made = np.empty(len(c))
    for fold in range(folds):
        made[of == fold] = _scaled(c[of != fold], e[of != fold], c[of == fold])
    return made


@dataclass(frozen=True)
class Calibration:
    """Everything that a report says of a system's confidence."""

    ece: float
    """In 10 groups of equal mass."""
    ece_width: float
    """In 10 intervals of equal width."""
    ece_one: float
    """|mean confidence - accuracy|."""
    platt_ece: float
    """After Platt scaling fitted on other folds."""
    platt_ece_in_sample: float
    """After Platt scaling fitted on the same items, as HELM reports it."""
    brier: float
    coverage_area: float
    most_confident: float
    """Accuracy on the most confident 10 %."""
    n: int

    @property
    def enough(self) -> bool:
        """Whether there are items enough for a calibration error to mean something."""
        return self.n >= ENOUGH


def calibration(
    confidence: Numbers,
    correct: Numbers,
    *,
    folds: int = 5,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Calibration:
    """All of it at once. Where log-probabilities are missing this raises; a report then says "unavailable"."""
    c, e = _checked(confidence, correct)
    scaled = platt(c, e, folds=folds, clusters=clusters, seed=seed)
    return Calibration(
        ece(c, e),
        ece(c, e, binning="width"),
        ece(c, e, groups=1),
        ece(scaled, e),
        ece(platt(c, e, folds=1), e),
        brier(c, e),
        coverage_area(c, e),
        most_confident(c, e),
        len(c),
    )


def _scaled(c: Values, e: Values, new: Values) -> Values:
    """The scale of ``c`` and ``e`` on ``new``. Where all are right or all wrong there is nothing to fit: it is their
    share, and its error on the same items 0 by definition. One confidence for all, too, leaves the share alone."""
    x, share = special.logit(np.clip(c, EDGE, 1 - EDGE)), float(e.mean())
    if share in (0.0, 1.0) or np.ptp(x) == 0:
        return np.full(len(new), share)
    centre, width = x.mean(), x.std()
    z = np.stack([np.ones(len(x)), (x - centre) / width], 1)
    beta = np.array([special.logit(share), 0.0])
    for _ in range(100):
        p = special.expit(z @ beta)
        weight = np.maximum(p * (1 - p), 1e-12)
        # A pull this weak changes nothing but keeps the slope finite where confidence parts right from wrong entirely.
        hessian = (z * weight[:, None]).T @ z + np.diag([0.0, 1e-6])
        step = np.linalg.solve(hessian, z.T @ (e - p) - np.array([0.0, 1e-6]) * beta)
        step *= min(1.0, 5.0 / np.abs(step).max()) if np.abs(step).max() > 0 else 1.0
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            break
    there = special.logit(np.clip(new, EDGE, 1 - EDGE))
    return special.expit(beta[0] + beta[1] * (there - centre) / width)


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's interval of a share, which need not be a whole count where ties were shared."""
    z = float(stats.norm.ppf(0.975))
    middle, half = share + z**2 / (2 * n), z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return float((middle - half) / (1 + z**2 / n)), float((middle + half) / (1 + z**2 / n))


def _checked(confidence: Numbers, correct: Numbers) -> tuple[Values, Values]:
    c, e = np.array(confidence, float), np.array(correct, float)
    if c.shape != e.shape or c.ndim != 1 or not len(c):
        raise ValueError(f"need a confidence and an outcome per item, got the shapes {c.shape} and {e.shape}")
    missing = int((~np.isfinite(c)).sum())
    if missing:
        raise ValueError(
            f"calibration is unavailable: {missing} of {len(c)} confidences are missing, which an endpoint without "
            "log-probabilities cannot give; report it as unavailable, not as 0"
        )
    if (c < 0).any() or (c > 1).any() or not ((e >= 0) & (e <= 1)).all():
        raise ValueError(
            "confidences are probabilities and outcomes from 0 (wrong) to 1 (right); exponentiate log ones"
        )
    return c, e
