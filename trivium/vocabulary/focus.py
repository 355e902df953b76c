"""FOCUS: new tokens from the shared ones that are used alike in the new language.

Source
    Dobler and de Melo 2023, "FOCUS: Effective Embedding Initialization for Monolingual Specialization of Multilingual
    Models", arXiv:2305.14481; defaults of the authors' code (the paper's vectors have 300 dimensions).
Equation
    x_t: fastText vectors of the tokens of the new tokenizer, trained on text in the new language
    w = sparsemax(cos(x_t, x_a) over anchors a);   e_new(t) = sum_a w_a e_a;   anchors: shared tokens with a vector
    sparsemax(z) = max(z - tau, 0),  tau = (sum of the largest k - 1) / k,  k = max {j : 1 + j z_(j) > sum_{i<=j} z_(i)}
Shapes
    system x tokenizer -> system; rows (new tokens, width), and as many of the head where it is not tied
Cost
    Training the vectors (seconds per million tokens), then new x anchors cosines.
Caveats
    Needs the package gensim for the vectors, which train on one thread so that they are the same each time. Tokens
    rarer than ``min_count`` in the text get univariate rows (with the spread that divides by n - 1, as in the code) and
    are reported as uncovered. Where a vocabulary is extended, anchors are those old tokens that occur in text of the
    new language as the new tokenizer cuts it. Buckets of n-grams are fewer than fastText's two million for small
    vocabularies.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.data.word_vectors import train_vectors
from trivium.nn.neighbours import cosines, sparsemax
from trivium.vocabulary._frame import Filling, Frame, Initialiser, Match, check_match, mixed, normal

BLOCK = 1024


@method(title="FOCUS", source="arXiv:2305.14481", year=2023)
@dataclass(frozen=True)
class Focus(Initialiser):
    """Sparse convex combinations of shared tokens, by vectors trained on the new language."""

    width: int = 100
    """Of the auxiliary vectors."""
    epochs: int = 3
    min_count: int = 10
    """Tokens that are rarer have no vector."""
    match: Match = "exact"
    """When a token of the new vocabulary is one of the old."""

    reads: ClassVar[tuple[str, ...]] = ("new_texts",)

    def __post_init__(self) -> None:
        check_match(self.match)
        for name in ("width", "epochs", "min_count"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def fill(self, frame: Frame, generator: torch.Generator) -> Filling:
        return self.from_vectors(frame, *self.vectors(frame, generator), generator)

    def vectors(self, frame: Frame, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(vocab, width) auxiliary vectors of the new tokens; and (vocab,) bool: which have one."""
        names = _named(frame)
        ids = (frame.tokenizer.encode(text) for text in frame.languages.new_texts)
        trained = train_vectors(
            [[names[id] for id in row] for row in ids],
            width=self.width,
            epochs=self.epochs,
            min_count=self.min_count,
            ngrams=(3, 6),
            generator=generator,
        )
        found = torch.zeros(len(names), dtype=torch.bool)
        vectors = torch.zeros(len(names), self.width, dtype=torch.float64)
        for id, name in enumerate(names):
            if (at := trained.places.get(name)) is not None:
                vectors[id], found[id] = trained.vectors[at].double(), True
        return vectors, found

    def from_vectors(self, frame: Frame, vectors: Tensor, found: Tensor, generator: torch.Generator) -> Filling:
        """The filling, given vectors (vocab, width) and which tokens have one."""
        usable = found & (vectors != 0).any(1)
        anchors = frame.copied[usable[frame.copied]]
        if not len(anchors):
            raise ValueError(
                f"none of the {len(frame.copied)} shared tokens occurs {self.min_count} times in the text, so there is "
                "no anchor; give more text or lower min_count"
            )
        covered, bare = usable[frame.new].nonzero()[:, 0], (~usable[frame.new]).nonzero()[:, 0]
        places = torch.tensor([frame.place[int(id)] for id in frame.origin[anchors]], dtype=torch.int64)

        def means(source: Tensor) -> Tensor:
            blocks = vectors[frame.new[covered]].double().split(BLOCK)
            return torch.cat(
                [sparsemax(cosines(block, vectors[anchors].double())) @ source[places] for block in blocks]
            )

        fill = mixed((covered, means), (bare, normal(len(bare), generator, unbiased=True)), count=len(frame.new))
        return Filling(fill, uncovered=frame.new[bare].tolist(), facts={"anchors": float(len(anchors))})


def _named(frame: Frame) -> list[str]:
    """A name for each new token, which its character n-grams are taken from; equal ones are told apart by their id."""
    texts = frame.texts_of(frame.new_pieces, range(len(frame.new_pieces)))
    seen: set[str] = set()
    names = []
    for id, text in enumerate(texts):
        name = text if text and text not in seen else f"{text}\x00{id}"
        seen.add(name)
        names.append(name)
    return names
