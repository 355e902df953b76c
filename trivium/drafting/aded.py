"""ADED (Adaptix): a table of tri-grams that adapts as it runs, turned into a draft tree by a small tree search.

Source
    Liu, Lei, Zhang, Xu 2024, "Adaptive Draft-Verification for Efficient Large Language Model Decoding",
    arXiv:2407.12021; the rules of the authors' released code (Adaptix), as described, from which we take none.
Equation
    F(a, b, v) = count(a, b, v) / count(a, b);   F += increment for each tri-gram of the last tokens, at most ``cap``
    or, by distribution:  F(a, b, .) = p(. | .., a, b), its largest entries, for each pair a, b that a pass verified
    select:  argmax_v  R(v) / n(v) + (c1 + ln((N + c2 + 1) / c2)) F(v) sqrt(N) / (1 + n(v)),   unvisited ones first
    reward:  1 + sum of F along the path and a roll-out to the full depth that follows F
    draft:   the ``paths`` most visited paths, each with its likeliest follower
Shapes
    context (time,) -> tree of at most 1 + max_draft nodes
Cost
    No model call. ``iterations`` walks through a few dozen dictionary entries, about 2 ms for 150 of them. By
    distribution also the largest 12 of (nodes, vocab) logits.
Caveats
    The released code rewards a roll-out by the wrong token, trims the longest drafts first and guesses a fixed token
    where it has none; here the new token is rewarded, the least visited drafts go first, and a pair that was never seen
    drafts nothing. Its sampling is biased; ours matches, which is exact. What is adapted belongs to one row of one
    generation, where the original shares it between requests. Without a table, and for pairs that it lacks, the row's
    own prompt is counted. The paper updates by the model's own distributions, its released code by committed tokens;
    the second is the default here. How the first goes is not known to us in detail. Ours: at each node of a verified
    tree, taken or not, the followers of its last two tokens become the target's likeliest tokens, with their
    probabilities before the logits pipeline as weights; what was counted before is dropped, nothing is added for
    committed tokens, and of several nodes with one pair the one that was drafted first counts. The default tree of up
    to 64 nodes is meant for hardware on which a pass over 64 positions costs little more than over one; on a few CPU
    cores take fewer ``paths``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from trivium.core import seeds
from trivium.core.method import method
from trivium.core.protocols import LanguageModel
from trivium.core.tree import Draw, TokenTree
from trivium.drafting._trigrams import FOLLOWERS, TrigramTable

Followers = Sequence[tuple[int, float]]
"""Tokens and weights, the heaviest first."""


@method(title="ADED", source="arXiv:2407.12021", year=2024, lossless=True)
@dataclass(frozen=True)
class Aded:
    """Drafts by a tree search over tri-grams that adapt to what was committed."""

    table: TrigramTable | str | None = None
    """Tri-grams of a corpus: a table, the file it was saved to, or None to start from the row's own prompt."""
    iterations: int = 150
    """Walks of the search."""
    depth: int = 3
    """Tokens that the search looks ahead; drafts are one longer."""
    paths: int = 24
    """Most visited paths that are drafted."""
    max_draft: int = 64
    """Tokens of the draft tree at most."""
    exploration: float = 32.0
    """c1: how much a heavy tri-gram counts beside the rewards seen so far."""
    growth: float = 8.0
    """c2: the visits after which exploration starts to weigh more."""
    update: Literal["committed", "distribution"] = "committed"
    """What is adapted to: committed tokens, or what the target says at every node that is verified."""
    increment: float = 0.04
    """By committed tokens: added to each tri-gram in the window at each proposal; 0 leaves the table fixed."""
    cap: float = 3.0
    """No adapted weight exceeds it."""
    window: int = 16
    """Last committed tokens that are adapted to."""

    def __post_init__(self) -> None:
        for name in ("iterations", "depth", "paths", "max_draft"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.update not in ("committed", "distribution"):
            raise ValueError(f"update must be 'committed' or 'distribution', got {self.update!r}")
        if self.window < 3:
            raise ValueError(f"window must hold at least the 3 tokens of a tri-gram, got {self.window}")
        for name, least in (("exploration", 0.0), ("increment", 0.0)):
            if not least <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least {least:g} and finite, got {getattr(self, name)}")
        for name in ("growth", "cap"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")

    @property
    def draws(self) -> Draw:
        return "deterministic"

    @property
    def branches(self) -> bool:
        """Whether trees with siblings may come."""
        return self.paths > 1

    def loaded(self) -> "Aded":
        """The same with a saved table read."""
        return replace(self, table=_read(self.table)) if isinstance(self.table, str) else self

    def start(
        self,
        model: LanguageModel,
        *,
        generator: torch.Generator,
        logits: Callable[[Tensor, Sequence[Tensor]], Tensor],
    ) -> "Searching":
        table = _read(self.table) if isinstance(self.table, str) else self.table
        if table is not None and table.vocab_size != model.vocab_size:
            raise ValueError(
                f"the tri-gram table was made for a vocabulary of {table.vocab_size} and the target has one of "
                f"{model.vocab_size}; build it from a corpus encoded by the target's tokenizer"
            )
        return Searching(self, table, model.vocab_size, generator)


@dataclass
class Row:
    """What one row has adapted. ``after``: pair -> follower -> weight, for pairs that were looked up so far."""

    stream: torch.Generator
    prompt: TrigramTable
    after: dict[tuple[int, int], dict[int, float]] = field(default_factory=dict)
    before: int = -1  # the token before the root of the last tree, -1 where there is none


class Searching:
    """One batch's tables."""

    def __init__(self, settings: Aded, table: TrigramTable | None, vocab_size: int, generator: torch.Generator) -> None:
        self.settings, self.table, self.vocab_size, self.generator = settings, table, vocab_size, generator
        self.rows: list[Row] = []

    def propose(self, contexts: Sequence[Tensor], room: Sequence[int]) -> list[TokenTree]:
        if not self.rows:
            base = int(torch.randint(2**62, (), generator=self.generator, device=self.generator.device))
            self.rows = [
                Row(seeds.generator(base, "search", index), TrigramTable.build([context], self.vocab_size))
                for index, context in enumerate(contexts)
            ]
        return [self._draft(row, context, most) for row, context, most in zip(self.rows, contexts, room, strict=True)]

    def read(self, rows: Sequence[int], trees: Sequence[TokenTree], logits: Tensor) -> None:
        """Under update by distribution: the target's likeliest tokens become the followers of the pairs it was at."""
        if self.settings.update != "distribution":
            return
        best = logits.topk(min(FOLLOWERS, logits.shape[-1]))  # (rows, nodes, followers)
        wide = torch.promote_types(logits.dtype, torch.float32)
        shares = (best.values.to(wide) - logits.to(wide).logsumexp(-1, keepdim=True)).exp().clamp(max=self.settings.cap)
        for row, tree, tokens, weights in zip(rows, trees, best.indices.tolist(), shares.tolist(), strict=True):
            known, own, parents = self.rows[row], tree.tokens.tolist(), tree.parents.tolist()
            for node in reversed(range(len(tree))):  # the first one last, so that it counts
                first = own[parents[node]] if node else known.before
                known.after[first, own[node]] = dict(zip(tokens[node], weights[node], strict=True))

    def _draft(self, row: Row, context: Tensor, room: int) -> TokenTree:
        tokens = context[-self.settings.window :].tolist()
        if len(tokens) > 1:
            row.before = tokens[-2]
        if room < 1 or len(tokens) < 2:
            return TokenTree.chain(int(context[-1]))
        self._adapt(row, tokens)
        known: dict[tuple[int, int], Followers] = {}

        def followers(pair: tuple[int, int]) -> Followers:
            if pair not in known:
                found = sorted(self._after(row, pair).items(), key=lambda entry: -entry[1])
                known[pair] = found[:FOLLOWERS]
            return known[pair]

        pair = (tokens[-2], tokens[-1])
        if not followers(pair):
            return TokenTree.chain(pair[1])
        depth = min(self.settings.depth, room)
        numbers = torch.rand(self.settings.iterations * depth, generator=row.stream).tolist()
        found = search(self.settings, pair, depth, followers, numbers)
        paths = [extended(path, pair, followers) if len(path) < room else path for path in found]
        return TokenTree.from_paths(tokens[-1], paths).truncate(nodes=1 + self.settings.max_draft)

    def _after(self, row: Row, pair: tuple[int, int]) -> dict[int, float]:
        """The row's own weights after a pair; the first look takes them from the corpus, or else from the prompt."""
        if pair not in row.after:
            corpus = self.table.after(*pair) if self.table is not None else {}
            row.after[pair] = corpus or row.prompt.after(*pair)
        return row.after[pair]

    def _adapt(self, row: Row, tokens: Sequence[int]) -> None:
        step, cap = self.settings.increment if self.settings.update == "committed" else 0.0, self.settings.cap
        for first, second, third in zip(tokens, tokens[1:], tokens[2:], strict=False) if step else ():
            after = self._after(row, (first, second))
            after[third] = min(after.get(third, 0.0) + step, cap)


class Node:
    """A token of the search tree. ``children`` is None until the node is expanded."""

    __slots__ = ("children", "reward", "token", "tried", "visits", "weight")

    def __init__(self, token: int, weight: float) -> None:
        self.token, self.weight = token, weight
        self.visits, self.reward = 0, 0.0
        self.children: list[Node] | None = None
        self.tried = 0  # children are visited a first time in their order, the heaviest first


def search(
    settings: Aded,
    pair: tuple[int, int],
    depth: int,
    followers: Callable[[tuple[int, int]], Followers],
    numbers: Sequence[float],
) -> list[tuple[int, ...]]:
    """The most visited paths below a pair of tokens, most visited first, shorter ones first among equals."""
    root = Node(pair[1], 0.0)
    for iteration in range(settings.iterations):
        node, last, trail, reward = root, pair, [root], 1.0
        while len(trail) <= depth:
            expanded = node.children is not None
            if node.children is None:
                node.children = [Node(token, weight) for token, weight in followers(last)]
            if not node.children:
                break
            node = chosen(settings, node, node.children)
            trail.append(node)
            last, reward = (last[1], node.token), reward + node.weight
            if not expanded:
                break
        for place in range(len(trail) - 1, depth):
            after = followers(last)
            if not after:
                break
            token, weight = drawn(after, numbers[iteration * depth + place])
            last, reward = (last[1], token), reward + weight
        for passed in trail:
            passed.visits += 1
            passed.reward += reward
    return [path for path, _ in sorted(visited(root, ()), key=lambda entry: (-entry[1], len(entry[0])))][
        : settings.paths
    ]


def chosen(settings: Aded, node: Node, children: list[Node]) -> Node:
    """The child to visit: one that never was, else the one of the largest reward and exploration."""
    if node.tried < len(children):
        node.tried += 1
        return children[node.tried - 1]
    spread = settings.exploration + math.log((node.visits + settings.growth + 1) / settings.growth)
    spread *= math.sqrt(node.visits)
    return max(children, key=lambda child: child.reward / child.visits + spread * child.weight / (1 + child.visits))


def drawn(after: Followers, point: float) -> tuple[int, float]:
    """A follower in proportion to its weight, at a point of [0, 1)."""
    left = point * sum(weight for _, weight in after)
    for token, weight in after:
        left -= weight
        if left < 0:
            return token, weight
    return after[-1]


def visited(node: Node, above: tuple[int, ...]) -> list[tuple[tuple[int, ...], int]]:
    """Every path below a node that was visited, and how often."""
    found = []
    for child in node.children or ():
        if child.visits:
            path = (*above, child.token)
            found += [(path, child.visits), *visited(child, path)]
    return found


def extended(
    path: tuple[int, ...], pair: tuple[int, int], followers: Callable[[tuple[int, int]], Followers]
) -> tuple[int, ...]:
    """The path and its likeliest follower."""
    text = (*pair, *path)
    after = followers((text[-2], text[-1]))
    return (*path, after[0][0]) if after else path


@lru_cache(maxsize=4)
def _read(path: str) -> TrigramTable:
    return TrigramTable.load(path)
