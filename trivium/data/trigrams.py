"""Texts as vectors of their byte trigrams: which three bytes stand in a row how often, in so many buckets."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trivium.tokenization.byte import ByteTokenizer

PRIME = 2_654_435_761
"""Knuth's multiplier: what it hashes spreads over the buckets."""


def trigrams(texts: Sequence[str], width: int = 1024) -> Tensor:
    """(texts, width) float64: square roots of the shares of buckets, so that vectors have length 1. A text counts as if
    a space stood before and behind it. Raises ValueError where there is no text, or an empty one."""
    if not texts:
        raise ValueError("there is no text to make a vector of")
    if width < 2:
        raise ValueError(f"width must be at least 2 buckets, got {width}")
    found = torch.zeros(len(texts), width, dtype=torch.float64)
    for row, text in enumerate(texts):
        if not text:
            raise ValueError(f"text {row} is empty and has no vector; leave it out")
        ids = torch.tensor(ByteTokenizer().encode(f" {text} "))
        code = (ids[:-2] * 256 + ids[1:-1]) * 256 + ids[2:]
        bucket = (code * PRIME % 2**32) * width // 2**32
        found[row] = torch.bincount(bucket, minlength=width)
    return (found / found.sum(1, keepdim=True)).sqrt()
