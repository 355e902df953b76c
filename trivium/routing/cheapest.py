"""Cheapest expert: every prompt goes to the model that costs least.

Source
    Textbook; no single paper. The other end of the front from the router that asks for loss alone.
Equation
    choice(x) = argmin_i  C(i)
Shapes
    prompts, losses (prompts, experts), experts -> a router: prompts -> (prompts,) int64
Cost
    None.
Caveats
    Of experts that cost the same, the one of least mean loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.nouns import Experts
from trivium.routing._fitting import Always, observed


@method(title="Cheapest expert", source="textbook", year=0)
@dataclass(frozen=True)
class Cheapest:
    """The least cost, whatever is lost."""

    cost: str = "size"
    """Which of the experts' costs counts."""

    def fit(self, prompts: Sequence[str], losses: Tensor, experts: Experts, *, generator: torch.Generator) -> Always:
        mean = observed(prompts, losses, experts)[0].nanmean(0)
        cost = experts.cost(self.cost)
        return Always(int(mean.where(cost == cost.min(), float("inf")).argmin()))
