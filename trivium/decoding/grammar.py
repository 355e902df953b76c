"""Constrained decoding: only texts of a formal language, such as JSON of a schema, can come out.

Source
    Willard and Louf 2023, "Efficient Guided Generation for Large Language Models", arXiv:2307.09702; byte-level
    pushdown automata and token masks by the library xgrammar: Dong et al. 2024, arXiv:2411.15100.
Equation
    p'(v | x) ~ p(v | x)  where bytes(x v) begins some text of the language, else 0;   the end token where x is one
Shapes
    new tokens of a row or of a path in a draft tree -> mask (vocab,)
Cost
    One model call per new token, as for the decoder that is constrained; on the processor a mask per token and row.
Caveats
    Myopic: each step is renormalised, so texts come with another probability than p(text | text in the language).
    Where the limit ends a row first, it holds only the beginning of a text of the language. The prompt is no part of
    it. After the end token only further end tokens follow, until the row ends; so stop there. Schemas follow xgrammar's
    reading: white space is free, and what JSON Schema cannot say in a grammar is ignored. Inside a draft tree the mask
    belongs to the node's own path, so that speculation changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from trivium.core.method import card_of, method
from trivium.core.optional import require
from trivium.core.protocols import Tokenizer
from trivium.decoding._pipeline import Pipeline
from trivium.decoding._sampler import Sampler
from trivium.decoding.greedy import Greedy

MATCHERS = 64
"""Places in the language that are kept at hand: about one for each row and branch in use."""


@method(title="Constrained decoding", source="arXiv:2307.09702", year=2023, needs=["causal", "state"])
@dataclass(frozen=True)
class Grammar(Sampler):
    """A plain decoder whose text must belong to a formal language."""

    rule: str = ""
    """The language; empty for no constraint."""
    language: Literal["regex", "json_schema", "ebnf"] = "regex"
    """How the rule is written; EBNF begins at the rule 'root'."""
    of: Sampler = field(default_factory=Greedy, metadata={"kind": "decoding"})
    """The decoder to constrain: greedy, sampling, top_k, top_p ..."""
    tokenizer: Tokenizer | None = None
    """Says which bytes a token stands for; a system fills it in where it is left out."""

    def __post_init__(self) -> None:
        if self.language not in ("regex", "json_schema", "ebnf"):
            raise ValueError(f"language must be 'regex', 'json_schema' or 'ebnf', got {self.language!r}")
        if not isinstance(self.of, Sampler):
            raise TypeError(f"'of' must draw each token from one distribution, got {card_of(self.of).name}")
        if self.rule and self.of.pipeline.constraint is not None:
            raise ValueError("'of' is constrained already; write one rule for both")

    def fitted(self, tokenizer: Tokenizer) -> "Grammar":
        """The same with a tokenizer where none was given."""
        return replace(self, tokenizer=tokenizer) if self.tokenizer is None else self

    @property
    def pipeline(self) -> Pipeline:
        return replace(self.of.pipeline, constraint=self._texts) if self.rule else self.of.pipeline

    @cached_property
    def _texts(self) -> "Language":
        return Language(self.rule, self.language, self.tokenizer)


class Language:
    """The constraint: which tokens may follow a text. It holds matchers that stand at places visited before, so that a
    text that grows by a token costs one step, and a sibling in a tree one step back and one forward."""

    def __init__(self, rule: str, language: str, tokenizer: Tokenizer | None) -> None:
        self.rule, self.language, self.tokenizer = rule, language, tokenizer
        self.places: list[tuple[Any, list[int]]] = []  # matchers with the texts that they stand behind
        self.vocab_size = 0

    def check(self, vocab_size: int) -> None:
        if self.tokenizer is None:
            raise ValueError(
                "a grammar speaks of bytes, so it must know those of each token; give Grammar(tokenizer=...)"
            )
        if self.tokenizer.vocab_size > vocab_size:
            raise ValueError(
                f"the grammar's tokenizer has {self.tokenizer.vocab_size} ids but the model only {vocab_size}; "
                "they do not belong together"
            )
        if self.tokenizer.eos is None:
            raise ValueError("this tokenizer has no end token, so a text of the grammar could not end")
        if vocab_size != self.vocab_size:
            self.places = [(self._start(self.tokenizer, self.tokenizer.eos, vocab_size), [])]
            self.vocab_size = vocab_size

    def _start(self, tokenizer: Tokenizer, eos: int, vocab_size: int) -> Any:
        """A matcher at the beginning of the language."""
        xgrammar = require("xgrammar", extra="grammar", why="grammars and their token masks")
        pieces = [tokenizer.bytes_of(id) for id in range(tokenizer.vocab_size)]
        info = xgrammar.TokenizerInfo(pieces, vocab_size=vocab_size, stop_token_ids=[eos])
        compiler = xgrammar.GrammarCompiler(info, max_threads=1)
        how = {"regex": "compile_regex", "json_schema": "compile_json_schema", "ebnf": "compile_grammar"}
        try:
            return xgrammar.GrammarMatcher(getattr(compiler, how[self.language])(self.rule))
        except RuntimeError as error:  # the library's only way to say that a rule is malformed
            said = str(error).split(": ", 1)[-1].strip()
            raise ValueError(f"the rule is no {self.language.replace('_', ' ')}: {said}") from None

    def allowed(self, text: Sequence[int], vocab_size: int) -> Tensor:
        self.check(vocab_size)
        assert self.tokenizer is not None
        eos, text = self.tokenizer.eos, list(text)
        if eos in text:
            return torch.arange(vocab_size) == eos
        matcher = self._behind(text)
        if matcher is None:  # drafts only: the law after a token that the law excludes is never asked for
            return torch.ones(vocab_size, dtype=torch.bool)
        bits = torch.empty(1, -(-vocab_size // 32), dtype=torch.int32)
        matcher.fill_next_token_bitmask(bits)
        return (bits[0, :, None] >> torch.arange(32) & 1).bool().reshape(-1)[:vocab_size]

    def _behind(self, text: list[int]) -> Any:
        """A matcher behind this text, None where no text of the language begins so."""
        shared, place = max((_common(seen, text), place) for place, (_, seen) in enumerate(self.places))
        matcher, seen = self.places[place]
        if shared < len(seen) and len(self.places) < MATCHERS:  # another row or branch stands there
            matcher, seen, place = matcher.fork(), list(seen), len(self.places)
            self.places.append((matcher, seen))
        if shared < len(seen):
            matcher.rollback(len(seen) - shared)
            del seen[shared:]
        for token in text[shared:]:
            if not matcher.accept_token(token):
                return None
            seen.append(token)
        return matcher


def _common(one: list[int], other: list[int]) -> int:
    """Length of the common beginning."""
    least = min(len(one), len(other))
    if one[:least] == other[:least]:
        return least
    return next(at for at in range(least) if one[at] != other[at])
