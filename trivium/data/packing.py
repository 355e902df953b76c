"""Documents as ids, end to end in rows of one length."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core.protocols import Tokenizer


@dataclass(frozen=True)
class Packed:
    """``ids`` (rows, length) int64; ``segments`` (rows, length) int64: number of the document within the row."""

    ids: Tensor
    segments: Tensor

    def __len__(self) -> int:
        return self.ids.shape[0]


def tokenised(documents: Iterable[str], tokenizer: Tokenizer) -> list[list[int]]:
    """Each document as ids: what the tokenizer wants before a text, the text, and eos, where there are such."""
    opening = list(getattr(tokenizer, "opening", ()))
    end = [] if tokenizer.eos is None else [tokenizer.eos]
    return [opening + tokenizer.encode(document) + end for document in documents]


def pack(documents: Sequence[Sequence[int]], length: int) -> Packed:
    """Documents one after another, cut into rows; a document may go on in the next row, as a segment of its own there.

    No padding: the tail that fills no row is left out. Raises ValueError where that is everything.
    """
    if length < 2:
        raise ValueError(f"a row needs at least 2 tokens to predict one from another, got length {length}")
    total = sum(map(len, documents))
    rows = total // length
    if rows == 0:
        raise ValueError(f"{total} tokens fill no row of {length}; give more text or a shorter length")
    ids = torch.tensor([id for document in documents for id in document], dtype=torch.int64)
    owners = torch.repeat_interleave(
        torch.arange(len(documents)), torch.tensor([len(document) for document in documents], dtype=torch.int64)
    )
    ids, owners = ids[: rows * length].view(rows, length), owners[: rows * length].view(rows, length)
    begins = torch.zeros_like(owners)
    begins[:, 1:] = owners[:, 1:] != owners[:, :-1]
    return Packed(ids, begins.cumsum(1))
