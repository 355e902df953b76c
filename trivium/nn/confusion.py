"""What is read off a table of answers against labels."""

from torch import Tensor


def macro_f1(counts: Tensor) -> Tensor:
    """(..., labels said, labels right) -> (...): the mean over labels of 2 tp / (2 tp + fp + fn), of those labels that
    are said or right at all."""
    hit = counts.diagonal(dim1=-2, dim2=-1)
    both = counts.sum(-1) + counts.sum(-2)  # tp + fp and tp + fn of each label
    there = both > 0
    each = 2 * hit / both.where(there, both.new_ones(()))
    return each.sum(-1) / there.sum(-1).clamp(min=1)


def accuracy(counts: Tensor) -> Tensor:
    """(..., labels said, labels right) -> (...)"""
    return counts.diagonal(dim1=-2, dim2=-1).sum(-1) / counts.sum((-2, -1)).clamp(min=1e-12)


def label_bias(counts: Tensor) -> Tensor:
    """(..., labels said, labels right) -> (...): how far the shares of what is said are from the shares of what is
    right, by total variation: 0 where they agree, 1 where only labels are said that are never right."""
    total = counts.sum((-2, -1)).clamp(min=1e-12)
    return (counts.sum(-1) - counts.sum(-2)).abs().sum(-1) / 2 / total
