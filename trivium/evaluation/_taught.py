"""What a task comes to that models were taught: its score under all seeds, beside baselines that need no model."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trivium.core.nouns import Observation
from trivium.data.labelled import Labelled
from trivium.data.trigrams import trigrams
from trivium.evaluation.stats.components import Components, crossed
from trivium.evaluation.stats.paired import Pair, mcnemar, paired
from trivium.nn import confusion
from trivium.nn.least_squares import least_squares, left_out_errors

METRICS = {"cola": "matthews", "mrpc": "f1", "qqp": "f1"}
"""Task -> what it is judged by in GLUE and in the BabyLM challenge; accuracy where it is not here."""


ROWS = 2000
"""Training items that trigrams are fitted to at most."""


def by_trigrams(train: Sequence[Labelled], asked: Sequence[Labelled], names: Sequence[str]) -> list[int]:
    """What a linear map of byte trigrams says, fitted by least squares with the ridge that suits items left out."""
    known = train[:ROWS]
    x, y = _vectors(known), torch.nn.functional.one_hot(torch.tensor([names.index(one.label) for one in known]))
    middle, share = x.mean(0), y.double().mean(0)
    x, y = x - middle, y.double() - share
    penalties = torch.logspace(-4, 2, 13, dtype=torch.float64)
    penalty = float(penalties[left_out_errors(x, y, penalties, centred=True).argmin()])
    return ((_vectors(asked) - middle) @ least_squares(x, y, penalty) + share).argmax(1).tolist()


def _vectors(items: Sequence[Labelled]) -> torch.Tensor:
    fields = zip(*(one.fields.values() for one in items), strict=True)
    return torch.cat([trigrams(texts) for texts in fields], 1)


@dataclass(frozen=True)
class Result:
    """Of one task: means over seeds, and each seed's own accuracy. ``score``: by what the task is judged by in GLUE;
    ``against``: the paired difference to always saying the commonest label, with items as clusters; ``p``: McNemar's
    exact p of that, seed by seed; ``spread``: how much of the variance is items and how much seeds, with two seeds or
    more."""

    score: float
    metric: str
    accuracies: tuple[float, ...]
    macro_f1: float
    matthews: float
    majority: float
    against: Pair
    p: tuple[float, ...]
    spread: Components | None

    @staticmethod
    def of(task: str, seen: Sequence[Sequence[Observation]], labels: int) -> "Result":
        """``seen``: seed x item."""
        right = [[one.values["accuracy"] for one in row] for row in seen]
        often = [one.values["majority"] for one in seen[0]]
        said = torch.tensor([[one.shown["answer"] for one in row] for row in seen])  # (seeds, items, 2)
        tables = torch.zeros(len(seen), labels, labels, dtype=torch.float64)
        for table, pairs in zip(tables, said, strict=True):
            table.index_put_((pairs[:, 0], pairs[:, 1]), torch.ones(len(pairs), dtype=torch.float64), accumulate=True)
        accuracies = [sum(row) / len(row) for row in right]
        metric = METRICS.get(task, "accuracy")
        if metric == "f1" and labels == 2:  # of the second label, which says yes
            hit, both = tables[:, 1, 1], tables[:, 1].sum(-1) + tables[:, :, 1].sum(-1)
            scores = (2 * hit / both.clamp(min=1e-12)).tolist()
        else:
            metric = "accuracy" if metric == "f1" else metric
            scores = accuracies if metric == "accuracy" else confusion.matthews(tables).tolist()
        flat = [(at, one, often[at]) for row in right for at, one in enumerate(row)]
        return Result(
            sum(scores) / len(scores),
            metric,
            tuple(accuracies),
            float(confusion.macro_f1(tables).mean()),
            float(confusion.matthews(tables).mean()),
            sum(often) / len(often),
            paired([a for _, a, _ in flat], [b for *_, b in flat], [at for at, *_ in flat], binary=len(seen) == 1),
            tuple(
                mcnemar(*(sum(sign * (a - b) > 0 for a, b in zip(row, often, strict=True)) for sign in (1, -1)))
                for row in right
            ),
            crossed(list(map(list, zip(*right, strict=True)))) if len(seen) > 1 else None,
        )
