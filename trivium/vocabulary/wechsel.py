"""WECHSEL: new subwords from the old ones that mean alike, by word vectors of both languages in one space.

Source
    Minixhofer, Paischer and Rekabsaz 2022, "WECHSEL: Effective initialization of subword embeddings for cross-lingual
    transfer of monolingual language models", arXiv:2112.06598. k and temperature as later work reuses them.
Equation
    R = argmin over rotations of |X_new R - X_old| over the pairs of a dictionary   (= U V^T, SVD of X_new^T X_old)
    u(s) = mean of the vectors of the words that contain subword s, by their counts
    e_new(s) = sum over the k old subwords t nearest to u(s) R of softmax(cos(u(s) R, u(t)) / temperature) e_t
Shapes
    system x tokenizer -> system; rows (new tokens, width), and as many of the head where it is not tied
Cost
    Both tokenizers on every word; new x old cosines.
Caveats
    Needs word vectors of both languages, and a dictionary unless they are aligned already. A word is cut with and
    without a space before it. Copying shared tokens is the common frame's; the paper initialises these, too. Subwords
    in no known word get univariate rows and are reported as uncovered. The other way of the paper, sums of fastText
    n-grams, is left out: it needs fastText's own model files. With less than ``width`` pairs the rotation is not
    determined; a warning says so.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trivium.core.languages import WordVectors
from trivium.core.method import method
from trivium.core.protocols import Tokenizer
from trivium.nn.neighbours import combine, nearest, procrustes
from trivium.tokenization.pieces import Piece
from trivium.vocabulary._frame import Filling, Frame, Initialiser, Match, check_match, mixed, normal
from trivium.vocabulary._words import subword_vectors

log = logging.getLogger(__name__)


@method(title="WECHSEL", source="arXiv:2112.06598", year=2022)
@dataclass(frozen=True)
class Wechsel(Initialiser):
    """Weighted means of the old rows that are nearest in a shared space of word vectors."""

    k: int = 10
    """Old subwords in each mean."""
    temperature: float = 0.1
    match: Match = "exact"
    """When a token of the new vocabulary is one of the old."""

    reads: ClassVar[tuple[str, ...]] = ("new_words", "old_words")

    def __post_init__(self) -> None:
        check_match(self.match)
        check_neighbours(self.k, self.temperature)

    def fill(self, frame: Frame, generator: torch.Generator) -> Filling:
        old, new = frame.languages.old_words, frame.languages.new_words
        assert old is not None
        assert new is not None
        rotation = align(old, new, frame.languages.dictionary)
        old_vectors, old_found = spelt(frame.system.tokenizer, frame.old_pieces, old)
        new_vectors, new_found = spelt(frame.tokenizer, frame.new_pieces, new)
        known = frame.old[old_found[frame.old]]
        if not len(known):
            raise ValueError("no old token occurs in any old word; give vectors of words of the model's language")
        covered = new_found[frame.new].nonzero()[:, 0]
        bare = (~new_found[frame.new]).nonzero()[:, 0]
        near, weights = nearest(
            new_vectors[frame.new[covered]] @ rotation, old_vectors[known], self.k, self.temperature
        )
        places = torch.tensor([frame.place[id] for id in known.tolist()], dtype=torch.int64)[near]
        means = lambda source: combine(source, places, weights)  # noqa: E731
        fill = mixed((covered, means), (bare, normal(len(bare), generator)), count=len(frame.new))
        return Filling(
            fill, uncovered=frame.new[bare].tolist(), facts={"pairs": float(len(frame.languages.dictionary))}
        )


def spelt(tokenizer: Tokenizer, pieces: Sequence[Piece], words: WordVectors) -> tuple[Tensor, Tensor]:
    """Vectors of subwords; a word stands with and without a space before it."""
    forms = ((text, at) for at, word in enumerate(words.words) for text in (word, " " + word))
    return subword_vectors(tokenizer, pieces, forms, words.vectors, words.weights())


def align(old: WordVectors, new: WordVectors, dictionary: Sequence[tuple[str, str]]) -> Tensor:
    """(width, width): the rotation of new vectors into the space of the old ones; none without a dictionary.

    Raises ValueError where no pair is known to both, or the widths differ.
    """
    if old.width != new.width:
        raise ValueError(
            f"vectors of old words are {old.width} wide and those of new ones {new.width}; train them alike"
        )
    if not dictionary:
        return torch.eye(old.width, dtype=torch.float64)
    pairs = [(old.places[a], new.places[b]) for a, b in dictionary if a in old.places and b in new.places]
    if not pairs:
        raise ValueError(
            f"of {len(dictionary)} pairs of the dictionary none has vectors for both words; the old word stands first"
        )
    if len(pairs) < old.width:
        log.warning("%d pairs of words do not determine a rotation of %d dimensions", len(pairs), old.width)
    ours, theirs = (torch.tensor(side) for side in zip(*pairs, strict=True))
    return procrustes(new.vectors.double()[theirs], old.vectors.double()[ours])


def check_neighbours(k: int, temperature: float) -> None:
    """Raise ValueError for a mean over no neighbour, or a temperature that is none."""
    if k < 1:
        raise ValueError(f"k must be at least one neighbour, got {k}")
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}; the limit 0 is k=1")
