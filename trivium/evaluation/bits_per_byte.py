"""Bits per byte: how many bits a model needs to write down text that it has not seen.

Source
    Shannon 1951, "Prediction and Entropy of Printed English"; as a measure of language models across vocabularies
    Gao et al. 2020, "The Pile", arXiv:2101.00027, section 3.1.
Equation
    - sum over documents d and tokens t of log2 p(x[d, t] | x[d, < t])  /  sum over d of UTF-8 bytes of d
Shapes
    System and one document -> an Observation with its bits per byte, and its bytes as weight
Cost
    One forward pass over each document; twice as many positions for documents longer than the window.
Caveats
    A report's figure is the ratio of the sums, never the mean of the documents' ratios: documents weigh in by their
    bytes. A tokenizer does not matter to the unit, but it does to the result: a probability is given to one way of
    splitting the text, and others are not summed over, so the figure is an upper bound of the text's own. The end of a
    document is not predicted, and without a start token neither is its first token, whose bytes then do not count.
    A document longer than ``length`` is read in windows that overlap by half.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data.corpus import Corpus
from trivium.data.named import named
from trivium.models.likelihood import likelihoods
from trivium.models.system import System


@method(title="Bits per byte", source="arXiv:2101.00027", year=2020, needs=["causal"])
@dataclass(frozen=True)
class BitsPerByte:
    """Held-out documents, and what a model needs to write them down."""

    corpus: Corpus | str = "stories"
    """A corpus, its name, or the path of text to read."""
    documents: int | None = 48
    """How many of a split to take; None takes them all."""
    length: int = 256
    """Tokens of context at most, fewer where the model takes fewer."""
    batch_size: int = 8
    """Windows per pass."""

    measures: ClassVar[Sequence[Measure]] = (Measure("bits_per_byte", "Bits per byte", False, "bits/byte"),)
    weighted_by: ClassVar[dict[str, str]] = {"bits_per_byte": "bytes"}
    """Measure -> the value by which documents weigh in."""

    def __post_init__(self) -> None:
        for name, least in (("documents", 1), ("length", 2), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")

    @cached_property
    def text(self) -> Corpus:
        """The corpus itself."""
        return named(self.corpus) if isinstance(self.corpus, str) else self.corpus

    def examples(self, split: str) -> list[Example]:
        """The first documents of the split."""
        chosen = self.text[split][: self.documents]
        return [Example(f"{split}-{number:05d}", document) for number, document in enumerate(chosen)]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts; an output of the open arrow is of no matter."""
        most = system.model.max_positions
        length = self.length if most is None else min(self.length, most)
        (found,) = likelihoods(system.model, [example.text], system.tokenizer, length, batch_size=self.batch_size)
        return Observation({"bits_per_byte": found.bits_per_byte, "bytes": float(found.bytes)})
