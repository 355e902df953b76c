"""A linear regression that chooses its own ridge penalty, for predicting gold labels from surrogates."""

from typing import Any, Protocol

import numpy as np

from trivium.evaluation.stats.intervals import Values

PENALTIES = 10.0 ** np.arange(-6, 7)
"""Tried, per document."""


class Learner(Protocol):
    """Anything with these two, such as a regressor of scikit-learn."""

    def fit(self, features: Values, target: Values, /) -> Any: ...

    def predict(self, features: Values, /) -> Values: ...


class Ridge:
    """Ridge regression on standardised features; the penalty is the one with the least generalised cross-validation
    error (Golub, Heath and Wahba 1979). Predictions stay within the targets that were seen."""

    def fit(self, features: Values, target: Values) -> "Ridge":
        x, y = np.asarray(features, float), np.asarray(target, float)
        self.low, self.high, self.middle = float(y.min()), float(y.max()), float(y.mean())
        self.centre, spread = x.mean(0), x.std(0)
        self.scale = np.where(spread > 1e-12 * np.maximum(np.abs(self.centre), 1.0), spread, np.inf)  # inf drops it
        u, s, vt = np.linalg.svd((x - self.centre) / self.scale, full_matrices=False)
        kept = s > 1e-10 * max(float(s[0]) if len(s) else 0.0, 1e-300)
        u, s, vt = u[:, kept], s[kept], vt[kept]
        along, n = u.T @ (y - self.middle), len(y)
        outside = float(((y - self.middle) ** 2).sum() - (along**2).sum())
        shrunk = s**2 / (s**2 + n * PENALTIES[:, None])  # (penalties, directions)
        left = ((along * (1 - shrunk)) ** 2).sum(1) + max(outside, 0.0)
        free = n - 1 - shrunk.sum(1)
        error = np.where(free > 0.5, left / np.maximum(free, 0.5) ** 2, np.inf)
        self.slopes = vt.T @ (along * shrunk[int(error.argmin())] / s)
        return self

    def predict(self, features: Values) -> Values:
        made = self.middle + (np.asarray(features, float) - self.centre) / self.scale @ self.slopes
        return np.clip(made, self.low, self.high)
