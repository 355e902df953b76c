"""Linear least squares by singular values: of least norm or with a ridge, and its error on examples left out.

    w = V diag(s / (s^2 + penalty)) U^T y,   x = U diag(s) V^T,   s above rcond times the largest
    penalty 0:  of all w of least error, the one of least norm
    left out, example i errs by  (y_i - x_i w) / (1 - h_i),   h_i = sum_j U_ij^2 s_j^2 / (s_j^2 + penalty)

Where a free intercept stands beside the weights, x and y are to be centred, and 1/n is added to h_i.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def least_squares(
    x: Float[Tensor, "rows columns"],
    y: Float[Tensor, "rows outputs"],
    penalty: float = 0.0,
    rcond: float = 1e-12,
) -> Float[Tensor, "columns outputs"]:
    """Weights of least |y - x w|^2 + penalty |w|^2. Without a column there is nothing to weigh."""
    u, s, vt, kept = _singular(x, rcond)
    scale = torch.where(kept, s / (s.square() + penalty).clamp(min=torch.finfo(s.dtype).tiny), 0.0)
    return vt.mT @ (scale[:, None] * (u.mT @ y))


def least_squares_reference(
    x: Float[Tensor, "rows columns"], y: Float[Tensor, "rows outputs"], penalty: float
) -> Float[Tensor, "columns outputs"]:
    """``least_squares`` with a penalty, by its normal equations."""
    normal = x.mT @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return torch.linalg.solve(normal, x.mT @ y)


def rank(x: Float[Tensor, "rows columns"], rcond: float = 1e-12) -> int:
    """How many singular values count."""
    return int(_singular(x, rcond)[3].sum())


def left_out_errors(
    x: Float[Tensor, "rows columns"],
    y: Float[Tensor, "rows outputs"],
    penalties: Float[Tensor, "penalties"],
    *,
    centred: bool = False,
) -> Float[Tensor, "penalties"]:
    """Mean squared error of each penalty (above 0) on examples that were not fitted, each left out in turn."""
    u, s, _, _ = _singular(x, 0.0)
    shrink = s.square() / (s.square() + penalties[:, None])  # (penalties, singular values)
    fitted = torch.einsum("rs,ps,so->pro", u, shrink, u.mT @ y)
    held = shrink @ u.square().mT + (1 / len(x) if centred else 0.0)  # (penalties, rows)
    errors = (y - fitted) / (1 - held).clamp(min=torch.finfo(s.dtype).eps)[..., None]
    return errors.square().sum(-1).mean(-1)


def left_out_errors_reference(
    x: Float[Tensor, "rows columns"],
    y: Float[Tensor, "rows outputs"],
    penalties: Float[Tensor, "penalties"],
    *,
    centred: bool = False,
) -> Float[Tensor, "penalties"]:
    """``left_out_errors`` with a fit for every example and penalty."""
    found = []
    for penalty in penalties.tolist():
        total = x.new_zeros(())
        for row in range(len(x)):
            others = torch.arange(len(x), device=x.device) != row
            from_x, from_y = (t[others].mean(0) if centred else torch.zeros_like(t[0]) for t in (x, y))
            w = least_squares_reference(x[others] - from_x, y[others] - from_y, penalty)
            total = total + (y[row] - from_y - (x[row] - from_x) @ w).square().sum()
        found.append(total / len(x))
    return torch.stack(found)


def _singular(x: Tensor, rcond: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """U, s, V^T, and which of s count."""
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    return u, s, vt, s > rcond * s.amax() if s.numel() else s > 0
