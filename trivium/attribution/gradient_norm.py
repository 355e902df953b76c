"""Gradient norm: how steeply the prediction changes with a token's embedding, in whatever direction.

Source
    Simonyan et al. 2014, "Deep Inside Convolutional Networks", arXiv:1312.6034; for text Li et al. 2016, "Visualizing
    and Understanding Neural Models in NLP", arXiv:1506.01066.
Equation
    score_i = | df/dE_i |, the Euclidean norm, or the sum of magnitudes
Shapes
    ids (time,) -> embeddings E (time, width) -> scores (time,)
Cost
    One forward and one backward pass of one row.
Caveats
    Never negative: it says that a token matters, not whether for or against. It grows where embeddings are short, and a
    saturated prediction has small gradients at the very tokens that decide it.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trivium.attribution._prediction import Prediction, check_normalize
from trivium.core.attributions import Scaling
from trivium.core.method import method
from trivium.core.nouns import Attribution, Target
from trivium.core.protocols import LanguageModel
from trivium.nn.modes import evaluating


@method(title="Gradient norm", source="arXiv:1312.6034", year=2014, needs=["causal", "embeds", "gradient"])
@dataclass(frozen=True)
class GradientNorm:
    """The length of the gradient at each embedding."""

    norm: Literal["l2", "l1"] = "l2"
    normalize: Scaling | None = None
    """Scale of the scores: magnitudes that sum or reach to 1, a softmax, or as they come."""

    def __post_init__(self) -> None:
        check_normalize(self.normalize)
        if self.norm not in ("l2", "l1"):
            raise ValueError(f"norm must be 'l2' or 'l1', got {self.norm!r}")

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
            value, gradient = prediction.gradients(prediction.embeds()[None])
        scores = gradient[0].norm(p=2 if self.norm == "l2" else 1, dim=-1)
        return prediction.attribution(scores.where(prediction.free, 0), value=value.item())


PAPER = GradientNorm(normalize="softmax")
"""As the authors of ReAGent run it."""
