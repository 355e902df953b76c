"""Vectors of subwords out of vectors of the words that contain them."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from trivium.core.protocols import Tokenizer
from trivium.tokenization.pieces import Piece


def subword_vectors(
    tokenizer: Tokenizer, pieces: Sequence[Piece], forms: Iterable[tuple[str, int]], vectors: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """(vocab, width) the weighted mean vector of the words in which a subword occurs, 0 where there are none; and
    (vocab,) bool: where there are some.

    ``forms``: texts, each with the row of its word; a subword counts once in each.
    """
    owners: list[int] = []
    words: list[int] = []
    for text, word in forms:
        for id in set(tokenizer.encode(text)):
            if not pieces[id].special:
                owners.append(id)
                words.append(word)
    at, of = torch.tensor(owners, dtype=torch.int64), torch.tensor(words, dtype=torch.int64)
    total = torch.zeros(len(pieces), vectors.shape[1], dtype=torch.float64)
    mass = torch.zeros(len(pieces), dtype=torch.float64)
    if len(at):
        weight = weights.double()[of]
        mass.index_add_(0, at, weight)
        for start in range(0, len(at), 65536):  # a word has many subwords: their vectors are not held all at once
            stop = start + 65536
            total.index_add_(0, at[start:stop], vectors.double()[of[start:stop]] * weight[start:stop, None])
    found = mass > 0
    mean = torch.where(found[:, None], total / mass.clamp(min=1e-300)[:, None], 0.0)
    return mean, found & (mean != 0).any(1)
