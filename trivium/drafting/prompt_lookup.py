"""Prompt lookup: draft what followed the last time the text ended like this.

Source
    Saxena 2023, "Prompt Lookup Decoding", github.com/apoorvumang/prompt-lookup-decoding (idea only); Yang et al. 2023,
    "Inference with Reference: Lossless Acceleration of Large Language Models", arXiv:2304.04487.
Equation
    match = argmax_{j < T} (length of the common ending of x_1..x_j and x_1..x_T, then j)
    draft = x_{match+1}, x_{match+2}, ...   as many as  min(length, trust * length of the common ending)
    of several matches the nodes with the greatest  prod_{i < depth} q(c_match + i),   q(c) = min(0.3 + 0.2 c, 0.98)
Shapes
    context (time,) -> chain of at most 1 + length nodes, or tree of at most so many as are asked for
Cost
    No model call. Each committed token is entered once into a table of n-grams; a look-up compares at most 256 places,
    and a tree is made of the best 16.
Caveats
    The original searches for the longest of a few fixed n-gram sizes, takes the first place and drafts a fixed number
    of tokens; we take the longest common ending at all, among equals the most recent place, and draft more the longer
    the ending is. Where the text after the match is shorter than the draft, the draft goes on copying from itself,
    which is what a loop does. The tree is ours, and so is q, the chance that a copy goes on to be right after a common
    ending of c tokens: about what greedy texts of SmolLM2-135M show where they copy (0.50, 0.67, 0.83 ... 0.95 from 8
    on), more than in code (0.19, 0.33, 0.55 ... 0.99); only the order of nodes hangs on it. The defaults were chosen on
    greedy texts of SmolLM2-135M after the built-in test prompts (claim and benchmark therefore choose by the validation
    prompts), for machines on which a further position costs 2 to 15 % of a pass; where it costs more (bfloat16 on
    processors that only emulate it: 43 %), a shorter draft with trust 1 is better, and little can be gained. Helps
    where text repeats (summaries, edits, code) and little on free chat.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.protocols import LanguageModel
from trivium.core.tree import Draw, TokenTree

PLACES = 256
"""Earlier places that a look-up compares, most recent first."""
COPIES = 16
"""Of them, those that a tree is made of."""
LONGEST = 32
"""Common endings are not measured beyond this; longer ones are as good."""


@method(title="Prompt lookup", source="arXiv:2304.04487", year=2023, lossless=True)
@dataclass(frozen=True)
class PromptLookup:
    """Drafts by copying from the row's own context."""

    length: int = 16
    """Tokens drafted at most."""
    ngram: int = 2
    """Shortest common ending that counts as a match."""
    trust: int = 4
    """Tokens drafted for each token of the common ending."""
    nodes: int | None = None
    """Size of a tree that copies from several places, the pending token included; None copies from the best alone."""

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length must be at least 1 drafted token, got {self.length}")
        if self.ngram < 1:
            raise ValueError(f"ngram must be at least 1 token, got {self.ngram}")
        if self.trust < 1:
            raise ValueError(f"trust must be at least 1 drafted token per matching one, got {self.trust}")
        if self.nodes is not None and self.nodes < 2:
            raise ValueError(f"nodes counts the pending token too, so at least 2 to draft anything; got {self.nodes}")

    @property
    def draws(self) -> Draw:
        return "deterministic"

    @property
    def branches(self) -> bool:
        """Whether trees with siblings may come."""
        return self.nodes is not None

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


class Lookup:
    """One batch's tables."""

    def __init__(self, settings: PromptLookup) -> None:
        self.settings = settings
        self.rows: list[Row] = []

    def propose(self, contexts: Sequence[Tensor], room: Sequence[int]) -> list[TokenTree]:
        if not self.rows:
            self.rows = [Row() for _ in contexts]
        return [self._draft(row, context, most) for row, context, most in zip(self.rows, contexts, room, strict=True)]

    def _draft(self, row: Row, context: Tensor, room: int) -> TokenTree:
        pending = int(context[-1])
        if room < 1:
            return TokenTree.chain(pending)
        self._enter(row, context)
        most = min(self.settings.length, room)
        copies = [
            (common, _copy(row.tokens, place, min(most, self.settings.trust * common)))
            for common, place in self._places(row)
        ]
        if self.settings.nodes is None:
            return TokenTree.chain(pending, copies[0][1] if copies else ())
        return _tree(pending, copies, self.settings.nodes)

    def _enter(self, row: Row, context: Tensor) -> None:
        """Take in the tokens that are new, and the n-grams that end before the last of them."""
        known, n = len(row.tokens), self.settings.ngram
        row.tokens.extend(context[known:].tolist())
        for end in range(max(known, n), len(row.tokens)):
            row.ends.setdefault(tuple(row.tokens[end - n : end]), []).append(end)

    def _places(self, row: Row) -> list[tuple[int, int]]:
        """Where to copy from, best first: the longest common ending, then the most recent. (its length, place)"""
        tokens, n = row.tokens, self.settings.ngram
        found = row.ends.get(tuple(tokens[-n:]), ()) if len(tokens) > n else ()
        ranked = sorted(((_common_ending(tokens, end, n), end) for end in found[-PLACES:]), reverse=True)
        return ranked[: 1 if self.settings.nodes is None else COPIES]


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


def _tree(pending: int, copies: Sequence[tuple[int, list[int]]], nodes: int) -> TokenTree:
    """The likeliest nodes of what the copies, each behind a common ending of so many tokens, make together."""
    tokens, parents, chances = [pending], [-1], [1.0]
    known: dict[tuple[int, int], int] = {}
    for common, copied in copies:
        above, chance = 0, 1.0
        for depth, token in enumerate(copied):
            chance *= min(0.3 + 0.2 * (common + depth), 0.98)
            node = known.get((above, token))
            if node is None:
                node = known[above, token] = len(tokens)
                tokens.append(token)
                parents.append(above)
                chances.append(chance)
            chances[node] = max(chances[node], chance)
            above = node
    kept = sorted(range(len(tokens)), key=lambda node: -chances[node])[:nodes]  # parents before children
    places = {node: place for place, node in enumerate(kept)}
    return TokenTree(
        torch.tensor([tokens[node] for node in kept]), torch.tensor([places.get(parents[node], -1) for node in kept])
    )
