"""Univariate normal rows: each coordinate drawn with the mean and spread it has over the old rows.

Source
    The fallback of Minixhofer et al. 2022 (WECHSEL), arXiv:2112.06598, and of the methods after it.
Equation
    e_new[j] ~ N(mean_j, std_j^2),  over the old rows, each coordinate by itself
Shapes
    system x tokenizer -> system; rows (new tokens, width), and as many of the head where it is not tied
Cost
    One pass over the table.
Caveats
    Coordinates that go together in the old rows do not in the new ones. Rows that no text has are left out of mean and
    spread, which divides by the number of rows.
"""

from dataclasses import dataclass

import torch

from trivium.core.method import method
from trivium.vocabulary._frame import Filling, Frame, Initialiser, Match, check_match, normal


@method(title="Univariate normal rows", source="arXiv:2112.06598", year=2022)
@dataclass(frozen=True)
class Univariate(Initialiser):
    """Mean and spread of each coordinate are those of the old rows."""

    match: Match = "exact"
    """When a token of the new vocabulary is one of the old."""

    def __post_init__(self) -> None:
        check_match(self.match)

    def fill(self, frame: Frame, generator: torch.Generator) -> Filling:
        return Filling(normal(len(frame.new), generator))
