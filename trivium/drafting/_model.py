"""What all drafters share that run a draft model: its state from one proposal to the next, and trees that grow level by
level. They differ in which tokens follow a node."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from trivium.core import seeds
from trivium.core.capabilities import require_offers
from trivium.core.errors import NotFinite
from trivium.core.protocols import LanguageModel, State
from trivium.core.tree import Draw, TokenTree
from trivium.models.sources import load

Logits = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""The logits pipeline: (rows, vocab) and each row's history -> (rows, vocab)."""

MOST = 1024
"""Nodes of a draft tree, the root left out."""


def draft_for(who: str, draft: LanguageModel | str | None, target: LanguageModel, branches: bool) -> LanguageModel:
    """The model that drafts for a target, checked: named, given, or the target itself."""
    model = target if draft is None else loaded(draft, target)
    if model.vocab_size != target.vocab_size:
        raise ValueError(
            f"the draft model has a vocabulary of {model.vocab_size} and the target one of {target.vocab_size}; "
            "they must share a tokenizer"
        )
    require_offers(f"{who}'s draft", model, ["causal", "state", "truncate", *(["tree"] if branches else [])])
    return model


def loaded(draft: LanguageModel | str, target: LanguageModel | None = None) -> LanguageModel:
    """A draft that is named is loaded, in the number format and on the device of the target; one name is read once."""
    if not isinstance(draft, str):
        return draft
    if target is None:
        return _named(draft)
    return _named(draft, str(target.dtype).removeprefix("torch."), str(target.device))


@lru_cache(maxsize=4)
def _named(name: str, dtype: str = "float32", device: str = "cpu") -> LanguageModel:
    return load(name, dtype=dtype, device=device).model


def check_size(what: str, nodes: int) -> None:
    """Raise ValueError for trees that are too large to be worth a pass."""
    if nodes > MOST:
        raise ValueError(f"{what} drafts trees of {nodes} tokens, more than the {MOST} allowed; draft fewer")


def ranked(raw: Tensor, processed: Tensor) -> Tensor:
    """(rows, vocab) scores that rank all tokens: those that the pipeline keeps as it ranks them, the others below them
    by the raw logits. At temperature 0 it keeps one only."""
    cut = processed.isneginf()
    floor = processed.masked_fill(cut, float("inf")).amin(-1, keepdim=True)
    return torch.where(cut, raw.to(processed.dtype) - raw.amax(-1, keepdim=True) + floor - 1, processed)


@dataclass
class Row:
    """One row's side of a draft. ``held``: the tokens in the draft's state, committed ones and, for a chain, drafts."""

    stream: torch.Generator
    held: list[int] = field(default_factory=list)
    known: int = 0  # how many of them were committed when they were fed
    length: int = 0  # how deep the last tree could have been, had there been room; 0 before the first
    tree: TokenTree | None = None


@dataclass
class Growth:
    """A row's tree while it grows: node 0 is the pending token."""

    history: Tensor
    limit: int
    stream: torch.Generator
    tokens: list[int]
    parents: list[int] = field(default_factory=lambda: [-1])
    drawn: dict[int, Tensor] = field(default_factory=dict)
    """Node -> the distribution its children were drawn from, where that was chance."""
    scores: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Node -> what a beam ranks it by: the log-probability of its path, and the same with noise."""
    columns: list[int] = field(default_factory=list)
    """Nodes in the order they were fed, -1 for padding."""

    def add(self, parent: int, token: int) -> int:
        """A further node; siblings are added in drawing order."""
        self.tokens.append(token)
        self.parents.append(parent)
        return len(self.tokens) - 1

    def path(self, node: int) -> list[int]:
        """Nodes from below the root down to ``node``."""
        found: list[int] = []
        while node > 0:
            found.append(node)
            node = self.parents[node]
        return found[::-1]

    def text(self, node: int) -> Tensor:
        """All tokens up to the node's."""
        return torch.cat([self.history, torch.tensor([self.tokens[n] for n in self.path(node)], dtype=torch.int64)])

    def tree(self, draws: Draw) -> TokenTree:
        probs = None
        if self.drawn:
            nothing = torch.zeros_like(next(iter(self.drawn.values())))
            probs = torch.stack([self.drawn.get(node, nothing) for node in range(len(self.tokens))])
        return TokenTree(torch.tensor(self.tokens), torch.tensor(self.parents), draws, probs)


class Drafting(ABC):
    """One batch: the draft's state, and where each row stands in it."""

    def __init__(
        self, draft: LanguageModel, generator: torch.Generator, logits: Logits, draws: Draw, branches: bool
    ) -> None:
        self.draft, self.generator, self.logits = draft, generator, logits
        self.draws: Draw = draws
        self.branches = branches
        self.rows: list[Row] = []
        self.order: list[int] = []  # the rows of the state
        self.state: State | None = None
        self.passes = self.positions = 0  # of the draft so far

    @abstractmethod
    def depth(self, row: Row, committed: Sequence[int]) -> int:
        """How deep the row's next tree may be. ``committed``: the tokens since its last one."""

    @abstractmethod
    def grow(self, growth: Growth, leaves: list[int], raw: Tensor, processed: Tensor, depth: int) -> None:
        """Add the children of the leaves, all at this depth below the root: (leaves, vocab) the draft's logits after
        each, as they are and through the pipeline."""

    @torch.no_grad()
    def propose(self, contexts: Sequence[Tensor], room: Sequence[int]) -> list[TokenTree]:
        if not self.rows:
            self._begin(contexts, room)
        active = [row for row in self.order if room[row] > 0]
        resting = set(range(len(contexts))).difference(active)
        trees = {row: TokenTree.chain(int(contexts[row][-1])) for row in resting}
        if not active:
            return [trees[row] for row in range(len(contexts))]
        limits = {}
        for index in active:
            row = self.rows[index]
            row.length = self.depth(row, contexts[index][row.known :].tolist())
            limits[index] = min(row.length, room[index])
        self._focus(active)
        logits = self._catch_up(contexts)
        grown = self._grow(contexts, limits, logits)
        for row, growth in zip(self.order, grown, strict=True):
            trees[row] = self.rows[row].tree = growth.tree(self.draws)
        return [trees[row] for row in range(len(contexts))]

    def _begin(self, contexts: Sequence[Tensor], room: Sequence[int]) -> None:
        longest = max(len(context) + most for context, most in zip(contexts, room, strict=True))
        if self.draft.max_positions is not None and longest > self.draft.max_positions:
            raise ValueError(
                f"the draft model has {self.draft.max_positions} positions, this generation may need {longest}; "
                "shorten the prompt, lower the limit, or take another draft"
            )
        if self.draws == "without_replacement" and self._one_token_left(contexts[0]):
            self.draws = "deterministic"
        base = 0
        if self.draws != "deterministic":
            base = int(torch.randint(2**62, (), generator=self.generator, device=self.generator.device))
        self.rows = [Row(seeds.generator(base, "draft", index)) for index in range(len(contexts))]
        self.order = list(range(len(contexts)))

    def _one_token_left(self, history: Tensor) -> bool:
        """Whether the pipeline keeps a single token even of equal ones, as at temperature 0: then there is nothing to
        draw a second sibling from, and fixed trees are drafted."""
        equal = torch.zeros(1, self.draft.vocab_size, device=self.draft.device)
        return int((~self.logits(equal, [history]).isneginf()).sum()) == 1

    def _focus(self, active: list[int]) -> None:
        """Leave rows out of the state that will never draft again."""
        if active != self.order:
            if self.state is not None:
                self.state = self.state.select(torch.tensor([self.order.index(row) for row in active]))
            self.order = active

    def _catch_up(self, contexts: Sequence[Tensor]) -> Tensor:
        """Cut the state back to what was committed, feed what it misses: (rows, vocab) after each pending token."""
        missing: list[list[int]] = []
        kept: list[int] = []
        for index in self.order:
            row, committed = self.rows[index], contexts[index].tolist()
            agreed = row.known
            while agreed < min(len(row.held), len(committed) - 1) and row.held[agreed] == committed[agreed]:
                agreed += 1
            kept.append(agreed)
            missing.append(committed[agreed:])
            row.held, row.known = list(committed), len(committed)
        if self.state is not None and self.state.lengths.tolist() != kept:
            self.state = self.state.truncate(kept[0] if len(kept) == 1 else torch.tensor(kept))
        width = max(map(len, missing))
        ids = torch.tensor([[0] * (width - len(tokens)) + tokens for tokens in missing])
        mask = torch.tensor([[False] * (width - len(tokens)) + [True] * len(tokens) for tokens in missing])
        return self._feed(ids, mask=None if mask.all() else mask, logits_to_keep=1)[:, -1]

    def _grow(self, contexts: Sequence[Tensor], limits: dict[int, int], logits: Tensor) -> list[Growth]:
        """Level after level. A chain is fed as plain steps, a tree with a mask."""
        assert self.state is not None
        past = self.state.slots
        lengths = [len(contexts[row]) for row in self.order]
        grown = [
            Growth(contexts[row], limits[row], self.rows[row].stream, [int(contexts[row][-1])]) for row in self.order
        ]
        level = [(at, [0], logits[at : at + 1]) for at in range(len(grown))]  # row, its leaves, logits after them
        for depth in range(max(limits.values())):
            new = self._next_level(grown, level, depth)
            feed = [
                [node for node in nodes if depth + 1 < growth.limit] for growth, nodes in zip(grown, new, strict=True)
            ]
            width = max(map(len, feed))
            if width == 0:
                break
            ids = torch.tensor(
                [
                    [growth.tokens[n] for n in nodes] + [0] * (width - len(nodes))
                    for growth, nodes in zip(grown, feed, strict=True)
                ]
            )
            if self.branches:
                out = self._feed(ids, **self._level_mask(grown, feed, past, width, lengths, depth + 1))
            else:
                real = torch.tensor([[bool(nodes)] for nodes in feed])
                out = self._feed(ids, mask=None if real.all() else real)
                for index, growth, nodes in zip(self.order, grown, feed, strict=True):
                    self.rows[index].held.extend(growth.tokens[node] for node in nodes)
            level = [(at, nodes, out[at, : len(nodes)]) for at, nodes in enumerate(feed) if nodes]
        return grown

    def _next_level(
        self, grown: list[Growth], level: list[tuple[int, list[int], Tensor]], depth: int
    ) -> list[list[int]]:
        """Let every row add its nodes at this depth; returns them. The pipeline sees the nodes of all rows at once."""
        raw = torch.cat([logits for _, _, logits in level])
        if not raw.amax(-1).isfinite().all():  # silence would decode plainly, at the price of both models
            raise NotFinite("the draft model's logits are not finite; check its weights, or use a wider dtype")
        processed = self.logits(raw, [grown[at].text(node) for at, nodes, _ in level for node in nodes])
        new: list[list[int]] = [[] for _ in grown]
        done = 0
        for at, leaves, _ in level:
            rows, before = slice(done, done + len(leaves)), len(grown[at].tokens)
            self.grow(grown[at], leaves, raw[rows], processed[rows], depth)
            new[at] = list(range(before, len(grown[at].tokens)))
            done += len(leaves)
        return new

    def _level_mask(
        self, grown: list[Growth], feed: list[list[int]], past: int, width: int, lengths: list[int], depth: int
    ) -> dict[str, Tensor]:
        """Mask and positions of one level: the row's past, and of the tree a node's ancestors and itself."""
        assert self.state is not None
        before = self.state.slots - past
        mask = torch.zeros(len(grown), 1, width, self.state.slots + width, dtype=torch.bool)
        mask[..., :past] = True
        for at, (growth, nodes) in enumerate(zip(grown, feed, strict=True)):
            for column, node in enumerate(nodes):
                above = set(growth.path(node))
                seen = [past + place for place, fed in enumerate(growth.columns) if fed in above]
                mask[at, 0, column, [*seen, past + before + column]] = True
            growth.columns.extend([*nodes, *([-1] * (width - len(nodes)))])
        positions = torch.tensor(lengths)[:, None].expand(-1, width) + depth - 1
        return {"mask": mask.to(self.draft.device), "positions": positions.to(self.draft.device)}

    def _feed(self, ids: Tensor, mask: Tensor | None = None, **arguments: object) -> Tensor:
        """One pass of the draft, which becomes its state: (rows, columns, vocab) logits."""
        device = self.draft.device
        self.passes, self.positions = self.passes + 1, self.positions + ids.numel()
        mask = None if mask is None else mask.to(device)
        out = self.draft(ids.to(device), mask=mask, state=self.state, keep_state=True, **arguments)
        self.state = out.state
        return out.logits
