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
    first position, which many heads use to look at nothing; freeze it (``frozen``) to see the rest. Of an answer of
    several tokens, the places that predict them count alike, and what they pay to the answer itself is left out.
    ReAGent's code takes a softmax over the scores (``PAPER``), which flattens them nearly to uniform.
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


@method(title="Attention", source="arXiv:1409.0473", year=2015, needs=["causal", "attention"])
@dataclass(frozen=True)
class Attention:
    """The mean attention of the last position."""

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
        paid_to = [of_the_answer(layer, prediction) for layer in weights]  # (heads, time) each
        layers = torch.stack([layer.mean(0) for layer in paid_to])
        if len({len(layer) for layer in paid_to}) == 1:
            arrays = {"heads": Axes(("layer", "head", "token"), torch.stack(paid_to))}
        else:
            arrays = {"layers": Axes(("layer", "token"), layers)}
        return prediction.attribution(layers.mean(0).where(prediction.free, 0), arrays, value=value)


PAPER = Attention(normalize="softmax")
"""As the authors of ReAGent run it: the softmax makes a row that sums to 1 already nearly uniform."""
