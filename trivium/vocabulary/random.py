"""Random rows: what a model gets that is simply made larger.

Source
    The usual start of embedding tables, N(0, 0.02^2), as in Radford et al. 2019 (GPT-2); from general knowledge.
Equation
    e_new ~ N(0, std^2 I)
Shapes
    system x tokenizer -> system; rows (new tokens, width), and as many of the head where it is not tied
Cost
    None.
Caveats
    A baseline. The length of the rows has nothing to do with that of the old ones, so that new tokens can have the
    largest logits of all: greedy output of the old language changes at once. A head's bias is drawn alike.
"""

from dataclasses import dataclass

import torch

from trivium.core.method import method
from trivium.vocabulary._frame import Filling, Frame, Initialiser, Match, check_match, draw


@method(title="Random rows", source="Radford et al. 2019 (GPT-2)", year=2019)
@dataclass(frozen=True)
class Random(Initialiser):
    """Each number of a new row drawn by itself."""

    std: float = 0.02
    match: Match = "exact"
    """When a token of the new vocabulary is one of the old."""

    def __post_init__(self) -> None:
        check_match(self.match)
        if self.std <= 0:
            raise ValueError(f"std must be positive, got {self.std}: rows of zeros never differ from each other")

    def fill(self, frame: Frame, generator: torch.Generator) -> Filling:
        return Filling(lambda source: self.std * draw(len(frame.new), source.shape[1], generator))
