"""Attention: how much of the last token's attention each token gets, on the average over layers and heads.

Source
    Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and Translate", arXiv:1409.0473; as a
    baseline of attribution in Zhao and Shan 2024, arXiv:2402.00794.
Equation
    score_i = mean over layers l and heads h of  A_lh[last, i]
Shapes
    ids (time,) -> weights A (layers, heads, time, time) -> scores (time,), which sum to 1
Cost
    One forward pass of one row, with attention that shows its weights.
Caveats
    Not about the target: all predictions after a prompt get the same scores. Weights say where a head looks, not what
    it takes from there (the values), and what happens in the feed-forwards not at all. Much of the mass lies on the
    first position, which many heads use to look at nothing; freeze it (``frozen``) to see the rest. Published code
    takes a softmax over the scores, which flattens them nearly to uniform; here they stay as they are.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.attribution._attention import paid
from trivium.attribution._prediction import Prediction
from trivium.core.method import method
from trivium.core.nouns import Attribution, Target
from trivium.core.protocols import LanguageModel


@method(title="Attention", source="arXiv:1409.0473", year=2015, needs=["causal", "attention"])
@dataclass(frozen=True)
class Attention:
    """The mean attention of the last position; nothing to set."""

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
        weights, value = paid(prediction)
        scores = weights[:, :, -1].mean((0, 1))
        return prediction.attribution(scores.where(prediction.free, 0), value=value)
