"""Where words end in a run of bytes, and words of many lengths side by side at little waste.

A word ends with a byte that ends words (white space), or where it is as long as words may be; so what comes later never
changes a word that has ended. Words put end to end are the bytes again, whatever the bytes are.

Words of one array lie end to end ("flat"). To be worked on together they are laid out in groups of similar length, so
that one long word does not make short ones as expensive as itself.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

WHITE_SPACE = (9, 10, 11, 12, 13, 32)
"""Bytes that end a word: what ASCII calls white space."""


def words(
    ending: Bool[Tensor, "time"], fresh: Bool[Tensor, "time"], limit: int
) -> tuple[Int[Tensor, "time"], Bool[Tensor, "time"]]:
    """Place of each byte in its word, and whether it is the last of a word that has ended.

    ``ending``: bytes that end a word by what they are; ``fresh``: bytes that begin a text. No word has more than
    ``limit`` bytes.
    """
    time = torch.arange(len(ending), device=ending.device)
    begins = fresh.clone()
    begins[:1] = True
    begins[1:] |= ending[:-1]
    place = (time - torch.where(begins, time, 0).cummax(0).values) % limit
    return place, ending | (place == limit - 1)


def words_reference(
    ending: Bool[Tensor, "time"], fresh: Bool[Tensor, "time"], limit: int
) -> tuple[Int[Tensor, "time"], Bool[Tensor, "time"]]:
    """``words`` byte by byte."""
    places: list[int] = []
    ended: list[bool] = []
    for time in range(len(ending)):
        goes_on = time > 0 and not ended[-1] and not bool(fresh[time])
        places.append(places[-1] + 1 if goes_on else 0)
        ended.append(bool(ending[time]) or places[-1] == limit - 1)
    return torch.tensor(places, dtype=torch.int64), torch.tensor(ended, dtype=torch.bool)


def starts_of(lengths: Int[Tensor, "words"]) -> Int[Tensor, "words"]:
    """Where each of several runs begins when they lie end to end."""
    return lengths.cumsum(0) - lengths


def grouped(lengths: Int[Tensor, "words"]) -> list[tuple[Int[Tensor, "some"], int]]:
    """Numbers of the words that are worked on together, and the length of the longest of them.

    Within a group lengths differ by less than a factor of 2, so less than half of it is padding.
    """
    if lengths.numel() == 0:
        return []
    size = torch.frexp(lengths.double()).exponent  # 2^(size - 1) <= length < 2^size
    groups = []
    for level in size.unique():
        some = (size == level).nonzero()[:, 0]
        groups.append((some, int(lengths[some].max())))
    return groups
