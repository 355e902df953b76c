"""An embedding table as the product of two thin matrices, and the head that reads the same two.

    E = C P,  C (vocab, rank), P (rank, width);   embed(id) = scale C[id] P;   logits(h) = (h P^T) C^T + b

The head multiplies by the factors one after the other, so that a logit costs rank rather than width operations.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class FactorisedEmbedding(nn.Module):
    """Vectors of tokens from ``coordinates`` (vocab, rank) and ``primitives`` (rank, width), times ``scale``."""

    def __init__(self, coordinates: Tensor, primitives: Tensor, scale: float = 1.0) -> None:
        super().__init__()
        if coordinates.ndim != 2 or primitives.ndim != 2 or coordinates.shape[1] != primitives.shape[0]:
            raise ValueError(
                f"coordinates (vocab, rank) and primitives (rank, width) must share the rank; got "
                f"{tuple(coordinates.shape)} and {tuple(primitives.shape)}"
            )
        self.coordinates = nn.Parameter(coordinates.clone())
        self.primitives = nn.Parameter(primitives.clone())
        self.scale = scale
        self.whole: tuple[nn.Module, ...] = ()
        """Table and head that these factors stand for, without their values, where a model is to be given them back."""

    @property
    def weight(self) -> Tensor:
        """(vocab, width): the table itself, made anew each time."""
        return self.coordinates @ self.primitives

    def forward(self, input: Tensor) -> Tensor:
        """(batch, time) -> (batch, time, width)"""
        hidden = F.embedding(input, self.coordinates) @ self.primitives
        return hidden if self.scale == 1.0 else hidden * self.scale


class FactorisedHead(nn.Module):
    """Logits from the factors of an embedding, and a bias (vocab,) of its own where one is given."""

    def __init__(self, embedding: FactorisedEmbedding, bias: Tensor | None = None) -> None:
        super().__init__()
        self.embedding = embedding
        self.bias = None if bias is None else nn.Parameter(bias.clone())

    @property
    def weight(self) -> Tensor:
        """(vocab, width)"""
        return self.embedding.weight

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, time, width) -> (batch, time, vocab)"""
        return F.linear(hidden @ self.embedding.primitives.mT, self.embedding.coordinates, self.bias)
