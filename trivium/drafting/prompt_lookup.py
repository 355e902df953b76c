"""Prompt lookup: draft what followed the last time the text ended like this.

Source
    Saxena 2023, "Prompt Lookup Decoding", github.com/apoorvumang/prompt-lookup-decoding (idea only); Yang et al. 2023,
    "Inference with Reference: Lossless Acceleration of Large Language Models", arXiv:2304.04487.
Equation
    match = argmax_{j < T} (length of the common ending of x_1..x_j and x_1..x_T, then j)
    draft = x_{match+1}, x_{match+2}, ...
Shapes
    context (time,) -> tree of at most 1 + matches * length nodes
Cost
    No model call. Each committed token is entered once into a table of n-grams; a look-up compares at most 32 places.
Caveats
    The original searches for the longest of a few fixed n-gram sizes and takes the first place; we take the longest
    common ending at all, and among equals the most recent place. Where the text that follows the match is shorter than
    the draft, the draft goes on copying from itself, which is what a loop does. ``adaptive`` follows the rule of
    Leviathan-style drafting (up by 2 after full acceptance, down by 1 otherwise) and starts at half the length. Helps
    where text repeats (summaries, edits, code) and hardly on free chat.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.protocols import LanguageModel
from trivium.core.tree import Draw, TokenTree

PLACES = 32
"""Earlier places that a look-up compares, most recent first."""
LONGEST = 32
"""Common endings are not measured beyond this; longer ones are as good."""


@method(title="Prompt lookup", source="arXiv:2304.04487", year=2023, lossless=True)
@dataclass(frozen=True)
class PromptLookup:
    """Drafts by copying from the row's own context."""

    length: int = 10
    """Tokens drafted at most."""
    ngram: int = 2
    """Shortest common ending that counts as a match."""
    matches: int = 1
    """Places to copy from; more than one makes a tree."""
    adaptive: bool = True
    """Let the draft length follow what was accepted, row by row."""

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length must be at least 1 drafted token, got {self.length}")
        if self.ngram < 1:
            raise ValueError(f"ngram must be at least 1 token, got {self.ngram}")
        if self.matches < 1:
            raise ValueError(f"matches must be at least 1 place to copy from, got {self.matches}")

    @property
    def draws(self) -> Draw:
        return "deterministic"

    @property
    def branches(self) -> bool:
        """Whether trees with siblings may come."""
        return self.matches > 1

    def start(
        self,
        model: LanguageModel,
        *,
        generator: torch.Generator,
        logits: Callable[[Tensor, Sequence[Tensor]], Tensor],
    ) -> "Lookup":
        return Lookup(self)


@dataclass
class Row:
    """What is known of one row: its tokens, and where each n-gram ended."""

    tokens: list[int] = field(default_factory=list)
    ends: dict[tuple[int, ...], list[int]] = field(default_factory=dict)
    length: int = 0
    drafted: list[int] = field(default_factory=list)
    at: int = 0


class Lookup:
    """One batch's tables."""

    def __init__(self, settings: PromptLookup) -> None:
        self.settings = settings
        self.rows: list[Row] = []

    def propose(self, contexts: Sequence[Tensor], room: Sequence[int]) -> list[TokenTree]:
        if not self.rows:
            start = max(1, self.settings.length // 2) if self.settings.adaptive else self.settings.length
            self.rows = [Row(length=start) for _ in contexts]
        return [self._draft(row, context, most) for row, context, most in zip(self.rows, contexts, room, strict=True)]

    def _draft(self, row: Row, context: Tensor, room: int) -> TokenTree:
        pending = int(context[-1])
        if room < 1:
            return TokenTree.chain(pending)
        self._enter(row, context)
        if self.settings.adaptive and row.drafted:
            follows = row.tokens[row.at : row.at + len(row.drafted)]
            row.length += 2 if follows == row.drafted else -1
            row.length = min(max(row.length, 1), self.settings.length)
        length = min(row.length, room)
        paths = [_copy(row.tokens, place, length) for place in self._places(row)]
        row.drafted, row.at = (paths[0], len(row.tokens)) if paths else ([], 0)
        if len(paths) <= 1:
            return TokenTree.chain(pending, paths[0] if paths else ())
        return TokenTree.from_paths(pending, paths)

    def _enter(self, row: Row, context: Tensor) -> None:
        """Take in the tokens that are new, and the n-grams that end before the last of them."""
        known, n = len(row.tokens), self.settings.ngram
        row.tokens.extend(context[known:].tolist())
        for end in range(max(known, n), len(row.tokens)):
            row.ends.setdefault(tuple(row.tokens[end - n : end]), []).append(end)

    def _places(self, row: Row) -> list[int]:
        """Where to copy from, best first: after the longest common ending, then the most recent."""
        tokens, n = row.tokens, self.settings.ngram
        found = row.ends.get(tuple(tokens[-n:]), ()) if len(tokens) > n else ()
        ranked = sorted(found[-PLACES:], key=lambda end: (_common_ending(tokens, end, n), end), reverse=True)
        return ranked[: self.settings.matches]


def _common_ending(tokens: list[int], end: int, known: int) -> int:
    """How many tokens before ``end`` equal those at the end of the text; at least ``known`` do."""
    length, total = known, len(tokens)
    while length < min(end, LONGEST) and tokens[end - 1 - length] == tokens[total - 1 - length]:
        length += 1
    return length


def _copy(tokens: list[int], place: int, length: int) -> list[int]:
    """So many tokens from ``place`` on; beyond the end of the text the copy feeds itself."""
    copied = tokens[place : place + length]
    period = len(tokens) - place
    while len(copied) < length:
        copied.append(copied[len(copied) - period])
    return copied
