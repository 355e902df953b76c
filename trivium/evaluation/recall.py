"""Recall: texts whose continuation stands in them already, scored by the answers alone.

Source
    Multi-query associative recall: Arora et al. 2023, "Zoology", arXiv:2312.04927; induction: Olsson et al. 2022,
    "In-context Learning and Induction Heads", arXiv:2209.11895; a needle in filler as in long-context tests. The texts
    are made here (``data.recall``).
Equation
    accuracy = share of answers a of which every token is  argmax_v p(v | all tokens before it)
Shapes
    System and one text -> an Observation with its accuracy, and its number of answers as weight
Cost
    One forward pass over each text.
Caveats
    Right answers stand before later questions, so one mistake does not bring on another. Where a text is cut into
    answers and what is between, each part is given its own tokens: bytes are not affected, other tokenizers may write a
    whole text in fewer tokens. A value of ``mqar`` is one of 16 and comes up by chance in 1 of 16, a letter of
    ``induction`` in 1 of 26, a number of ``needle`` hardly ever. Models may be trained on whole texts, of which most
    tokens cannot be predicted; papers train on the answers alone, which is learned sooner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import torch

from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data.corpus import Corpus
from trivium.data.named import named
from trivium.data.recall import answers, depth
from trivium.models.system import System

Sort = Literal["mqar", "induction", "needle"]


@method(title="Recall", source="arXiv:2312.04927", year=2023, needs=["causal"])
@dataclass(frozen=True)
class Recall:
    """Held-out texts that ask for what stands in them, and the share of answers that a model would have given."""

    sort: Sort = "mqar"
    """Pairs of keys and values, an induction, or a needle in a haystack."""
    corpus: Corpus | str | None = None
    """A corpus of such texts, its name, or the path of text to read; None for the one that is called like the sort."""
    documents: int | None = 100
    """How many of a split to take; None takes them all."""

    measures: ClassVar[Sequence[Measure]] = (Measure("accuracy", "Answers recalled", True),)
    weighted_by: ClassVar[dict[str, str]] = {"accuracy": "answers"}
    """Measure -> the value by which texts weigh in."""

    def __post_init__(self) -> None:
        if self.sort not in get_args(Sort):
            raise ValueError(f"sort must be one of {', '.join(get_args(Sort))}; got {self.sort!r}")
        if self.documents is not None and self.documents < 1:
            raise ValueError(f"documents must be at least 1, got {self.documents}")

    @cached_property
    def text(self) -> Corpus:
        """The corpus itself."""
        corpus = self.sort if self.corpus is None else self.corpus
        return named(corpus) if isinstance(corpus, str) else corpus

    def examples(self, split: str) -> list[Example]:
        """The first texts of the split; those with a needle say how deep it lies."""
        chosen = self.text[split][: self.documents]
        return [
            Example(f"{split}-{at:05d}", text, fields={"depth": depth(text)} if self.sort == "needle" else {})
            for at, text in enumerate(chosen)
        ]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts; an output of the open arrow is of no matter."""
        pieces = answers(self.sort, example.text)
        cut: list[Any] = system.blocks([piece.text for piece in pieces])
        opening = len(cut) - len(pieces)
        ids, spans = [id for block in cut[:opening] for id in block], []
        for piece, block in zip(pieces, cut[opening:], strict=True):
            if piece.answer:
                spans.append(slice(len(ids) - 1, len(ids) + len(block) - 1))  # each token is predicted one earlier
            ids += block
        most = system.model.max_positions
        if most is not None and len(ids) - 1 > most:
            raise ValueError(
                f"example {example.id!r}: {len(ids) - 1} tokens are more than the {most} positions of {system.name}; "
                "make shorter texts, or a model with more positions"
            )
        given = torch.tensor([ids], device=system.model.device)
        with torch.inference_mode():
            said = system.model(given[:, :-1]).logits[0].argmax(-1)
        hits = (said == given[0, 1:]).tolist()
        right = [all(hits[span]) for span in spans]
        return Observation({"accuracy": sum(right) / len(right), "answers": float(len(right))})
