"""Random points of the convex hull: each new row a random mean of a few old ones.

Source
    The control that the hull theorem of Mundra et al. 2024, arXiv:2407.05841, calls for; the draw is our choice.
Equation
    e_new = sum_i a_i e_i over k random old rows,   a ~ Dirichlet(alpha, ..., alpha)
Shapes
    system x tokenizer -> system; rows (new tokens, width), and as many of the head where it is not tied
Cost
    O(new tokens k D).
Caveats
    Says what being in the hull does by itself: the largest logit is always an old token's, so that greedy output is
    unchanged, while nothing about the new tokens is known. The same mean is taken of embedding and head.
"""

from dataclasses import dataclass

import torch

from trivium.core.method import method
from trivium.nn.neighbours import combine
from trivium.vocabulary._frame import Filling, Frame, Initialiser, Match, check_match


@method(title="Random hull points", source="arXiv:2407.05841", year=2024)
@dataclass(frozen=True)
class HullRandom(Initialiser):
    """Random weights, at least 0 and of sum 1, over random old rows."""

    k: int = 10
    """Old rows in each mean."""
    alpha: float = 1.0
    """Of the Dirichlet: large gives equal weights, small gives nearly all to one row."""
    match: Match = "exact"
    """When a token of the new vocabulary is one of the old."""

    def __post_init__(self) -> None:
        check_match(self.match)
        if self.k < 1:
            raise ValueError(f"k must be at least one old row, got {self.k}")
        if self.alpha <= 0:
            raise ValueError(f"alpha of a Dirichlet must be positive, got {self.alpha}")

    def fill(self, frame: Frame, generator: torch.Generator) -> Filling:
        count = min(self.k, len(frame.old))
        even = torch.ones(len(frame.old), dtype=torch.float64, device=generator.device)
        draws = [torch.multinomial(even, count, generator=generator) for _ in range(len(frame.new))]
        places = torch.stack(draws).cpu()
        shape = torch.full((len(frame.new), count), self.alpha, dtype=torch.float64, device=generator.device)
        gamma = torch._standard_gamma(shape, generator=generator).cpu().clamp(min=1e-300)
        weights = gamma / gamma.sum(1, keepdim=True)
        return Filling(lambda source: combine(source, places, weights))
