"""Attention rollout: the attention of all layers multiplied, with the stream that passes each layer by.

Source
    Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", arXiv:2005.00928, section 3.
Equation
    R_l = (1 - residual) mean_h A_lh + residual I;   score_i = (R_L ... R_1)[last, i]
Shapes
    ids (time,) -> weights A (layers, heads, time, time) -> scores (time,), which sum to 1
Cost
    One forward pass of one row, with attention that shows its weights, and a product of (time, time) per layer.
Caveats
    Not about the target. Heads are averaged and values, feed-forwards and norms left out; that a layer's output counts
    as much as what passes it by (a half each) is the paper's assumption. Through many layers the mass gathers on the
    first positions; freeze the first (``frozen``) to see the rest. Of an answer of several tokens the places that
    predict them count alike.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.attribution._attention import paid
from trivium.attribution._prediction import Prediction, check_normalize
from trivium.core.attributions import Scaling
from trivium.core.method import method
from trivium.core.nouns import Attribution, Axes, Target
from trivium.core.protocols import LanguageModel


@method(title="Attention rollout", source="arXiv:2005.00928", year=2020, needs=["causal", "attention"])
@dataclass(frozen=True)
class AttentionRollout:
    """Attention followed down through the layers."""

    residual: float = 0.5
    """Share of a layer's output that is taken to be what passed it by; 1 says that tokens never mix."""
    normalize: Scaling | None = None
    """Scale of the scores: magnitudes that sum or reach to 1, a softmax, or as they come."""

    def __post_init__(self) -> None:
        check_normalize(self.normalize)
        if not 0.0 <= self.residual <= 1.0:
            raise ValueError(f"residual is a share, so 0 to 1; got {self.residual}")

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
        time, places = len(ids), weights[0].shape[-1]
        rows = torch.eye(places, dtype=weights[0].dtype, device=weights[0].device)[time - 1 :]
        reached = []
        for layer in reversed(weights):  # from the places that predict the answer, from the top down
            rows = (1 - self.residual) * (rows @ layer.mean(0)) + self.residual * rows
            reached.append(rows[:, :time].mean(0))
        scores = reached[-1].where(prediction.free, 0)
        arrays = {"layers": Axes(("layer", "token"), torch.stack(reached[::-1]))}
        return prediction.attribution(scores, arrays, value=value)


PAPER = AttentionRollout(normalize="softmax")
"""As the authors of ReAGent run it."""
