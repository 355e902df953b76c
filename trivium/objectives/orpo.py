"""ORPO: learn the preferred answer, and make it likelier than the other one, without a reference model.

Source
    Hong, Lee, Thorne 2024, "ORPO: Monolithic Preference Optimization without Reference Model", arXiv:2403.07691;
    as part of a search over stories in Materzok 2025, arXiv:2501.17104.
Equation
    l(y) = mean over the tokens of answer y of  log p(y[t] | context, y[< t]);   log odds(y) = l(y) - log(1 - exp l(y))
    total = sum over pairs of  - l(winner) - weight log sigmoid(log odds(winner) - log odds(loser));   count = pairs
Shapes
    ids, answer (2 pairs, time) -> total and count, both scalar
Cost
    One forward pass over both answers: twice that of plain training on the winners.
Caveats
    Both terms are means per pair, as in the paper, so that micro-batches add up exactly; the trainer of ``trl`` takes
    the mean of its first term over all tokens of a batch, context included, which weighs long answers more. Where the
    winners are of one length the two agree. l is cut at -1e-6, where odds would be infinite: an answer that is certain
    has no gradient left in its odds. The loss is computed in float32 at least. Plain text holds no preference, so a
    batch without pairs is refused and a comparison on a corpus calls this objective not applicable.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid

from trivium.core.method import method
from trivium.core.nouns import Batch, Loss
from trivium.core.protocols import LanguageModel
from trivium.data.pairs import Pairs
from trivium.nn.cross_entropy import IGNORED

CERTAIN = -1e-6
"""The largest mean log-probability of which odds are taken."""


@method(title="ORPO", source="arXiv:2403.07691", year=2024, needs=["causal"])
@dataclass(frozen=True)
class Orpo:
    """Cross-entropy of the preferred answers, and the odds against the others."""

    learns_from: ClassVar[type[Batch]] = Pairs

    weight: float = 0.1
    """Of the odds (lambda); 0 is plain training on the preferred answers."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.weight < math.inf:
            raise ValueError(f"weight must be at least 0 and finite, got {self.weight}; 0 leaves the odds out")

    def __call__(self, model: LanguageModel, batch: Batch, *, generator: torch.Generator) -> Loss:
        winner, loser = answers(model, batch)
        total = -winner.sum()
        if self.weight:
            total = total - self.weight * logsigmoid(log_odds(winner) - log_odds(loser)).sum()
        return Loss(total, torch.tensor(len(winner), device=total.device))


def answers(model: LanguageModel, batch: Batch) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
    """Mean log-probability per token of the winners and of the losers. Raises ValueError for what holds no pairs."""
    if not isinstance(batch, Pairs):
        raise ValueError(
            "orpo learns from pairs of a preferred and another answer, and plain text holds none; make batches with "
            "trivium.data.pairs.Pairs, or train on text with the objective causal"
        )
    assert batch.answer is not None
    logits = model(batch.ids, mask=batch.mask).logits[:, :-1]
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    said = batch.answer[:, 1:]
    targets = batch.ids[:, 1:].masked_fill(~said, IGNORED)
    logp = -cross_entropy(wide.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")  # (2 pairs, time - 1)
    mean = logp.sum(1) / said.sum(1)
    return mean[0::2], mean[1::2]


def log_odds(mean: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """log p / (1 - p) of p = exp(mean); finite up to certainty."""
    mean = mean.clamp(max=CERTAIN)
    return mean - log1mexp(mean)


def log1mexp(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """log(1 - exp(x)) for negative x, by whichever form keeps its digits there."""
    near = x > -math.log(2.0)
    return torch.where(near, (-torch.expm1(x)).log(), torch.log1p(-x.masked_fill(near, -1.0).exp()))
