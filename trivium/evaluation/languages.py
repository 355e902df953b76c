"""Languages: what a model needs to write down a language's sentences, per character and per byte, and tokens per word.

Source
    Liu et al. 2023, "NLEBench+NorGLM", arXiv:2312.01314 (Norwegian); Agerri, Agirre 2022, arXiv:2212.08390 (Spanish);
    Cattan et al. 2021 (French); Ghaddar et al. 2022, arXiv:2205.10687 (Arabic). Fertility: Rust et al. 2021, "How Good
    is Your Tokenizer?", arXiv:2012.15613. Sentences: treebanks of Universal Dependencies.
Equation
    bits = - sum over tokens t of log2 p(x_t | x_<t);   bits / characters,   bits / UTF-8 bytes,   tokens / words
Shapes
    System and one sentence -> an Observation with the three ratios, and what they are over as weights
Cost
    One pass over each sentence.
Caveats
    A report's figures are ratios of sums over sentences. Each sentence is read by itself, behind the token that texts
    begin with, and its end is not predicted. Per character and per byte order languages differently, since a letter has
    one byte in English, two in Greek and Arabic: give both. Neither compares content: sentences of a treebank are not
    translations of those of another, while the built-in ones nearly are, but only twelve. Words are a profile's
    (``data.languages``), not the treebank's. A model may have read a treebank's sources. Exact match, token F1 and
    Distinct-n by language are functions of ``data.languages``; the answering and writing tasks of the papers, which
    they are for, are not here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data import languages, splits
from trivium.data.languages import Profile, Sentence
from trivium.evaluation._together import together
from trivium.models.scoring import Rolled, Scoring, roll

OWN = 8
"""Sentences of our own that are for testing; the others are for validation."""


@method(title="Bits per character by language", source="arXiv:2312.01314", year=2023, needs=["causal"])
@dataclass(frozen=True)
class Languages:
    """Sentences of one language."""

    language: str = "english"
    """A language profile: english, french, spanish, norwegian, ancient_greek, arabic or arabic_lenient."""
    path: str = ""
    """A treebank in CoNLL-U; by default a few sentences of our own."""
    items: int | None = 200
    """Sentences from the file's beginning; half as many behind them are for validation. None takes all."""
    length: int = 512
    """Tokens of a window at most; longer sentences are read in several."""
    batch_size: int = 16
    """Sentences per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("bits_per_character", "Bits per character", False, "bits/character"),
        Measure("bits_per_byte", "Bits per byte", False, "bits/byte"),
        Measure("fertility", "Tokens per word", False, "tokens/word"),
        Measure("altered", "Sentences that the tokenizer cannot spell", False, binary=True),
    )
    weighted_by: ClassVar[dict[str, str]] = {
        "bits_per_character": "characters",
        "bits_per_byte": "bytes",
        "fertility": "words",
    }
    """Measure -> the value by which sentences weigh in."""

    def __post_init__(self) -> None:
        languages.profile(self.language)
        for name in ("items", "length", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    @property
    def profile(self) -> Profile:
        return languages.profile(self.language)

    def sentences(self, split: str) -> Sequence[Sentence]:
        splits.check(split)
        if not self.path:
            made = languages.made(self.language)
            return made[:OWN][: self.items] if split == "test" else made[OWN:]
        return splits.part(self._read, self.items, split)

    @cached_property
    def _read(self) -> tuple[Sentence, ...]:
        return languages.treebank(self.path)

    def examples(self, split: str) -> list[Example]:
        """The sentences; those of one document are a cluster."""
        return [
            Example(one.id, one.text, cluster=one.document, fields={"split": split, "number": number})
            for number, one in enumerate(self.sentences(split))
        ]

    def score(self, system: Any, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first example of a split lets all of them be scored together."""
        return self._scored(system, example.fields["split"])[example.fields["number"]]

    @together
    def _scored(self, system: Any, split: str) -> list[Observation]:
        texts = [one.text for one in self.sentences(split)]
        length = None if isinstance(system, Scoring) else min(self.length, system.model.max_positions or self.length)
        found = roll(system, texts, length, batch_size=self.batch_size)
        return [self._observed(text, one) for text, one in zip(texts, found, strict=True)]

    def _observed(self, text: str, found: Rolled) -> Observation:
        bits, words = -found.total / math.log(2), len(self.profile.words(text))
        return Observation(
            {
                "bits_per_character": bits / len(text),
                "bits_per_byte": bits / found.bytes,
                "fertility": len(found.ids) / words if words else 0.0,
                "altered": float(found.altered),
                "characters": float(len(text)),
                "bytes": float(found.bytes),
                "words": float(words),
            },
            {"text": f"{bits:.1f} bits, {len(found.ids)} tokens, {words} words"},
        )
