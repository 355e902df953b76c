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
    Much of the mass lies on the first position; freeze it (``frozen``) to see the rest. Of an answer of several
    tokens the places that predict them count alike.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.attribution._attention import of_the_answer, paid
from trivium.attribution._prediction import Prediction, check_normalize
from trivium.core.attributions import Scaling
from trivium.core.method import method
from trivium.core.nouns import Attribution, Axes, Target
from trivium.core.protocols import LanguageModel


@method(title="Last attention", source="arXiv:1902.10186", year=2019, needs=["causal", "attention"])
@dataclass(frozen=True)
class LastAttention:
    """The last layer's attention of the last position."""

    normalize: Scaling | None = None
    """Scale of the scores: magnitudes that sum or reach to 1, a softmax, or as they come."""

    def __post_init__(self) -> None:
        check_normalize(self.normalize)

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
        paid_to = of_the_answer(weights[-1], prediction)  # (heads, time)
        arrays = {"heads": Axes(("head", "token"), paid_to)}
        return prediction.attribution(paid_to.mean(0).where(prediction.free, 0), arrays, value=value)


PAPER = LastAttention(normalize="softmax")
"""As the authors of ReAGent run it."""
