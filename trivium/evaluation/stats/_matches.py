"""Judgements as arrays, and Bradley and Terry's and Davidson's models fitted to them: Newton's steps, Hunter's MM."""

import math
from collections.abc import Sequence
from copy import copy
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from trivium.core import seeds
from trivium.evaluation.stats.bootstrap import resampled_counts
from trivium.evaluation.stats.intervals import Values
from trivium.evaluation.stats.judgements import Judgement

Ties = Literal["half", "davidson"]
Covariate = Literal["position", "length"]

LARGEST = 30.0
"""A theta beyond this is on its way to infinity."""
LOST = 0.05
"""Largest share of resamples in which someone never wins or never loses, and which are left out."""


class Matches:
    """Judgements as arrays: who, what came out, and the covariates of a minus those of b."""

    def __init__(
        self, judgements: Sequence[Judgement], names: Sequence[str], ties: Ties, covariates: Sequence[Covariate]
    ) -> None:
        place = {name: n for n, name in enumerate(names)}
        self.count = len(names)
        self.a = np.array([place[one.a] for one in judgements])
        self.b = np.array([place[one.b] for one in judgements])
        self.credit = np.array([one.credit for one in judgements])
        self.davidson = ties == "davidson"
        columns = [_covariate(name, judgements) for name in covariates]
        self.covariates = np.stack(columns, 1) if columns else np.zeros((len(judgements), 0))
        self.weights = np.ones(len(judgements))

    def compressed(self) -> "tuple[Matches, NDArray[np.intp]]":
        """The distinct judgements, and for each judgement its place among them: fits again and again are quick."""
        rows = np.column_stack([self.a, self.b, self.credit, self.covariates])
        _, first, where = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        small = copy(self)
        small.a, small.b, small.credit, small.covariates = (
            column[first] for column in (self.a, self.b, self.credit, self.covariates)
        )
        return small, where.ravel()

    def wins(self, weights: Values | None = None) -> Values:
        """(systems, systems) wins of the row over the column, ties as half wins."""
        table, weight = np.zeros((self.count, self.count)), self.weights if weights is None else weights
        np.add.at(table, (self.a, self.b), self.credit * weight)
        np.add.at(table, (self.b, self.a), (1 - self.credit) * weight)
        return table

    def design(self, basis: Values) -> Values:
        """(judgements, free thetas and covariates): what adds up to the log-odds of a against b."""
        return np.concatenate([basis[self.a] - basis[self.b], self.covariates], 1)

    def _derivatives(self, design: Values, parameters: Values) -> tuple[Values, Values, Values]:
        """Log-likelihood, slope (…, 1 or 2) and curvature (…, 1 or 2, 1 or 2) by the log-odds, and by ln nu."""
        if not self.davidson:
            odds = design @ parameters
            p = 1 / (1 + np.exp(-np.clip(odds, -500, 500)))
            likelihood = -self.credit * np.logaddexp(0, -odds) - (1 - self.credit) * np.logaddexp(0, odds)
            return likelihood, (self.credit - p)[:, None], (p * (1 - p))[:, None, None]
        odds = design @ parameters[:-1]
        scores = np.stack([odds / 2, -odds / 2, np.full(len(odds), parameters[-1])], 1)  # a, b, tie
        logp = scores - np.logaddexp.reduce(scores, axis=1)[:, None]
        p = np.exp(logp)
        seen = np.stack([self.credit == 1.0, self.credit == 0.0, self.credit == 0.5], 1)
        by = np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 1.0]])  # the scores by the log-odds and by ln nu
        slope = (seen - p) @ by
        mean = p @ by
        curvature = np.einsum("no,oi,oj->nij", p, by, by) - mean[:, :, None] * mean[:, None, :]
        return (logp * seen).sum(1), slope, curvature

    def slopes(self, basis: Values, ridge: float, parameters: Values) -> tuple[Values, Values]:
        """Gradient of each judgement (judgements, parameters), and the information (parameters, parameters)."""
        design = self.design(basis)
        _, slope, curvature = self._derivatives(design, parameters)
        gradient = np.concatenate([design * slope[:, :1], slope[:, 1:]], 1)
        return gradient, self._information(design, curvature, self.weights, ridge, basis.shape[1])

    def _information(self, design: Values, curvature: Values, weights: Values, ridge: float, size: int) -> Values:
        cut = weights[:, None]
        inner = (design * curvature[:, 0, :1] * cut).T @ design
        if self.davidson:
            edge = (design * curvature[:, 0, 1:] * cut).sum(0)
            inner = np.block([[inner, edge[:, None]], [edge[None], np.array([[weights @ curvature[:, 1, 1]]])]])
        inner[:size, :size] += ridge * np.eye(size)  # the basis is orthonormal, so this is a prior on the thetas
        return inner

    def fitted(self, basis: Values, ridge: float, weights: Values, start: Values | None = None) -> Values:
        """Newton's steps on the weighted log-likelihood, halved where they overshoot."""
        design, size = self.design(basis), basis.shape[1]
        width = design.shape[1] + self.davidson
        parameters = np.zeros(width) if start is None else start.copy()
        if start is None and self.davidson:
            parameters[-1] = math.log(max((self.credit == 0.5).mean(), 1e-3))

        def value(at: Values) -> tuple[float, Values, Values]:
            likelihood, slope, curvature = self._derivatives(design, at)
            gradient = np.concatenate([(design * slope[:, :1]).T @ weights, slope[:, 1:].T @ weights])
            gradient[:size] -= ridge * at[:size]
            return float(weights @ likelihood) - ridge / 2 * float(at[:size] @ at[:size]), gradient, curvature

        now, gradient, curvature = value(parameters)
        for _ in range(200):
            information = self._information(design, curvature, weights, ridge, size)
            try:
                step = np.linalg.solve(information, gradient)
            except np.linalg.LinAlgError:
                raise ValueError(_NO_FIT) from None
            while value(parameters + step)[0] < now - 1e-12 * abs(now) and np.abs(step).max() > 1e-11:
                step = step / 2
            parameters = parameters + step
            now, gradient, curvature = value(parameters)
            if np.abs(parameters).max() > LARGEST:
                raise ValueError(_NO_FIT)
            if np.abs(step).max() < 1e-11:
                return parameters
        raise ValueError(_NO_FIT)

    def minorised(self, basis: Values) -> Values:
        """Hunter's MM: p_i <- W_i / sum_j n_ij / (p_i + p_j); with Davidson's nu, sqrt(p_i p_j) is majorised too."""
        wins = self.wins()
        games, won, tied = wins + wins.T, wins.sum(1), float((self.credit == 0.5).sum())
        p, nu = np.ones(self.count), 0.5 if self.davidson else 0.0
        for _ in range(200_000):
            before = np.append(np.log(p), nu)
            root = np.sqrt(p[:, None] * p)
            whole = games / (p[:, None] + p + nu * root)
            p = won / (whole * (1 + nu / 2 * np.sqrt(p / p[:, None]))).sum(1)
            p /= np.exp(np.log(p).mean())
            if self.davidson:
                root = np.sqrt(p[:, None] * p)
                nu = tied / ((games * root / (p[:, None] + p + nu * root)).sum() / 2)
            if np.abs(np.append(np.log(p), nu) - before).max() < 1e-13:
                break
        theta = np.log(p)
        return np.append(basis.T @ theta, math.log(nu)) if self.davidson else basis.T @ theta

    def resampled(
        self, basis: Values, ridge: float, start: Values, prompts: NDArray[np.intp], resamples: int, seed: int
    ) -> Values:
        """(resamples that can be fitted, parameters), drawn by prompts."""
        data, where = self.compressed()
        generator = seeds.numpy_generator(seed, "bootstrap of prompts")
        found = []
        for part in resampled_counts(int(prompts.max()) + 1, resamples, generator, len(prompts)):
            for often in part:
                weights = np.bincount(where, often[prompts]).astype(float)
                if not ridge and connected_components(csr_array(data.wins(weights)), connection="strong")[0] > 1:
                    continue
                if self.davidson and not (weights[data.credit == 0.5]).any():
                    continue
                try:
                    found.append(data.fitted(basis, ridge, weights, start))
                except ValueError:  # a covariate that parts the outcomes of this resample
                    continue
        if len(found) < (1 - LOST) * resamples:
            raise ValueError(
                f"in {resamples - len(found)} of {resamples} resamples some system never wins or never loses, so "
                "there are too few prompts for a bootstrap; take resamples=0, or a prior such as ridge=0.1"
            )
        return np.array(found)


_NO_FIT = (
    "the ratings have no finite fit: a covariate goes with the outcomes, or with a system, entirely; leave it out, or "
    "give a prior such as ridge=0.1"
)


def _covariate(name: Covariate, judgements: Sequence[Judgement]) -> Values:
    """The covariate of a minus that of b."""
    if name == "position":
        found = np.array([{"a": 1.0, "b": -1.0, "": 0.0}[one.first] for one in judgements])
        if not found.any():
            raise ValueError("no judgement says which was shown first; leave out the covariate 'position'")
        return found
    missing = sum(one.length_a is None or one.length_b is None for one in judgements)
    if missing:
        raise ValueError(f"{missing} judgements have no length_a and length_b; leave out the covariate 'length'")
    apart = np.array([one.length_a - one.length_b for one in judgements], float)  # type: ignore[operator]
    if not np.isfinite(apart).all() or not apart.any():
        raise ValueError("lengths must be finite and differ somewhere; leave out the covariate 'length'")
    return apart / np.sqrt((apart**2).mean())
