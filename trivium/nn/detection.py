"""How well scores tell two sorts of things apart, and how well the best of many does by chance.

    AUC = P(score of a positive > score of a negative) + P(equal) / 2
    precision = hits / named;   recall = hits / positives;   F1 = 2 precision recall / (precision + recall)

Precision is 0 where nothing is named, and F1 where nothing is hit, as in scikit-learn. A direction picked for doing
best on some examples is to be held against random directions picked in the same way: ``selected`` does it for both.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def roc_auc(scores: Float[Tensor, "*batch examples"], labels: Bool[Tensor, "examples"]) -> Float[Tensor, "*batch"]:
    """The area under the curve in float64, ties counted by half. Raises ValueError where all labels are alike, or for a
    score that is not a number."""
    if labels.all() or not labels.any():
        raise ValueError(f"the curve needs both sorts, and all {len(labels)} labels are {bool(labels[:1].all())}")
    if scores.isnan().any():
        raise ValueError(f"{int(scores.isnan().sum())} of {scores.numel()} scores are no numbers")
    wide = scores.double()
    negatives = wide[..., ~labels].sort(-1).values
    positives = wide[..., labels].contiguous()
    below = torch.searchsorted(negatives, positives)
    not_above = torch.searchsorted(negatives, positives, right=True)
    return (below + not_above).double().mean(-1) / (2 * negatives.shape[-1])


def precision_recall_f1(
    named: Bool[Tensor, "*batch examples"], truth: Bool[Tensor, "examples"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Of what is named, in float64. Raises ValueError where nothing is true."""
    if not truth.any():
        raise ValueError(f"none of the {len(truth)} is true, so there is nothing to recall")
    hits = (named & truth).sum(-1).double()
    count = named.sum(-1).double()
    precision = hits / count.clamp(min=1)
    recall = hits / truth.sum()
    return precision, recall, 2 * precision * recall / (precision + recall).clamp(min=torch.finfo(torch.float64).tiny)


def best_f1(scores: Float[Tensor, "examples"], truth: Bool[Tensor, "examples"]) -> tuple[float, float]:
    """The largest F1 of all thresholds, and the lowest score that is named at it."""
    thresholds = scores.unique()
    f1 = precision_recall_f1(scores >= thresholds[:, None], truth)[2]
    best = int(f1.argmax())
    return float(f1[best]), float(thresholds[best])


def selected(
    chosen_on: Float[Tensor, "*batch candidates examples"],
    chosen_labels: Bool[Tensor, "examples"],
    tested_on: Float[Tensor, "*batch candidates tests"],
    tested_labels: Bool[Tensor, "tests"],
) -> tuple[Float[Tensor, "*batch"], Tensor]:
    """The AUC on the second examples of the candidate that does best on the first, either way round, with the sign that
    it had there; and which candidate that is. Below 0.5 the sign turned over."""
    first = roc_auc(chosen_on, chosen_labels)  # (*batch, candidates)
    place = (first - 0.5).abs().argmax(-1, keepdim=True)
    second = roc_auc(tested_on, tested_labels).gather(-1, place)[..., 0]
    upright = first.gather(-1, place)[..., 0] >= 0.5
    return torch.where(upright, second, 1 - second), place[..., 0]


def selected_by_chance(
    chosen_on: Float[Tensor, "examples width"],
    chosen_labels: Bool[Tensor, "examples"],
    tested_on: Float[Tensor, "tests width"],
    tested_labels: Bool[Tensor, "tests"],
    *,
    candidates: int,
    draws: int,
    generator: torch.Generator,
) -> Float[Tensor, "draws"]:
    """What ``selected`` gives for so many random directions in place of found ones, per draw. The states are those that
    the found directions score. Raises ValueError for fewer than one candidate or draw."""
    if candidates < 1 or draws < 1:
        raise ValueError(f"give at least one candidate and one draw, got {candidates} and {draws}")
    shape = (draws, candidates, chosen_on.shape[1])
    directions = torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
    directions = directions.to(chosen_on.device)
    first, second = (directions @ states.double().T for states in (chosen_on, tested_on))
    return selected(first, chosen_labels, second, tested_labels)[0]
