"""Occlusion: a token matters as much as the prediction falls when that token is replaced.

Source
    Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901 (section 4.2), as
    used for tokens by Li et al. 2016, "Understanding Neural Networks through Representation Erasure",
    arXiv:1612.08220.
Equation
    score_i = f(x) - f(x with position i replaced by r)
Shapes
    ids (time,) -> scores (time,); the model sees (time + 1, time) in batches
Cost
    time + 1 rows of forward passes, no backward pass; no gradient is needed. Where the model's states can be cut, what
    stands before the hidden tokens is not passed again, which saves about 45 % of the positions.
Caveats
    The papers leave the replacement open, and it decides what the score means. Ours is the mean embedding of the
    vocabulary: it carries no word, needs no special token and stays where the model has seen inputs, while the zero
    vector lies outside them (a norm layer turns it into zero whatever the scale) and an end-of-text token tells the
    model that the text begins anew. One token is replaced at a time, so two tokens that each suffice alone both score
    about zero.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.attribution._prediction import Neutral, Prediction, check_neutral
from trivium.attribution._replacing import Replacing
from trivium.core.method import method
from trivium.core.nouns import Attribution, Target
from trivium.core.protocols import LanguageModel
from trivium.nn.modes import evaluating

FEWEST = 4
"""Rows of the smallest pass where neighbours share what stands before them: the fewer, the more they share."""


@method(title="Occlusion", source="arXiv:1311.2901", year=2014, needs=["causal"])
@dataclass(frozen=True)
class Occlusion:
    """The fall of the prediction as each token is replaced in turn."""

    replacement: Neutral = "mean"
    """The mean embedding of the vocabulary, the zero vector, or a token id (which asks for no embeddings)."""
    batch_size: int = 32
    """Inputs per pass."""

    def __post_init__(self) -> None:
        check_neutral("replacement", self.replacement)
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")

    def __call__(
        self,
        model: LanguageModel,
        ids: Tensor,
        target: Target,
        *,
        generator: torch.Generator,
        frozen: Tensor | None = None,
    ) -> Attribution:
        prediction = Prediction(self, model, ids, target, frozen)
        places = torch.arange(len(ids), device=model.device)
        free = prediction.free.nonzero()[:, 0]
        with evaluating(model), torch.no_grad():
            occlude = Replacing(prediction, self.replacement)
            size = min(self.batch_size, max(FEWEST, len(free) // 8)) if occlude.shares else self.batch_size
            value = occlude.whole()
            falls = [value - occlude(rows[:, None] == places) for rows in free.split(size) if len(rows)]
        scores = torch.zeros(len(ids), dtype=value.dtype, device=value.device)
        scores[free] = torch.cat([value[:0], *falls])
        return prediction.attribution(scores, value=value.item())
