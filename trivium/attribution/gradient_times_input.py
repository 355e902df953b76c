"""Gradient × input: how much each embedding contributes to the prediction where the model is taken as linear.

Source
    Shrikumar et al. 2016, "Not Just a Black Box: Learning Important Features Through Propagating Activation
    Differences", arXiv:1605.01713; for embeddings as in Atanasova et al. 2020, arXiv:2009.13295.
Equation
    score_i = sum_c E_ic * df/dE_ic
Shapes
    ids (time,) -> embeddings E (time, width) -> scores (time,)
Cost
    One forward and one backward pass of one row, and a forward pass more for ``factor="stream"``.
Caveats
    The tensor that is multiplied is the tensor that was differentiated, the embedding as it enters the model, without
    position embeddings. ReAGent's code multiplies by token plus position embedding and takes a softmax over the scores,
    which forgets signs and flattens small ones nearly to uniform (``PAPER``). The linear picture is local: a saturated
    prediction has small gradients at the very tokens that decide it.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trivium.attribution._prediction import Prediction, check_normalize
from trivium.core.attributions import Scaling
from trivium.core.errors import NotOffered
from trivium.core.method import method
from trivium.core.nouns import Attribution, Target
from trivium.core.protocols import LanguageModel
from trivium.nn.modes import evaluating


@method(title="Gradient × input", source="arXiv:1605.01713", year=2016, needs=["causal", "embeds", "gradient"])
@dataclass(frozen=True)
class GradientTimesInput:
    """The product of each embedding with the gradient at it."""

    factor: Literal["embedding", "stream"] = "embedding"
    """What the gradient at the embedding is multiplied with: the embedding, or the sum of it and the embedding of its
    position, where a model has such."""
    normalize: Scaling | None = None
    """Scale of the scores: magnitudes that sum or reach to 1, a softmax, or as they come."""

    def __post_init__(self) -> None:
        check_normalize(self.normalize)
        if self.factor not in ("embedding", "stream"):
            raise ValueError(f"factor must be 'embedding' or 'stream', got {self.factor!r}")

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
            factor = embeds if self.factor == "embedding" else self._stream(prediction)
        scores = (factor * gradient[0]).sum(-1).where(prediction.free, 0)
        return prediction.attribution(scores, value=value.item())

    @staticmethod
    def _stream(prediction: Prediction) -> Tensor:
        """(time, width): what enters the first layer."""
        site = "blocks.0.in"
        if site not in prediction.model.sites():
            raise NotOffered(f"factor='stream' needs the site {site!r}, which this model lacks; use factor='embedding'")
        with torch.no_grad(), prediction.model.capture(site) as seen:
            prediction.model(prediction.ids[None], logits_to_keep=1)
            prediction.forwards += 1
        return seen[site][0]


PAPER = GradientTimesInput(factor="stream", normalize="softmax")
"""As the authors of ReAGent run it."""
