"""Best single expert: every prompt goes to the model that loses least on average.

Source
    Textbook; no single paper. The baseline of every router.
Equation
    choice(x) = argmin_i  mean_x' L_i(x') + weight C(i)
Shapes
    prompts, losses (prompts, experts), experts -> a router: prompts -> (prompts,) int64
Cost
    A mean; the chosen expert alone need be kept.
Caveats
    Means are over the losses that were observed, so that experts that fail on hard prompts look better than they are;
    flags in prompts are not heard.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.nouns import Experts
from trivium.routing._fitting import Always, observed


@method(title="Best single expert", source="textbook", year=0)
@dataclass(frozen=True)
class BestSingle:
    """One for all."""

    weight: float = 0.0
    """Of the cost, beside the mean loss."""
    cost: str = "size"
    """Which of the experts' costs the weight is of."""

    def __post_init__(self) -> None:
        if not self.weight >= 0.0:
            raise ValueError(f"weight must not be negative, got {self.weight}")

    def fit(self, prompts: Sequence[str], losses: Tensor, experts: Experts, *, generator: torch.Generator) -> Always:
        losses, _ = observed(prompts, losses, experts)
        mean = losses.nanmean(0)
        return Always(int((mean + self.weight * experts.cost(self.cost) if self.weight else mean).argmin()))
