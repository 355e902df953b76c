"""Centres in place of the rows of each class: k-means, class by class."""

import math
import warnings

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.cluster.vq import kmeans2
from torch import Tensor

from trivium.core import seeds

ITERATIONS = 20


def centres_by_class(
    rows: Float[Tensor, "rows width"], classes: Int[Tensor, "rows"], share: float, seed: int = 0
) -> tuple[Float[Tensor, "centres width"], Int[Tensor, "centres"]]:
    """Centres and their classes, in order of the classes: of each class so large a share of its rows, one at least. A
    centre is the mean of its rows; those that no row is nearest to are left out.

    Raises ValueError for a share outside 0 (not included) to 1.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share is of the rows of a class, above 0 and at most 1; got {share}")
    generator = np.random.default_rng(int(torch.randint(2**31, (1,), generator=seeds.generator(seed, "centres"))))
    order = classes.argsort(stable=True)
    names, counts = classes.unique(return_counts=True)  # sorted
    centres, of = [], []
    for name, places in zip(names.tolist(), order.split(counts.tolist()), strict=True):
        mine = rows[places].float()
        number = math.ceil(share * len(mine) - 1e-9)
        if number < len(mine):
            mine = _centres(mine, number, generator)
        centres.append(mine)
        of += [name] * len(mine)
    return torch.cat(centres).to(rows.dtype), torch.tensor(of, dtype=classes.dtype)


def _centres(rows: Tensor, number: int, generator: np.random.Generator) -> Tensor:
    if number == 1:
        return rows.mean(0, keepdim=True)
    distinct = len(rows.unique(dim=0))
    if distinct <= number:
        return rows.unique(dim=0)
    # Seeding draws in proportion to squared distances, which wants float64 lest they sum to other than 1.
    points = rows.double().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of empty clusters, which are left out
        labels = kmeans2(points, number, iter=ITERATIONS, minit="++", seed=generator)[1]  # type: ignore[call-arg]
    near = torch.from_numpy(labels).long()
    sums = torch.zeros(number, rows.shape[1], dtype=torch.float64).index_add_(0, near, rows.double())
    counts = near.bincount(minlength=number)
    return (sums / counts[:, None])[counts > 0].float()
