"""Whether rows lie in the convex hull of others."""

import numpy as np
from scipy.optimize import nnls


def residual(rows, hull):
    """The largest distance of a row from the hull, in units of the rows: non-negative least squares, weights summing
    to 1."""
    scale = np.abs(hull).max()
    system = np.vstack([hull.T / scale, np.full(len(hull), 1e3)])
    return max(nnls(system, np.append(row / scale, 1e3))[1] for row in rows)
