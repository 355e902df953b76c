"""What objectives share that hide a part of their input: one draw per row, and the symbol that stands for a token."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trivium.core.nouns import Batch
from trivium.nn.uniform_by_row import uniform_by_row


def check_symbols(mask_id: int | None, special: Sequence[int]) -> None:
    """Raise ValueError for ids that no vocabulary has."""
    for id in (*special, *([] if mask_id is None else [mask_id])):
        if id < 0:
            raise ValueError(f"mask_id and special are token ids, so at least 0; got {id}")


def symbol(mask_id: int | None, vocab_size: int) -> int:
    """The id that stands for a hidden token: the one that is named, or the last of the vocabulary."""
    if mask_id is not None and mask_id >= vocab_size:
        raise ValueError(
            f"mask_id {mask_id} is outside the model's vocabulary of {vocab_size}; build the model with one token more "
            "than its tokenizer has, or name a token that stands in no text"
        )
    return vocab_size - 1 if mask_id is None else mask_id


def drawn(
    batch: Batch, generator: torch.Generator, fields: int, *, alike: bool = False
) -> Float[Tensor, "fields batch time"]:
    """Uniform numbers for each row, by one number of the generator and the row's own tokens."""
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return uniform_by_row(batch.ids, batch.mask, seed=seed, fields=fields, alike=alike)


def real_tokens(batch: Batch) -> Bool[Tensor, "batch time"]:
    """Which places hold a token: all, where nothing is padded."""
    return torch.ones_like(batch.ids, dtype=torch.bool) if batch.mask is None else batch.mask


def place(batch: Batch) -> Int[Tensor, "batch time"]:
    """How many tokens of its row stand before each."""
    return (real_tokens(batch).cumsum(1) - 1).clamp(min=0)


def one_of(ids: Tensor, special: Sequence[int]) -> Tensor:
    """Which ids are among these."""
    return torch.isin(ids, torch.tensor(special, dtype=ids.dtype, device=ids.device))


def smallest(scores: Float[Tensor, "batch time"], wanted: Int[Tensor, " batch"]) -> Bool[Tensor, "batch time"]:
    """Of each row the places of so many smallest scores, with all that tie with the last of them; infinite ones never,
    even where too few others are left."""
    last = scores.sort(1).values.gather(1, (wanted[:, None] - 1).clamp(0, scores.shape[1] - 1))
    return (scores <= last) & scores.isfinite() & (wanted > 0)[:, None]
