"""Last attention: how much of the last token's attention each token gets in the last layer.

Source
    Jain and Wallace 2019, "Attention is not Explanation", arXiv:1902.10186 (the weights that it questions); as a
    baseline of attribution in Zhao and Shan 2024, arXiv:2402.00794.
Equation
    score_i = mean over heads h of  A_Lh[last, i],   L the last layer
Shapes
    ids (time,) -> weights A (layers, heads, time, time) -> scores (time,), which sum to 1
Cost
    One forward pass of one row, with attention that shows its weights.
Caveats
    Not about the target, and not about tokens: in the last layer a position holds what was mixed from all before it.
    Much of the mass lies on the first position; freeze it (``frozen``) to see the rest.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.attribution._attention import paid
from trivium.attribution._prediction import Prediction
from trivium.core.method import method
from trivium.core.nouns import Attribution, Target
from trivium.core.protocols import LanguageModel


@method(title="Last attention", source="arXiv:1902.10186", year=2019, needs=["causal", "attention"])
@dataclass(frozen=True)
class LastAttention:
    """The last layer's attention of the last position; nothing to set."""

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
        scores = weights[-1, :, -1].mean(0)
        return prediction.attribution(scores.where(prediction.free, 0), value=value)
