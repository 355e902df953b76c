"""MAUVE: how far two sets of texts, given as vectors, lie apart when each may be wrong in two ways.

    p, q: how the sets spread over the same bins;  r(w) = w p + (1 - w) q
    curve: (exp(-c KL(q | r(w))), exp(-c KL(p | r(w)))) for w from 0 to 1;  MAUVE = the area under it, 1 where p = q

KL(q | r) grows where the one set has texts that the other lacks, KL(p | r) the other way round. After Pillutla et al.
2021 (arXiv:2102.01454), with the smoothed counts of Pillutla et al. 2023 (arXiv:2212.14578): a half is added to each
bin. Sets without a common bin come to c B(c + 1, c), 0.004 for c = 5, where nothing is added.
"""

import math
import warnings

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.cluster.vq import kmeans2
from torch import Tensor

SCALING, GRID, SMOOTHING = 5.0, 25, 0.5
FEWEST = 10
"""Texts of a set below which its histogram says nothing."""
_RESTARTS, _KEPT_VARIANCE = 5, 0.9


def bins_for(texts: int) -> int:
    """A tenth of the texts as in the paper, or their root where that is more: a tenth of few texts is no histogram."""
    return max(2, round(texts / 10), round(math.sqrt(texts)))


def quantised(
    vectors: Float[Tensor, "texts width"], bins: int, generator: np.random.Generator
) -> Int[Tensor, " texts"]:
    """The bin of each text: k-means in the principal components that keep nine tenths of the variance.

    The best of several starts. The order of the texts is of no matter: they are sorted before anything is drawn.
    """
    texts = len(vectors)
    if bins < 2 or texts < 2 * bins:
        raise ValueError(f"{texts} texts cannot be put into {bins} bins; take from 2 to {texts // 2} bins")
    if not vectors.isfinite().all():
        raise ValueError("a text's vector is not finite; check the model that gave it")
    order = np.lexsort(vectors.numpy().T[::-1])
    units = torch.nn.functional.normalize(vectors[torch.from_numpy(order)].double(), dim=-1)
    centred = units - units.mean(0)
    _, scale, axes = torch.linalg.svd(centred, full_matrices=False)
    kept = scale.square().cumsum(0) / scale.square().sum().clamp_min(1e-300)
    count = min(int((kept < _KEPT_VARIANCE).sum()) + 1, len(scale))
    points = (centred @ axes[:count].T).numpy()
    best, least = np.zeros(texts, dtype=np.int64), math.inf
    for _ in range(_RESTARTS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a bin that stays empty is no fault: equal texts share one
            centres, labels = kmeans2(points, bins, iter=50, minit="++", seed=generator)  # type: ignore[call-arg]
        spread = float(((points - centres[labels]) ** 2).sum())
        if spread < least:
            best, least = labels.astype(np.int64), spread
    found = torch.empty(texts, dtype=torch.int64)
    found[torch.from_numpy(order)] = torch.from_numpy(best)
    return found


def frontier(
    p: Float[Tensor, "*batch bins"], q: Float[Tensor, "*batch bins"], *, scaling: float = SCALING, grid: int = GRID
) -> Float[Tensor, "*batch points 2"]:
    """Points of the curve, from (0, 1) to (1, 0), of distributions that sum to 1."""
    w = torch.linspace(1e-6, 1 - 1e-6, grid, dtype=p.dtype)[:, None]
    p, q = p[..., None, :], q[..., None, :]
    mixed = w * p + (1 - w) * q
    log = mixed.clamp_min(1e-300).log()
    kl = lambda x: (torch.xlogy(x, x) - x * log).sum(-1).clamp_min(0.0)  # noqa: E731
    ends = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=p.dtype).expand(*mixed.shape[:-2], 2, 2)
    inner = torch.stack([kl(q), kl(p)], -1).mul(-scaling).exp().flip(-2)  # w falls: from p alone to q alone
    return torch.cat([ends[..., :1, :], inner, ends[..., 1:, :]], -2)


def area(
    p_counts: Float[Tensor, "*batch bins"],
    q_counts: Float[Tensor, "*batch bins"],
    *,
    smoothing: float = SMOOTHING,
    scaling: float = SCALING,
    grid: int = GRID,
) -> Float[Tensor, "*batch"]:
    """MAUVE of counts per bin, which need not be whole; ``smoothing`` is added to each."""
    if smoothing < 0 or scaling <= 0 or grid < 2:
        raise ValueError(
            f"smoothing must not be negative, scaling must be positive and grid at least 2; got {smoothing}, "
            f"{scaling} and {grid}"
        )
    sides = []
    for counts in (p_counts, q_counts):
        full = counts.double() + smoothing
        if (counts < 0).any() or not (full.sum(-1) > 0).all():
            raise ValueError("counts must not be negative, nor zero in every bin")
        sides.append(full / full.sum(-1, keepdim=True))
    points = frontier(*sides, scaling=scaling, grid=grid)
    across, up = points[..., 0], points[..., 1]
    return ((up[..., 1:] + up[..., :-1]) / 2 * across.diff(dim=-1)).sum(-1)


def mauve(
    first: Float[Tensor, "texts width"],
    second: Float[Tensor, "others width"],
    *,
    bins: int | None = None,
    smoothing: float = SMOOTHING,
    scaling: float = SCALING,
    generator: np.random.Generator,
) -> float:
    """Of two sets of vectors, quantised together. Raises ValueError for fewer than 10 texts in either."""
    fewest = min(len(first), len(second))
    if fewest < FEWEST:
        raise ValueError(f"MAUVE of {len(first)} and {len(second)} texts says nothing; give at least {FEWEST} of each")
    bins = bins_for(fewest) if bins is None else bins
    labels = quantised(torch.cat([first, second]), bins, generator)
    counts = [torch.bincount(part, minlength=bins).double() for part in labels.split([len(first), len(second)])]
    return float(area(counts[0], counts[1], smoothing=smoothing, scaling=scaling))
