"""Causal language modelling: each token is predicted from the tokens before it.

Source
    Bengio et al. 2003, "A Neural Probabilistic Language Model", JMLR 3, section 1; in today's form Radford et al. 2018,
    "Improving Language Understanding by Generative Pre-Training", equation 1.
Equation
    total = - sum over rows b and positions t with w[b, t] = 1 of  log p(x[b, t+1] | x[b, <= t]);   count = sum of w
    w[b, t] = 1  iff  x[b, t] and x[b, t+1] are both real and belong to the same document
Shapes
    ids (batch, time) -> total and count, both scalar; at most time - 1 predictions a row
Cost
    One forward pass; the loss itself is one pass over the logits and one buffer of their size.
Caveats
    Numerator and denominator are handed over apart, so that micro-batches and ranks add up exactly. Whatever the
    precision of the model, the loss is computed in float32 at least. Where documents are packed into a row, the first
    token of a document is not predicted: what precedes it belongs to another text. There is no label smoothing and no
    z-loss; this is the baseline that every other objective equals when it is switched off.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from trivium.core.method import method
from trivium.core.nouns import Batch, Loss
from trivium.core.protocols import LanguageModel
from trivium.nn.cross_entropy import IGNORED, cross_entropy_sum


@method(title="Causal language modelling", source="Bengio et al. 2003, JMLR 3:1137", year=2003, needs=["causal"])
@dataclass(frozen=True)
class Causal:
    """Cross-entropy of the next token."""

    def __call__(self, model: LanguageModel, batch: Batch, *, generator: torch.Generator) -> Loss:
        output = model(batch.ids, mask=batch.mask, segments=batch.segments)
        targets = next_tokens(batch)
        return Loss(cross_entropy_sum(output.logits.flatten(0, 1), targets.flatten()), (targets != IGNORED).sum())


def next_tokens(batch: Batch) -> Tensor:
    """(batch, time): the token after each position, IGNORED where that is padding, another document, or nothing."""
    return pad(batch.ids[:, 1:], (0, 1), value=IGNORED).masked_fill(~batch.predicts(), IGNORED)
