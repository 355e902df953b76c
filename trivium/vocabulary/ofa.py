"""OFA: new subwords from old ones by multilingual word vectors, in an embedding of low rank.

Source
    Liu, Lin, Wang and Schuetze 2023, "OFA: A Framework of Initializing Unseen Subword Embeddings for Efficient
    Large-scale Multilingual Continued Pretraining", arXiv:2311.08849.
Equation
    E_old = A S B^T;   C_old = A[:, :d],  P = S_d B_d^T   (balance 'sqrt': C_old = A_d S_d^1/2, P = S_d^1/2 B_d^T)
    u(s) = mean of the vectors of the words whose cuts contain subword s
    c_new(s) = c_old(s) where shared
    else sum over the k nearest old subwords t of softmax(cos(u(s), u(t)) / T) c_old(t)
    else c_j ~ N(mean_j, std_j^2) of C_old
    embed(id) = c[id] P;   logits(h) = (h P^T) C^T + b
Shapes
    system x tokenizer -> system; C (new vocab, rank), P (rank, width): V d + d D parameters in place of V D
Cost
    One singular value decomposition of the table; both tokenizers on three forms of every word; new x old cosines.
Caveats
    A has orthonormal columns, so the entries of C are about 1/sqrt(V) while P is large: one learning rate moves C far
    faster. 'sqrt' shares the singular values between the two; it is not the paper's. Signs of singular vectors are
    fixed so that the largest entry of each right one is positive. Position embeddings and norms were trained on inputs
    of full rank: watch the first steps. Old subwords without a vector are no neighbours. A head of its own cannot share
    the factors: such models take rank=None, which factorises nothing. Words may carry a language ("eng:dog"); "$" is
    read as a space. Shown for XLM-R and RoBERTa with 401,000 subwords.
"""

import logging
import re
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from trivium.core.languages import WordVectors
from trivium.core.method import method
from trivium.core.protocols import LanguageModel
from trivium.models.factorised import check_tied, factorised
from trivium.nn.neighbours import combine, nearest
from trivium.tokenization.pieces import roles
from trivium.vocabulary._frame import (
    Filling,
    Frame,
    Initialiser,
    Match,
    carried,
    check_match,
    lengths,
    mixed,
    normal,
)
from trivium.vocabulary._words import subword_vectors

log = logging.getLogger(__name__)

LANGUAGE = re.compile(r"^([a-z]{2,3}(?:_[A-Za-z]{4})?):(?=.)", re.DOTALL)
LEAST = 0.2
"""Share of new subwords with a vector below which a warning says so."""


@method(title="OFA", source="arXiv:2311.08849", year=2023)
@dataclass(frozen=True)
class Ofa(Initialiser):
    """Coordinates of new subwords from those of the nearest old ones, over shared primitives."""

    rank: int | None = None
    """Dimensions of a coordinate vector; None keeps the full width and factorises nothing."""
    k: int = 10
    """Old subwords in each mean."""
    temperature: float = 0.1
    balance: Literal["none", "sqrt"] = "none"
    """Where the singular values go: to the primitives, as published, or half to each factor."""
    languages: tuple[str, ...] = ()
    """Words of these languages only, by the prefix that they carry; empty for all."""
    match: Match = "case"
    """When a token of the new vocabulary is one of the old."""

    reads: ClassVar[tuple[str, ...]] = ("new_words",)

    def __post_init__(self) -> None:
        check_match(self.match)
        if self.rank is not None and self.rank < 1:
            raise ValueError(f"rank must be at least 1 dimension, or None for no factors; got {self.rank}")
        if self.k < 1:
            raise ValueError(f"k must be at least one neighbour, got {self.k}")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}; the limit 0 is k=1")
        if self.balance not in ("none", "sqrt"):
            raise ValueError(f"balance must be 'none' or 'sqrt', got {self.balance!r}")

    def fill(self, frame: Frame, generator: torch.Generator) -> Filling:
        self.check(frame)
        new = frame.languages.new_words
        assert new is not None
        old = frame.languages.old_words or new
        if old.width != new.width:
            raise ValueError(
                f"old words have vectors of {old.width} numbers and new ones of {new.width}; one space is meant"
            )
        old_vectors, old_found = self.subwords(frame, old, of_new=False)
        new_vectors, new_found = self.subwords(frame, new, of_new=True)
        known = frame.old[old_found[frame.old]]
        if not len(known):
            raise ValueError(
                "no old subword occurs in any word that has a vector; give vectors of the model's languages"
            )
        covered, bare = new_found[frame.new].nonzero()[:, 0], (~new_found[frame.new]).nonzero()[:, 0]
        share = len(covered) / len(frame.new)
        if share < LEAST:
            log.warning("word vectors cover %.0f %% of the new subwords: %s", 100 * share, _table(new, self.languages))
        near, weights = nearest(new_vectors[frame.new[covered]], old_vectors[known], self.k, self.temperature)
        places = torch.tensor([frame.place[id] for id in known.tolist()], dtype=torch.int64)[near]
        means = lambda source: combine(source, places, weights)  # noqa: E731
        fill = mixed((covered, means), (bare, normal(len(bare), generator)), count=len(frame.new))
        return Filling(fill, uncovered=frame.new[bare].tolist(), facts={"coverage": share})

    def check(self, frame: Frame) -> None:
        """Raise ValueError for a rank above the width, NotOffered for a head that cannot share the factors."""
        width = frame.rows.embedding.shape[1]
        if self.rank is not None and self.rank > width:
            raise ValueError(f"rank {self.rank} is more than the width {width} of {frame.system.name}")
        if self.factorises(frame):
            check_tied(frame.system.model)
            if len(frame.old) < (self.rank or 0):
                raise ValueError(f"rank {self.rank} is more than the {len(frame.old)} rows that are factorised")

    def factorises(self, frame: Frame) -> bool:
        return self.rank is not None and self.rank < frame.rows.embedding.shape[1]

    def keeps_rows(self, frame: Frame) -> bool:
        return not self.factorises(frame)

    def made(self, frame: Frame, filling: Filling) -> tuple[LanguageModel, tuple[float, float, int], float]:
        if not self.factorises(frame):
            return super().made(frame, filling)
        self.check(frame)
        rows = frame.rows
        coordinates, primitives = self.factors(rows.embedding[frame.old].double().cpu())
        whole = torch.zeros(len(rows.embedding), coordinates.shape[1], dtype=torch.float64)
        whole[frame.old] = coordinates
        bias = None if rows.bias is None else rows.bias.double().cpu()
        table, _ = carried(frame, whole, bias, filling.embedding)
        inside = table[:, : coordinates.shape[1]]
        model = factorised(
            frame.system.model,
            inside,
            primitives,
            None if rows.bias is None else table[:, -1].to(rows.bias),
            roles(frame.tokenizer),
        )
        error = float((inside - inside.to(rows.embedding.dtype).double()).abs().max())
        return model, lengths(frame, inside @ primitives), error

    def factors(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """(rows, width) -> coordinates (rows, rank) and primitives (rank, width): of all of that rank the nearest."""
        left, values, right = torch.linalg.svd(table, full_matrices=False)
        signs = right.gather(1, right.abs().argmax(1, keepdim=True)).sign()
        left, right = left * signs[:, 0], right * signs
        left, values, right = left[:, : self.rank], values[: self.rank], right[: self.rank]
        if self.balance == "sqrt":
            return left * values.sqrt(), values.sqrt()[:, None] * right
        return left, values[:, None] * right

    def subwords(self, frame: Frame, words: WordVectors, *, of_new: bool) -> tuple[Tensor, Tensor]:
        """Vectors of the subwords of one tokenizer: each word is cut bare, behind a space, and capitalised."""
        forms = [
            (form, at)
            for at, word in enumerate(words.words)
            if not self.languages or _language(word) in self.languages
            for form in spellings(word)
        ]
        if not forms:
            raise ValueError(f"no word carries one of the languages {self.languages}; words read like 'eng:dog'")
        pieces, tokenizer = (
            (frame.new_pieces, frame.tokenizer) if of_new else (frame.old_pieces, frame.system.tokenizer)
        )
        even = torch.ones(len(words), dtype=torch.float64)
        return subword_vectors(tokenizer, pieces, forms, words.vectors, even)


def spellings(entry: str) -> tuple[str, str, str]:
    """The three texts of a word: bare, behind a space, and capitalised behind a space (its own, where it has one)."""
    bare = LANGUAGE.sub("", entry)
    text = bare.replace("$", " ")
    if bare.startswith("$"):
        return text, " " + text, " " + text[1:].capitalize()
    return text, " " + text, " " + text.capitalize()


def _language(word: str) -> str:
    found = LANGUAGE.match(word)
    return found[1] if found else ""


def _table(words: WordVectors, wanted: tuple[str, ...]) -> str:
    """Words per language."""
    counts: dict[str, int] = {}
    for word in words.words:
        counts[_language(word) or "unnamed"] = counts.get(_language(word) or "unnamed", 0) + 1
    counts |= {name: 0 for name in wanted if name not in counts}
    return ", ".join(f"{name} {count} words" for name, count in sorted(counts.items()))
