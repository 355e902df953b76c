"""What is at hand of languages when a model is given a new vocabulary: texts, word vectors, a dictionary."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from trivium.core.errors import NotFinite


@dataclass(frozen=True, eq=False)
class WordVectors:
    """``vectors`` (words, width), one for each of ``words``; ``counts``: how often each was seen, where that is known.

    Raises ValueError for shapes that do not fit and for words that stand twice, NotFinite for numbers that are none.
    """

    words: tuple[str, ...]
    vectors: Tensor
    counts: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.words) or not self.words:
            raise ValueError(f"{len(self.words)} words need as many vectors, got a tensor {tuple(self.vectors.shape)}")
        if self.counts is not None and (len(self.counts) != len(self.words) or min(self.counts) < 1):
            raise ValueError(f"counts must be one positive number for each of the {len(self.words)} words")
        if len(self.places) < len(self.words):
            twice = next(word for at, word in enumerate(self.words) if self.places[word] != at)
            raise ValueError(f"the word {twice!r} has two vectors; keep one of them")
        if not self.vectors.isfinite().all():
            bad = self.words[int((~self.vectors.isfinite().all(1)).nonzero()[0, 0])]
            raise NotFinite(f"the vector of {bad!r} is not finite; train or copy the vectors again")

    @cached_property
    def places(self) -> dict[str, int]:
        """Word -> its row."""
        return {word: at for at, word in enumerate(self.words)}

    @property
    def width(self) -> int:
        return self.vectors.shape[1]

    def __len__(self) -> int:
        return len(self.words)

    def weights(self) -> Tensor:
        """(words,) float64: the counts, or 1 each."""
        if self.counts is None:
            return torch.ones(len(self), dtype=torch.float64)
        return torch.tensor(self.counts, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Languages:
    """What is at hand of the language that a model is to learn ("new") and of those that it knows ("old").

    ``dictionary``: pairs of an old word and a new one that means the same. A method says in ``reads`` which of these it
    needs; a field that is empty counts as not at hand.
    """

    new_texts: Sequence[str] = ()
    old_texts: Sequence[str] = ()
    new_words: WordVectors | None = None
    old_words: WordVectors | None = None
    dictionary: Sequence[tuple[str, str]] = ()

    def lacks(self, fields: Sequence[str]) -> tuple[str, ...]:
        """Those of the fields that are empty."""
        return tuple(name for name in fields if not _there(getattr(self, name)))


def _there(value: object) -> bool:
    return value is not None and (not isinstance(value, Sequence) or len(value) > 0)


NOTHING = Languages()
