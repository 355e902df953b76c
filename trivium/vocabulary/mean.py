"""The mean row: every new token begins as the average of the old ones.

Source
    Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models" (note on the author's page); among
    the baselines of Mundra et al. 2024, arXiv:2407.05841. From general knowledge.
Equation
    e_new = (1 - jitter) mean_i e_i + jitter e_r,   r drawn uniformly from the old rows
Shapes
    system x tokenizer -> system; rows (new tokens, width), and as many of the head where it is not tied
Cost
    One pass over the table.
Caveats
    Without jitter all new tokens have one logit and one gradient until something tells them apart. The jitter stays in
    the convex hull of the old rows, so that no new token can have the largest logit: greedy output is unchanged.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.vocabulary._frame import Filling, Frame, Initialiser, Match, check_match


@method(title="Mean row", source="Hewitt 2021", year=2021)
@dataclass(frozen=True)
class Mean(Initialiser):
    """The mean of the old rows, and a little of one of them."""

    jitter: float = 1e-4
    """Share of a random old row, which tells new rows apart; 0 makes them equal."""
    match: Match = "exact"
    """When a token of the new vocabulary is one of the old."""

    def __post_init__(self) -> None:
        check_match(self.match)
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter is a share, so 0 to below 1; got {self.jitter}")

    def fill(self, frame: Frame, generator: torch.Generator) -> Filling:
        drawn = torch.randint(len(frame.old), (len(frame.new),), generator=generator, device=generator.device).cpu()

        def fill(source: Tensor) -> Tensor:
            return (1 - self.jitter) * source.mean(0) + self.jitter * source[drawn]

        return Filling(fill)
