"""Ridge regression with a penalty of its own for each output, chosen on examples held out by folds.

w_v = argmin |y_v - x w|^2 + penalty_v |w|^2 = V diag(s / (s^2 + penalty_v)) U^T y_v,   x = U diag(s) V^T
penalty_v: of a grid the one of least squared error of output v, summed over the folds
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def ridge(
    x: Float[Tensor, "rows columns"], y: Float[Tensor, "rows outputs"], penalties: Float[Tensor, "outputs"]
) -> Float[Tensor, "columns outputs"]:
    """Weights, with one penalty (above 0) for each output. x and y are to be centred."""
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    return vt.mT @ (s[:, None] / (s.square()[:, None] + penalties) * (u.mT @ y))


def held_out_errors(
    x: Float[Tensor, "rows columns"],
    y: Float[Tensor, "rows outputs"],
    penalties: Float[Tensor, "penalties"],
    fold: Int[Tensor, "rows"],
) -> Float[Tensor, "penalties outputs"]:
    """Squared error of each penalty on each output, summed over folds that were each left out in turn; x and y are
    centred on what was fitted."""
    total = torch.zeros(len(penalties), y.shape[1], dtype=x.dtype, device=x.device)
    for name in fold.unique().tolist():
        out = fold == name
        from_x, from_y = x[~out].mean(0), y[~out].mean(0)
        u, s, vt = torch.linalg.svd(x[~out] - from_x, full_matrices=False)
        shrink = s / (s.square() + penalties[:, None])  # (penalties, singular values)
        seen, known = (x[out] - from_x) @ vt.mT, u.mT @ (y[~out] - from_y)
        for at, each in enumerate(shrink):  # one at a time, so that memory does not grow with the grid
            total[at] += (y[out] - from_y - (seen * each) @ known).square().sum(0)
    return total


def left_out_errors(
    x: Float[Tensor, "rows columns"], y: Float[Tensor, "rows outputs"], penalties: Float[Tensor, "penalties"]
) -> Float[Tensor, "penalties outputs"]:
    """``held_out_errors`` of folds of one row each, without fitting any of them. x and y are to be centred."""
    u, s, _ = torch.linalg.svd(x, full_matrices=False)
    known, rows = u.mT @ y, []
    for each in s.square() / (s.square() + penalties[:, None]):
        held = u.square() @ each + 1 / len(x)
        rows.append(((y - (u * each) @ known) / (1 - held).clamp(min=1e-12)[:, None]).square().sum(0))
    return torch.stack(rows)


def held_out_errors_reference(
    x: Float[Tensor, "rows columns"],
    y: Float[Tensor, "rows outputs"],
    penalties: Float[Tensor, "penalties"],
    fold: Int[Tensor, "rows"],
) -> Float[Tensor, "penalties outputs"]:
    """``held_out_errors`` by normal equations, one penalty and fold after another."""
    rows = []
    for penalty in penalties.tolist():
        total = torch.zeros(y.shape[1], dtype=x.dtype)
        for name in fold.unique().tolist():
            out = fold == name
            from_x, from_y = x[~out].mean(0), y[~out].mean(0)
            a = x[~out] - from_x
            w = torch.linalg.solve(a.mT @ a + penalty * torch.eye(x.shape[1], dtype=x.dtype), a.mT @ (y[~out] - from_y))
            total += (y[out] - from_y - (x[out] - from_x) @ w).square().sum(0)
        rows.append(total)
    return torch.stack(rows)
