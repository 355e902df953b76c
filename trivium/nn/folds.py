"""Folds of examples: whole groups, with nearly the same share of each class in every fold.

Groups are dealt out one after another, those with the most examples first, each to the fold that then has its classes
most evenly: that of least sum over classes of (examples of the class in the fold / examples of the class)^2, summed
over folds.
"""

import torch
from jaxtyping import Int
from torch import Tensor


def stratified_folds(
    labels: Int[Tensor, "examples"], groups: Int[Tensor, "examples"], folds: int, generator: torch.Generator
) -> Int[Tensor, "examples"]:
    """The fold of each example. Raises ValueError for fewer than two folds, fewer groups than folds, and for a class
    that is in a single group, which some fold would have to be fitted without."""
    names, which = groups.unique(return_inverse=True)
    if not 2 <= folds <= len(names):
        raise ValueError(f"folds must be at least 2 and at most the {len(names)} groups there are; got {folds}")
    classes, kind = labels.unique(return_inverse=True)
    counts = torch.zeros(len(names), len(classes), dtype=torch.float64)
    counts.index_put_((which, kind), torch.ones(len(labels), dtype=torch.float64), accumulate=True)
    alone = ((counts > 0).sum(0) < 2).nonzero()[:, 0]
    if len(alone) and len(classes) > 1:
        raise ValueError(
            f"class {int(classes[alone[0]])} is in a single group, so that one fold leaves none to fit; give more "
            "groups"
        )
    order = torch.randperm(len(names), generator=generator)
    order = order[counts[order].sum(1).argsort(descending=True, stable=True)]
    shares = counts / counts.sum(0)
    held = torch.zeros(folds, len(classes), dtype=torch.float64)
    place = torch.zeros(len(names), dtype=torch.int64)
    for group in order.tolist():
        # Of all folds only one changes: compare how much each would add to the sum of squares.
        added = ((held + shares[group]).square() - held.square()).sum(1)
        empty = torch.tensor([not bool((one > 0).any()) for one in held])
        fold = int(torch.where(empty, added - 1e6, added).argmin())  # no fold stays empty
        place[group] = fold
        held[fold] += shares[group]
    return place[which]
