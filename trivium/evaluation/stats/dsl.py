"""Design-based supervised learning: regressions on machine-made labels, with a few gold labels to make them valid.

Egami, Hinck, Stewart and Wei 2023, "Using Imperfect Surrogates for Downstream Inference" (arXiv:2306.04746), from its
formulas. Documents have a surrogate label Q (a model's), a known probability pi of being labelled by hand, and, where
they were sampled (R = 1), the gold label Y:

    g_i = E[Y | Q, X], fitted on gold documents of other folds;    Y~_i = g_i - (R_i / pi_i) (g_i - Y_i)
    sum_i m(Y~_i, X_i; beta) = 0;    linear m = X (Y~ - X'beta),    logistic m = X (Y~ - expit(X'beta))
    variance J^-1 Omega J^-1 / N with Omega = mean m m' (m summed within clusters) and J the mean Jacobian

The labels may be wrong in any way: g makes the interval short, the sampling by pi makes it right. So pi must be the
design's own; a convenience sample has none. Gold documents that stood in the model's prompt are no gold here.
Covariates may be machine-made too: a covariate that is missing wherever R = 0 is predicted as the outcome is, and the
moments of predicted and gold data are combined, (1 - R/pi) m_predicted + (R/pi) m_gold.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from trivium.core import seeds
from trivium.evaluation.stats._documents import Documents, Model
from trivium.evaluation.stats.intervals import Numbers, Values
from trivium.evaluation.stats.learner import Learner


@dataclass(frozen=True)
class Term:
    """One coefficient, or the share of one category."""

    name: str
    value: float
    error: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Fit:
    """The corrected estimates, what the uncorrected ones would have been, and how the prediction did."""

    terms: tuple[Term, ...]
    gold_only: tuple[Term, ...]
    """From the gold documents alone, weighted by 1 / pi."""
    naive: tuple[Term, ...]
    """With the surrogate taken for the outcome; empty where it is not of its kind, or covariates are predicted."""
    model: Model
    documents: int
    gold: int
    clusters: int
    folds: int
    splits: int
    r2: float
    """Of g on gold documents of other folds: a diagnostic that decides nothing. The least over predicted columns."""
    agreement: float | None
    """Share of gold documents whose surrogate is right, by the design's weights; None where they are not comparable."""
    probability: tuple[float, float]
    """Least and largest pi. Documents of tiny pi carry much weight."""
    notes: tuple[str, ...]

    def __getitem__(self, name: str) -> Term:
        for term in self.terms:
            if term.name == name:
                return term
        raise KeyError(f"no term is called {name!r}; there are {', '.join(term.name for term in self.terms)}")


def dsl(
    outcome: Sequence[Any] | Values,
    surrogate: Sequence[Any] | Values,
    covariates: Sequence[Numbers] | Values | None,
    probability: float | Numbers,
    *,
    model: Model = "linear",
    sampled: Numbers | NDArray[np.bool_] | None = None,
    names: Sequence[str] | None = None,
    clusters: Sequence[Hashable] | None = None,
    groups: Sequence[Hashable] | None = None,
    folds: int = 5,
    splits: int = 10,
    learner: Learner | Callable[[], Learner] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Fit:
    """Regress the outcome on the covariates, validly, though most outcomes are known by their surrogate only.

    ``outcome``: per document, missing (NaN or None) where there is no gold label; of "shares", any category.
    ``surrogate``: numbers or labels for all documents, one column or several. ``covariates``: (documents, columns),
    an intercept is added; "shares" uses them to predict only. ``sampled``: R; by default where an outcome is given.
    ``groups``: of fixed effects. ``splits``: how often folds are drawn; the median over them is reported, and their
    disagreement added to the error.
    """
    _check(model, folds, splits, confidence, groups)
    data = Documents(outcome, surrogate, covariates, probability, sampled, names, clusters, groups, model)
    quantile = _quantile(confidence, data)
    values, errors, r2 = [], [], []
    for number in range(splits):
        predicted = data.predicted(folds, learner, seeds.numpy_generator(seed, "folds", number))
        value, error = data.solved([(1 - data.weight, predicted), (data.weight, data.gold)])
        values.append(value)
        errors.append(error)
        r2.append(data.r2(predicted))
    value = np.median(values, 0)
    error = np.sqrt(np.median(np.square(errors) + (np.array(values) - value) ** 2, 0))
    naive = data.naive()
    return Fit(
        _terms(data, value, error, quantile),
        _terms(data, *data.solved([(data.weight, data.gold)]), quantile),
        () if naive is None else _terms(data, *data.solved([(np.ones(data.n), naive)]), quantile),
        model,
        data.n,
        int(data.sampled.sum()),
        data.n if data.clusters is None else int(data.clusters.max()) + 1,
        folds,
        splits,
        float(np.median(r2)),
        data.agreement(naive) if naive is not None and data.alike(naive) else None,
        (float(data.probability.min()), float(data.probability.max())),
        tuple(dict.fromkeys(data.notes)),
    )


def _terms(data: Documents, values: Values, errors: Values, quantile: float) -> tuple[Term, ...]:
    called = data.outcomes if data.model == "shares" else tuple(data.names)
    called = called if data.model in ("shares", "fixed effects") else ("(intercept)", *called)
    return tuple(
        Term(
            name,
            float(value),
            float(error),
            float(value - quantile * error),
            float(value + quantile * error),
            float(2 * stats.norm.sf(abs(value) / error)) if error > 0 else float(value == 0),
        )
        for name, value, error in zip(called, values, errors, strict=True)
    )


def _quantile(confidence: float, data: Documents) -> float:
    if data.clusters is None:
        return float(stats.norm.ppf(0.5 + confidence / 2))
    return float(stats.t.ppf(0.5 + confidence / 2, max(int(data.clusters.max()), 1)))


def _check(model: str, folds: int, splits: int, confidence: float, groups: Sequence[Hashable] | None) -> None:
    if model not in ("linear", "logistic", "shares", "fixed effects"):
        raise ValueError(f"model must be 'linear', 'logistic', 'shares' or 'fixed effects', got {model!r}")
    if folds < 2:
        raise ValueError(f"folds must be at least 2, or g would have seen what it predicts; got {folds}")
    if splits < 1:
        raise ValueError(f"splits must be at least 1, got {splits}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is a share between 0 and 1, such as 0.95; got {confidence}")
    if (model == "fixed effects") != (groups is not None):
        raise ValueError("groups belong to model='fixed effects', and it needs them")
