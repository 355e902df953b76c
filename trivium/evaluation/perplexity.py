"""Perplexity per word and per byte: how many choices a model is left with while it reads documents token by token.

Source
    Jelinek et al. 1977, "Perplexity: a measure of the difficulty of speech recognition tasks"; windows and counts as in
    Gao et al., lm-evaluation-harness, whose rolling log-likelihood and numbers these are.
Equation
    perplexity per word = exp(- sum over documents of LL_d / sum over documents of words_d); per byte alike
    LL_d = sum over windows of sum over their tokens of log p(token | the tokens before it in the window)
Shapes
    System and one document -> an Observation with its perplexities, and its words and bytes as weights
Cost
    One pass over each document; with ``overlap`` s of each window read before, 1 / (1 - s) as many positions.
Caveats
    A report's figure is of the sums: documents weigh in by their words or bytes, and the mean is geometric. Its
    logarithm to base 2 per byte is bits per byte by the harness's convention: a document begins behind the token that
    stands for an empty context, so that its first token counts too, and windows do not overlap unless asked to, so
    that tokens after a border see little. Evaluation method bits_per_byte gives them half a window and is the better
    figure of a model; this one matches published tables. A token that the tokenizer itself would open with is not
    predicted. Words stand between white space, with empty ones at a document's ends; of text that has hardly any, such
    as Chinese, there is no figure per word where it is beyond all numbers. Per word, models with different
    tokenizers compare only on the same text; a tokenizer that cannot spell it predicts another, which is counted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, get_args

from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data import splits
from trivium.data.corpus import Corpus
from trivium.data.named import named
from trivium.data.wikitext import articles, joined
from trivium.models.scoring import Perplexity, Scoring, roll
from trivium.models.system import System

Form = Literal["plain", "wikitext"]

ANY = 1024
"""Tokens of a window where the model takes texts of any length."""


@method(title="Perplexity per word and byte", source="rolling log-likelihood", year=1977, needs=["causal"])
@dataclass(frozen=True)
class RollingPerplexity:
    """Documents to be read once, token by token."""

    path: str = ""
    """A file all of whose documents are read: text, which is one, or JSONL with a text a line."""
    form: Form = "plain"
    """How the file is read: as it is, or as WikiText, article by article, without the spaces around its signs; words
    and bytes are then counted with them."""
    corpus: Corpus | str = "stories"
    """Without a file: a corpus or its name."""
    items: int | None = 48
    """Documents from the beginning; of a file, half as many behind them are for validation. None takes all."""
    length: int | None = None
    """Tokens that a window predicts at most; None takes as many as the model does."""
    overlap: float = 0.0
    """Share of each later window that was predicted before and is seen only."""
    batch_size: int = 8
    """Windows per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("word_perplexity", "Perplexity per word", False, ratio=True),
        Measure("byte_perplexity", "Perplexity per byte", False, ratio=True),
        Measure("altered", "Documents that the tokenizer cannot spell", None, binary=True),
    )
    weighted_by: ClassVar[dict[str, str]] = {"word_perplexity": "words", "byte_perplexity": "bytes"}
    """Measure -> the value by which documents weigh in."""

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            raise ValueError(f"form must be one of {', '.join(get_args(Form))}; got {self.form!r}")
        if self.form != "plain" and not self.path:
            raise ValueError(f"form {self.form!r} is how a file is read; give its path")
        for name in ("items", "length", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0.0 <= self.overlap < 1.0:
            raise ValueError(f"overlap is the share of a window that was read before, 0 to below 1; got {self.overlap}")

    @cached_property
    def documents(self) -> Sequence[str]:
        """All that the file holds, as it stands there."""
        if self.form == "wikitext":
            return articles(self.path)
        return Corpus.read(Path(self.path), validation=0.0, test=0.0)["train"]

    def examples(self, split: str) -> list[Example]:
        if not self.path:
            corpus = named(self.corpus) if isinstance(self.corpus, str) else self.corpus
            chosen, first = corpus[split][: self.items], 0
        else:
            chosen = splits.part(self.documents, self.items, split)
            first = 0 if split == "test" or self.items is None else self.items
        return [Example(f"{split}-{first + number:05d}", document) for number, document in enumerate(chosen)]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts; an output of the open arrow is of no matter."""
        length = self.length
        if not isinstance(system, Scoring):
            most = system.model.max_positions
            length = min(length or most or ANY, most or length or ANY)
        read = joined(example.text) if self.form == "wikitext" else example.text
        (found,) = roll(
            system, [read], length, overlap=self.overlap, counted=[example.text], batch_size=self.batch_size
        )
        seen = Perplexity.of([found])
        by_word = {"word_perplexity": seen.word} if math.isfinite(seen.word) else {}
        return Observation(
            {
                **by_word,
                "byte_perplexity": seen.byte,
                "altered": float(found.altered),
                "words": float(found.words),
                "bytes": float(found.bytes),
            },
            {"text": f"{len(found.ids)} tokens, {-found.total / math.log(2):.1f} bits"},
        )
