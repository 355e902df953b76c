"""How well a linear regression foretells rows that it has not seen, in nats: cross-validation over folds.

y_i ~ Normal(a + x_i w, s^2);   a, w by least squares and s^2 the mean squared error, both on the other folds
score_i = log density of y_i
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium.nn.least_squares import least_squares


def held_out_loglik(
    x: Float[Tensor, "rows columns"], y: Float[Tensor, " rows"], fold: Int[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """Log density of each row by what was fitted to the rows of all other folds.

    Raises ValueError for a single fold, and where the other folds have no more rows than there are weights.
    """
    names = fold.unique()
    if len(names) < 2:
        raise ValueError("all rows are in one fold, so that none is left to fit; give two folds or more")
    found = torch.zeros_like(y)
    for name in names.tolist():
        out = fold == name
        found[out] = _loglik(x[~out], y[~out], x[out], y[out])
    return found


def in_sample_loglik(x: Float[Tensor, "rows columns"], y: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    """Log density of each row by what was fitted to all of them: never lower in sum for another column."""
    return _loglik(x, y, x, y)


def _loglik(x: Tensor, y: Tensor, new_x: Tensor, new_y: Tensor) -> Tensor:
    if len(x) <= x.shape[1] + 1:
        raise ValueError(f"{len(x)} rows are too few for {x.shape[1]} weights and an intercept; give more text")
    middle, spread, level = x.mean(0), x.std(0), y.mean()
    spread = torch.where(spread > 0, spread, 1.0)
    w = least_squares((x - middle) / spread, (y - level)[:, None])
    error = y - level - ((x - middle) / spread @ w)[:, 0]
    variance = error.square().mean()
    if variance <= 0:
        raise ValueError("the regression leaves no error, so that a density would be infinite; are all times alike?")
    off = new_y - level - ((new_x - middle) / spread @ w)[:, 0]
    return -0.5 * (math.log(2 * math.pi) + variance.log() + off.square() / variance)
