"""Trees of words that are given by their heads: distances, depths, and trees that span distances."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def tree_distances(heads: NDArray[np.int64]) -> Matrix:
    """(words,) -> (words, words): edges between each two. Raises ValueError for heads that make no tree."""
    n = len(heads)
    if (heads < 0).sum() != 1 or heads.max(initial=-1) >= n or heads.min(initial=-1) < -1:
        raise ValueError(f"a sentence has one root, -1, and heads among its {n} words; got {heads.tolist()}")
    found = np.full((n, n), np.inf)
    np.fill_diagonal(found, 0.0)
    words = np.flatnonzero(heads >= 0)
    found[words, heads[words]] = found[heads[words], words] = 1.0
    for through in range(n):
        np.minimum(found, found[:, through, None] + found[through], out=found)
    if not np.isfinite(found).all():
        raise ValueError(f"from some word no root is reached, so these heads make no tree: {heads.tolist()}")
    return found


def depths(heads: NDArray[np.int64]) -> Matrix:
    """(words,) -> (words,): edges between each word and the root."""
    return tree_distances(heads)[int((heads < 0).argmax())]


def spanning_tree(distances: Matrix) -> list[tuple[int, int]]:
    """Edges (nearer to the first node, the other) of a minimum spanning tree; of equal ones the first is taken."""
    n = len(distances)
    if n < 2:
        return []
    nearest, reach = np.zeros(n, dtype=np.int64), distances[0].copy()
    out = np.ones(n, dtype=bool)
    out[:1] = False
    edges = []
    for _ in range(n - 1):
        node = int(np.where(out, reach, np.inf).argmin())
        edges.append((int(nearest[node]), node))
        out[node] = False
        closer = out & (distances[node] < reach)
        nearest[closer], reach[closer] = node, distances[node][closer]
    return edges


def shared_edges(true: Matrix, found: Matrix, counts: NDArray[np.bool_]) -> tuple[float, float]:
    """How many edges the spanning trees over the words that count have in common, and how many there are."""
    kept = np.ix_(counts, counts)
    ours, theirs = ({tuple(sorted(edge)) for edge in spanning_tree(each[kept])} for each in (true, found))
    return float(len(ours & theirs)), float(len(ours))
