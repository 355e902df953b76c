"""The documents of design-based supervised learning: checked columns, cross-fitted predictions, moment equations."""

import math
import warnings
from collections.abc import Hashable, Sequence
from copy import deepcopy
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from trivium.evaluation.stats.intervals import Numbers, Values, cluster_index
from trivium.evaluation.stats.learner import Learner, Ridge

Model = Literal["linear", "logistic", "shares", "fixed effects"]
CATEGORIES = 10
"""Surrogates with at most so many different values also stand for themselves, one column each."""


class Documents:
    """Checked columns. A target is a column that gold labels give and g predicts: the outcome, covariates with gaps."""

    def __init__(
        self,
        outcome: Sequence[Any] | Values,
        surrogate: Sequence[Any] | Values,
        covariates: Sequence[Numbers] | Values | None,
        probability: float | Numbers,
        sampled: Numbers | NDArray[np.bool_] | None,
        names: Sequence[str] | None,
        clusters: Sequence[Hashable] | None,
        groups: Sequence[Hashable] | None,
        model: Model,
    ) -> None:
        self.model: Model = model
        self.n = len(outcome)
        if not self.n:
            raise ValueError("there is no document")
        given = np.array([not _missing(value) for value in outcome])
        self.sampled = given if sampled is None else np.asarray(sampled)
        if self.sampled.shape != (self.n,) or not np.isin(self.sampled, (0, 1)).all():
            raise ValueError(f"sampled must say 0 or 1 for each of {self.n} documents")
        self.sampled = self.sampled.astype(bool)
        lacking, extra = int((self.sampled & ~given).sum()), int((~self.sampled & given).sum())
        if lacking:
            raise ValueError(f"{lacking} sampled documents have no outcome; label them, or count them as not sampled")
        if extra:
            raise ValueError(
                f"{extra} documents have an outcome but were not sampled by the design; blank these outcomes: labels "
                "that came some other way would bias the estimate"
            )
        self.probability = np.broadcast_to(np.asarray(probability, float), (self.n,)).copy()
        if not ((self.probability > 0) & (self.probability <= 1)).all():
            wrong = self.probability[~((self.probability > 0) & (self.probability <= 1))][0]
            raise ValueError(
                f"a probability of being sampled lies in (0, 1], got {wrong}; every document needs a chance"
            )
        if not self.sampled.any():
            raise ValueError("no document has a gold outcome, so nothing can be corrected")
        self.weight = self.sampled / self.probability
        self.clusters = self._labels("clusters", clusters)
        self.groups = self._labels("groups", groups)
        self.notes: list[str] = []
        self._outcomes(outcome)
        self._covariates(covariates, names)
        self._surrogates(surrogate)

    def _labels(self, what: str, labels: Sequence[Hashable] | None) -> NDArray[np.intp] | None:
        if labels is None:
            return None
        if len(labels) != self.n:
            raise ValueError(f"{what} must be given for each of {self.n} documents, got {len(labels)}")
        return cluster_index(labels)

    def _outcomes(self, outcome: Sequence[Any] | Values) -> None:
        self.outcomes: tuple[str, ...] = ()
        if self.model == "shares":
            known = sorted({value for value, seen in zip(outcome, self.sampled, strict=True) if seen}, key=str)
            if len(known) < 2:
                raise ValueError(f"every gold outcome is {known[0]!r}; shares need two categories or more")
            self.categories = known
            self.outcomes = tuple(map(str, known))
            self.y = np.array([[float(value == category) for category in known] for value in outcome])
            return
        try:
            y = np.array([0.0 if _missing(value) else float(value) for value in outcome])
        except (TypeError, ValueError):
            raise ValueError(
                f"outcomes of a {self.model} model are numbers; for categories take model='shares'"
            ) from None
        if not np.isfinite(y).all():
            raise ValueError("outcomes must be finite, or missing where not sampled")
        if self.model == "logistic" and not np.isin(y[self.sampled], (0.0, 1.0)).all():
            raise ValueError("outcomes of a logistic model are 0 or 1")
        self.y = y[:, None]

    def _covariates(self, covariates: Sequence[Numbers] | Values | None, names: Sequence[str] | None) -> None:
        x = np.zeros((self.n, 0)) if covariates is None else np.array(covariates, float)
        x = x[:, None] if x.ndim == 1 else x
        if x.ndim != 2 or len(x) != self.n:
            raise ValueError(f"covariates must be one row for each of {self.n} documents, got the shape {x.shape}")
        called = [f"x{n + 1}" for n in range(x.shape[1])] if names is None else list(names)
        if len(called) != x.shape[1] or len(set(called)) != len(called):
            raise ValueError(f"need {x.shape[1]} different names of covariates, got {called}")
        gaps = ~np.isfinite(x)
        self.made = np.flatnonzero(gaps[~self.sampled].all(0)) if (~self.sampled).any() else np.zeros(0, int)
        for column in range(x.shape[1]):
            wrong = gaps[:, column] & (self.sampled | (column not in self.made))
            if wrong.any():
                raise ValueError(
                    f"covariate {called[column]!r} is missing in {int(wrong.sum())} documents; fill it, or, if it is "
                    "known by hand only, leave it missing in all that were not sampled and none that were"
                )
        if len(self.made) and self.model in ("fixed effects", "shares"):
            raise ValueError(
                f"covariate {called[self.made[0]]!r} has gaps, which a model of {self.model} does not take"
            )
        self.x, self.names = np.where(gaps, 0.0, x), called
        if self.model == "fixed effects" and not x.shape[1]:
            raise ValueError("fixed effects without a covariate leave nothing to estimate")
        self.gold = np.concatenate([self.y, self.x[:, self.made]], 1)  # the targets, 0 where they are not known
        design, kept = self._design(self.gold), self.sampled if len(self.made) else np.ones(self.n, bool)
        if np.linalg.matrix_rank(design[kept] / (np.linalg.norm(design[kept], axis=0) + 1e-300)) < design.shape[1]:
            raise ValueError(
                f"the covariates {called} are constant or follow from each other (with the intercept"
                f"{' and the groups' if self.groups is not None else ''}); drop one"
            )

    def _surrogates(self, surrogate: Sequence[Any] | Values) -> None:
        given = np.asarray(surrogate, dtype=object)
        given = given[:, None] if given.ndim == 1 else given
        if given.ndim != 2 or len(given) != self.n:
            raise ValueError(f"surrogates must be one row for each of {self.n} documents, got the shape {given.shape}")
        blank = sum(_missing(value) for value in given.ravel())
        if blank:
            raise ValueError(f"{blank} surrogates are missing: every document needs one; 'unknown' may be a label")
        self.surrogate, columns = given, []
        for column in given.T:
            numbers = _numbers(column)
            if numbers is not None:
                columns.append(numbers)
            values = list(dict.fromkeys(column.tolist() if numbers is None else numbers.tolist()))
            if numbers is None or 2 < len(values) <= CATEGORIES:
                columns += [
                    np.array([float(x == v) for x in (column if numbers is None else numbers)]) for v in values[1:]
                ]
        q = np.stack(columns, 1) if columns else np.zeros((self.n, 0))
        x = np.delete(self.x, self.made, 1)
        away = (x - x.mean(0)) / np.maximum(x.std(0), 1e-300)  # products must not depend on where a covariate has its 0
        products = (q[:, :, None] * away[:, None, :]).reshape(self.n, -1)
        self.features = (np.concatenate([q, x], 1), np.concatenate([q, x, products], 1), q)

    def predicted(self, folds: int, learner: Any, generator: np.random.Generator) -> Values:
        """The targets of every document, each by a learner that saw other folds only."""
        of = self._folds(folds, generator)
        made = np.empty((self.n, self.gold.shape[1]))
        for fold in range(folds):
            inside, seen = of == fold, self.sampled & (of != fold)
            if not seen.any():
                raise ValueError(f"no gold document lies outside fold {fold}; take fewer folds or label more documents")
            features = self._affordable(int(seen.sum())) if learner is None else self.features[0]
            for column, target in enumerate(self.gold.T):
                one = Ridge() if learner is None else _fresh(learner)
                one.fit(features[seen], target[seen])
                found = np.asarray(one.predict(features[inside]), float)
                if found.shape != (int(inside.sum()),) or not np.isfinite(found).all():
                    raise ValueError(
                        f"the learner must predict one finite number per document, got the shape {found.shape}"
                    )
                made[inside, column] = found
        return made

    def _affordable(self, gold: int) -> Values:
        """The richest features that so many gold documents carry, two more than there are columns at least."""
        _, rich, plain = self.features
        for features, what in ((rich, ""), (self.features[0], "without products"), (plain, "of surrogates alone")):
            if gold >= features.shape[1] + 2:
                if what:
                    self._note(f"{gold} gold documents outside a fold: g is fitted on features {what}")
                return features
        self._note(f"{gold} gold documents outside a fold: g is their mean")
        return np.zeros((self.n, 0))

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            warnings.warn(f"{text}; the estimate stays valid and is less precise", stacklevel=2)

    def _folds(self, folds: int, generator: np.random.Generator) -> NDArray[np.intp]:
        """Gold and other documents spread evenly; clusters whole, since their members know of each other."""
        of = np.empty(self.n, dtype=np.intp)
        if self.clusters is not None:
            size = int(self.clusters.max()) + 1
            if folds > size:
                raise ValueError(f"folds must be at most the number of clusters, {size}; got {folds}")
            return (generator.permutation(size) % folds)[self.clusters]
        if folds > self.sampled.sum():
            raise ValueError(f"folds must be at most the number of gold documents, {self.sampled.sum()}; got {folds}")
        for part in (self.sampled, ~self.sampled):
            places = np.flatnonzero(part)
            of[places[generator.permutation(len(places))]] = np.arange(len(places)) % folds
        return of

    def _design(self, targets: Values) -> Values:
        """The columns of the regression, with these targets in the place of covariates that have gaps."""
        if self.model == "shares":
            return np.ones((self.n, 1))
        x = self.x.copy()
        x[:, self.made] = targets[:, self.y.shape[1] :]
        if self.model == "fixed effects":
            return self._within(x)
        return np.concatenate([np.ones((self.n, 1)), x], 1)

    def _within(self, columns: Values) -> Values:
        """Less the means of the groups: regression on these equals regression with a dummy per group."""
        assert self.groups is not None
        count = np.bincount(self.groups)
        means = np.stack([np.bincount(self.groups, column) / count for column in columns.T], 1)
        return columns - means[self.groups]

    def solved(self, parts: Sequence[tuple[Values, Values]]) -> tuple[Values, Values]:
        """Estimates and errors from the moments of (weights, targets), added up."""
        if (
            self.model == "fixed effects"
        ):  # a document's moment needs its whole pseudo-outcome before groups are centred
            pseudo = sum(weight[:, None] * targets[:, :1] for weight, targets in parts)
            total = sum(weight for weight, _ in parts)
            if not np.allclose(total, 1.0):  # gold alone: the groups' means are weighted too
                return self._weighted_within(np.asarray(total), parts[0][1][:, 0])
            pieces = [(np.ones(self.n), self._design(self.gold), self._within(np.asarray(pseudo))[:, 0])]
            return self._root(pieces)
        if self.model == "shares":
            found = [self._root([(w, np.ones((self.n, 1)), t[:, k]) for w, t in parts]) for k in range(self.y.shape[1])]
            return np.array([value[0] for value, _ in found]), np.array([error[0] for _, error in found])
        return self._root([(weight, self._design(targets), targets[:, 0]) for weight, targets in parts])

    def _weighted_within(self, weight: Values, y: Values) -> tuple[Values, Values]:
        assert self.groups is not None
        total = np.maximum(np.bincount(self.groups, weight), 1e-300)
        centre = [np.bincount(self.groups, weight * column) / total for column in (*self.x.T, y)]
        away = np.stack([*self.x.T, y], 1) - np.stack(centre, 1)[self.groups]
        return self._root([(weight, away[:, :-1], away[:, -1])])

    def _root(self, parts: Sequence[tuple[Values, Values, Values]]) -> tuple[Values, Values]:
        """Newton's steps on the moment equation; a linear one is solved by the first."""
        beta = np.zeros(parts[0][1].shape[1])
        for number in range(100):
            moments, jacobian = np.zeros((self.n, len(beta))), np.zeros((len(beta), len(beta)))
            for weight, x, y in parts:
                mean = special.expit(x @ beta) if self.model == "logistic" else x @ beta
                slope = mean * (1 - mean) if self.model == "logistic" else np.ones(self.n)
                moments += (weight * (y - mean))[:, None] * x
                jacobian += (x * (weight * slope)[:, None]).T @ x
            size = np.sqrt(np.abs(np.diag(jacobian))) + 1e-300  # so that units of the covariates do not matter
            if np.linalg.cond(jacobian / size / size[:, None]) > 1e12:
                raise ValueError(
                    "the moments have no single root: covariates are (nearly) collinear, or gold labels are too few or "
                    "parted by a covariate; drop a covariate or label more documents"
                )
            step = np.linalg.solve(jacobian, moments.sum(0))
            length = float(np.abs(step).max())
            beta = beta + step * min(1.0, 5.0 / length if length > 0 and self.model == "logistic" else 1.0)
            if length < 1e-10 * max(1.0, float(np.abs(beta).max())) or (self.model != "logistic" and number):
                break
        else:
            raise ValueError(
                "the moment equation of the logistic model was not solved in 100 steps; label more documents"
            )
        if self.clusters is not None:
            size = int(self.clusters.max()) + 1
            moments = np.stack([np.bincount(self.clusters, column) for column in moments.T], 1)
            moments = moments * math.sqrt(size / (size - 1)) if size > 1 else moments
        inverse = np.linalg.inv(jacobian)
        return beta, np.sqrt(np.diag(inverse @ (moments.T @ moments) @ inverse.T))

    def r2(self, predicted: Values) -> float:
        """The least over targets, by the design's weights."""
        weight = self.weight[:, None]
        mean = (weight * self.gold).sum(0) / weight.sum()
        spread = (weight * (self.gold - mean) ** 2).sum(0)
        left = (weight * (self.gold - predicted) ** 2).sum(0)
        varied = spread > 0
        return float((1 - left[varied] / spread[varied]).min()) if varied.any() else math.nan

    def naive(self) -> Values | None:
        """The targets with the surrogate in the outcome's place; None where it cannot stand there."""
        if self.surrogate.shape[1] != 1 or len(self.made):
            return None
        if self.model == "shares":
            column = self.surrogate[:, 0]
            if not set(column.tolist()) <= set(self.categories):
                return None
            return np.array([[float(value == category) for category in self.categories] for value in column])
        numbers = _numbers(self.surrogate[:, 0])
        if numbers is None or (self.model == "logistic" and not np.isin(numbers, (0.0, 1.0)).all()):
            return None
        return numbers[:, None]

    def alike(self, naive: Values) -> bool:
        """Whether surrogate and outcome are labels of the same few values."""
        return set(naive[:, 0].tolist()) <= set(self.y[self.sampled, 0].tolist())

    def agreement(self, naive: Values) -> float:
        same = (naive == self.y).all(1)
        return float((self.weight * same).sum() / self.weight.sum())


def _fresh(learner: Any) -> Learner:
    """A new learner: made by a class or function, or a copy of an object, so that folds share nothing."""
    made = learner() if isinstance(learner, type) or not hasattr(learner, "fit") else deepcopy(learner)
    if not (hasattr(made, "fit") and hasattr(made, "predict")):
        raise TypeError(f"a learner has fit and predict, or makes one that has; got {type(made).__name__}")
    return made


def _numbers(column: NDArray[np.object_]) -> Values | None:
    """The column as finite numbers, None where it holds anything else."""
    if any(isinstance(value, str) for value in column):
        return None
    try:
        found = column.astype(float)
    except (TypeError, ValueError):
        return None
    return found if np.isfinite(found).all() else None


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, (float, np.floating)) and math.isnan(value))
