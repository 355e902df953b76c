"""Random expert: each prompt goes to a model drawn at random.

Source
    Textbook; no single paper. What a choice is worth is seen beside it.
Equation
    choice(x) uniform over the experts, by a hash of the seed and x
Shapes
    prompts, losses (prompts, experts), experts -> a router: prompts -> (prompts,) int64
Cost
    None.
Caveats
    The same prompt always goes to the same expert, so that neither batch nor order counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core import seeds
from trivium.core.method import method
from trivium.core.nouns import Experts
from trivium.routing._fitting import observed


@method(title="Random expert", source="textbook", year=0)
@dataclass(frozen=True)
class RandomExpert:
    """Any of them."""

    def fit(self, prompts: Sequence[str], losses: Tensor, experts: Experts, *, generator: torch.Generator) -> "Drawn":
        observed(prompts, losses, experts)
        return Drawn(int(torch.randint(2**62, (), generator=generator)), len(experts))


@dataclass(frozen=True)
class Drawn:
    """A router that throws a die for each prompt."""

    seed: int
    experts: int

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        return torch.tensor([seeds.derive(self.seed, prompt) % self.experts for prompt in prompts], dtype=torch.int64)
