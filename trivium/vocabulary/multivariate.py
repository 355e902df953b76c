"""Multivariate normal rows: drawn around the mean with the covariance of the old rows, scaled down.

Source
    Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models"; the scale 1e-5 is that of the
    repository of Mundra et al. 2024, arXiv:2407.05841.
Equation
    e_new ~ N(mu, scale Sigma),   Sigma = (E - mu)^T (E - mu) / V,   drawn as mu + sqrt(scale) L z
    L: Cholesky factor of Sigma + 1e-8 tr(Sigma) / D I
Shapes
    system x tokenizer -> system; rows (new tokens, width), and as many of the head where it is not tied
Cost
    O(V D^2 + D^3), once for the embedding and once for a head that is not tied.
Caveats
    With scale 1 new rows are as long as old ones and some win the largest logit; with 1e-5 they are the mean with a
    little noise that the old rows give its shape. No row need be in the convex hull of the old ones.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.vocabulary._frame import Filling, Frame, Initialiser, Match, check_match, draw


@method(title="Multivariate normal rows", source="arXiv:2407.05841", year=2021)
@dataclass(frozen=True)
class Multivariate(Initialiser):
    """Draws with the covariance of the old rows."""

    scale: float = 1e-5
    """By which the covariance is multiplied."""
    match: Match = "exact"
    """When a token of the new vocabulary is one of the old."""

    def __post_init__(self) -> None:
        check_match(self.match)
        if self.scale < 0:
            raise ValueError(f"scale multiplies a variance, so it is not negative; got {self.scale}")

    def fill(self, frame: Frame, generator: torch.Generator) -> Filling:
        def fill(source: Tensor) -> Tensor:
            mean, width = source.mean(0), source.shape[1]
            covariance = (source - mean).mT @ (source - mean) / len(source)
            ridge = 1e-8 * covariance.trace() / width
            if ridge <= 0:  # one old row, or all equal
                return mean.expand(len(frame.new), -1).clone()
            factor = torch.linalg.cholesky(covariance + ridge * torch.eye(width, dtype=source.dtype))
            return mean + self.scale**0.5 * draw(len(frame.new), width, generator) @ factor.mT

        return Filling(fill)
