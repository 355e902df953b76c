"""Gradient × input: how much each embedding contributes to the prediction where the model is taken as linear.

Source
    Shrikumar et al. 2016, "Not Just a Black Box: Learning Important Features Through Propagating Activation
    Differences", arXiv:1605.01713; for embeddings as in Atanasova et al. 2020, arXiv:2009.13295.
Equation
    score_i = sum_c E_ic * df/dE_ic
Shapes
    ids (time,) -> embeddings E (time, width) -> scores (time,)
Cost
    One forward and one backward pass of one row.
Caveats
    Signed, and not normalised: a softmax over the scores, which some published code applies, flattens them nearly to
    uniform. The tensor that is multiplied is the tensor that was differentiated, the embedding as it enters the model,
    without position embeddings; some published code multiplies by token plus position embedding. The linear picture
    is local: a saturated prediction has small gradients at the very tokens that decide it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.attribution._prediction import Prediction
from trivium.core.method import method
from trivium.core.nouns import Attribution, Target
from trivium.core.protocols import LanguageModel
from trivium.nn.modes import evaluating


@method(title="Gradient × input", source="arXiv:1605.01713", year=2016, needs=["causal", "embeds", "gradient"])
@dataclass(frozen=True)
class GradientTimesInput:
    """The product of each embedding with the gradient at it; nothing to set."""

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
        with evaluating(model):
            embeds = prediction.embeds()  # (time, width)
            value, gradient = prediction.gradients(embeds[None])
        scores = (embeds * gradient[0]).sum(-1).where(prediction.free, 0)
        return prediction.attribution(scores, value=value.item())
