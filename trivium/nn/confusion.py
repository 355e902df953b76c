"""What is read off a table of answers against labels."""

import torch
from torch import Tensor


def table(said: Tensor, right: Tensor, classes: int = 2) -> Tensor:
    """(examples,) each, whole numbers from 0 -> (labels said, labels right) float64 counts."""
    counts = torch.zeros(classes, classes, dtype=torch.float64)
    return counts.index_put_((said.cpu(), right.cpu()), torch.ones(len(said), dtype=torch.float64), accumulate=True)


def f1_each(counts: Tensor) -> Tensor:
    """(..., labels said, labels right) -> (..., labels): 2 tp / (2 tp + fp + fn); 0 of a label that is neither said nor
    right."""
    hit = counts.diagonal(dim1=-2, dim2=-1)
    return 2 * hit / (counts.sum(-1) + counts.sum(-2)).clamp(min=1e-12)


def balanced_accuracy(counts: Tensor) -> Tensor:
    """(..., labels said, labels right) -> (...): the mean over labels of the share of its examples that are found, of
    those labels that any example has."""
    hit, whole = counts.diagonal(dim1=-2, dim2=-1), counts.sum(-2)
    there = whole > 0
    return (hit / whole.where(there, whole.new_ones(()))).sum(-1) / there.sum(-1).clamp(min=1)


def trivial_f1(counts: Tensor, label: int) -> Tensor:
    """(..., labels said, labels right) -> (...): F1 of this label by saying it of every example."""
    mine = counts[..., label].sum(-1)
    return 2 * mine / (mine + counts.sum((-2, -1))).clamp(min=1e-12)


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


def matthews(counts: Tensor) -> Tensor:
    """(..., labels said, labels right) -> (...): the correlation of what is said with what is right, of any number of
    labels (Gorodkin 2004); 0 where either is always the same."""
    total, hit = counts.sum((-2, -1)), counts.diagonal(dim1=-2, dim2=-1).sum(-1)
    said, right = counts.sum(-1), counts.sum(-2)
    both = total.square() - said.square().sum(-1), total.square() - right.square().sum(-1)
    spread = (both[0].clamp(min=0) * both[1].clamp(min=0)).sqrt()
    there = spread > 1e-9 * total.square()
    return ((hit * total - (said * right).sum(-1)) / spread.where(there, spread.new_ones(()))).where(there, 0.0)
