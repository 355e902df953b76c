"""Draft model: a second, cheaper language model guesses what the target will say.

Source
    Leviathan, Kalman, Matias 2023, "Fast Inference from Transformers via Speculative Decoding", arXiv:2211.17192;
    sibling drafts: Miao et al. 2024, "SpecInfer", arXiv:2305.09781, section 4. Early stop and length rule as in
    transformers' assisted generation (Gante 2023).
Equation
    independent:    y ~ q(. | x, path), so many i.i.d. children per node as ``branching`` says for its depth
    deterministic:  y in top-b of q(. | x, path)
    stop below a node  iff  max_v q(v | x, path) < min_confidence
Shapes
    context (time,) -> tree of 1 + b1 + b1 b2 + ... nodes, draft rows (nodes, vocab) for independent draws
Cost
    ``length`` passes of the draft model per proposal, over as many positions as a level has nodes. The first of them
    also takes in what was committed since, so a draft that fell behind needs no pass of its own.
Caveats
    Target and draft must share one vocabulary. Whether drafting stops never depends on the token drawn there, so the
    early stop keeps rejection exact. Duplicate siblings are kept as separate attempts, which the rejection rule counts
    on. Without a ``model`` the target drafts for itself: everything is accepted, nothing is gained, and tests like it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from trivium.core import seeds
from trivium.core.capabilities import require_offers
from trivium.core.method import method
from trivium.core.protocols import LanguageModel, State
from trivium.core.tree import TokenTree
from trivium.models.sources import load

LONGEST = 16
"""The adaptive rule never drafts deeper than this."""


@method(title="Draft model", source="arXiv:2211.17192", year=2023, lossless=True)
@dataclass(frozen=True)
class DraftModel:
    """Drafts by running a language model ahead of the target."""

    model: LanguageModel | str | None = None
    """The draft: a model, a name or folder to load, or None for the target itself."""
    length: int = 5
    """Tokens drafted along a path."""
    branching: tuple[int, ...] = ()
    """Children of each node, by depth; depths beyond it have one child. Empty for a chain."""
    draws: Literal["independent", "deterministic"] = "independent"
    """Children drawn from the draft's distribution (for rejection), or its likeliest tokens (for matching)."""
    min_confidence: float = 0.4
    """Draft no further where the draft's top probability is below this; 0 always drafts to the full length."""
    adaptive: bool = False
    """Draft 2 tokens more after full acceptance and 1 less otherwise, row by row."""

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length must be at least 1 drafted token, got {self.length}")
        if any(children < 1 for children in self.branching):
            raise ValueError(f"branching gives at least 1 child at each depth, got {self.branching}")
        if len(self.branching) > self.length:
            raise ValueError(f"branching describes {len(self.branching)} depths, but length is only {self.length}")
        if self.draws not in ("independent", "deterministic"):
            raise ValueError(f"draws must be 'independent' or 'deterministic', got {self.draws!r}")
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence is a probability, so 0 to 1; got {self.min_confidence}")

    @property
    def branches(self) -> bool:
        """Whether trees with siblings may come."""
        return any(children > 1 for children in self.branching)

    def loaded(self) -> "DraftModel":
        """The same with a named draft model loaded."""
        return replace(self, model=_loaded(self.model)) if isinstance(self.model, str) else self

    def start(
        self,
        model: LanguageModel,
        *,
        generator: torch.Generator,
        logits: Callable[[Tensor, Sequence[Tensor]], Tensor],
    ) -> "Drafting":
        draft = _loaded(self.model) if isinstance(self.model, str) else self.model if self.model is not None else model
        if draft.vocab_size != model.vocab_size:
            raise ValueError(
                f"the draft model has a vocabulary of {draft.vocab_size} and the target one of {model.vocab_size}; "
                "they must share a tokenizer"
            )
        require_offers(
            "draft_model's draft", draft, ["causal", "state", "truncate", *(["tree"] if self.branches else [])]
        )
        return Drafting(self, draft, generator, logits)


@dataclass
class Row:
    """One row's side of a draft. ``held``: the tokens in the draft's state, committed ones and, for a chain, drafts."""

    stream: torch.Generator
    length: int
    held: list[int] = field(default_factory=list)
    known: int = 0  # how many of them were committed when they were fed
    tree: TokenTree | None = None


@dataclass
class Growth:
    """A row's tree while it grows: node 0 is the pending token."""

    history: Tensor
    limit: int
    tokens: list[int]
    parents: list[int]
    depths: list[int]
    rows: dict[int, Tensor]  # node -> the distribution its children were drawn from
    columns: list[int] = field(default_factory=list)  # nodes in the order they were fed, -1 for padding

    def path(self, node: int) -> list[int]:
        """Nodes from below the root down to ``node``."""
        found: list[int] = []
        while node > 0:
            found.append(node)
            node = self.parents[node]
        return found[::-1]


class Drafting:
    """One batch: the draft's state, and where each row stands in it."""

    def __init__(
        self,
        settings: DraftModel,
        draft: LanguageModel,
        generator: torch.Generator,
        logits: Callable[[Tensor, Sequence[Tensor]], Tensor],
    ) -> None:
        self.settings, self.draft, self.generator, self.logits = settings, draft, generator, logits
        self.rows: list[Row] = []
        self.order: list[int] = []  # the rows of the state
        self.state: State | None = None
        self.positions = 0  # fed to the draft so far

    def propose(self, contexts: Sequence[Tensor], room: Sequence[int]) -> list[TokenTree]:
        if not self.rows:
            self._begin(contexts, room)
        lone = [TokenTree.chain(int(context[-1])) for context in contexts]
        active = [row for row in self.order if room[row] > 0]
        if not active:
            return lone
        self._adapt(contexts, active)
        self._focus(active)
        logits = self._catch_up(contexts)
        grown = self._grow(contexts, room, logits)
        for row, growth in zip(self.order, grown, strict=True):
            lone[row] = self.rows[row].tree = self._tree(growth)
        return lone

    def _begin(self, contexts: Sequence[Tensor], room: Sequence[int]) -> None:
        longest = max(len(context) + most for context, most in zip(contexts, room, strict=True))
        if self.draft.max_positions is not None and longest > self.draft.max_positions:
            raise ValueError(
                f"the draft model has {self.draft.max_positions} positions, this generation may need {longest}; "
                "shorten the prompt, lower the limit, or take another draft"
            )
        base = 0
        if self.settings.draws == "independent":
            base = int(torch.randint(2**62, (), generator=self.generator, device=self.generator.device))
        self.rows = [Row(seeds.generator(base, "draft", index), self.settings.length) for index in range(len(contexts))]
        self.order = list(range(len(contexts)))

    def _adapt(self, contexts: Sequence[Tensor], active: Sequence[int]) -> None:
        for row in (self.rows[index] for index in active) if self.settings.adaptive else ():
            if row.tree is not None and len(row.tree) > 1:
                committed = contexts[self.rows.index(row)][row.known :].tolist()
                full = _followed(row.tree, committed) == int(row.tree.depths.max())
                row.length = min(max(row.length + (2 if full else -1), 1), LONGEST)

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

    def _grow(self, contexts: Sequence[Tensor], room: Sequence[int], logits: Tensor) -> list[Growth]:
        """Draw level after level. A chain is fed as plain steps, a tree with a mask."""
        assert self.state is not None
        past = self.state.slots
        lengths = [len(contexts[row]) for row in self.order]
        grown = [
            Growth(contexts[row], min(self.rows[row].length, room[row]), [int(contexts[row][-1])], [-1], [0], {})
            for row in self.order
        ]
        level = [(at, 0, logits[at]) for at in range(len(grown))]  # row, node, logits after it
        for depth in range(max(growth.limit for growth in grown)):
            level = [entry for entry in level if depth < grown[entry[0]].limit]
            if not level:
                break
            new = self._draw(grown, level, depth)
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
            if self.settings.branches:
                out = self._feed(ids, **self._level_mask(grown, feed, past, width, lengths, depth + 1))
            else:
                real = torch.tensor([[bool(nodes)] for nodes in feed])
                out = self._feed(ids, mask=None if real.all() else real)
                for index, growth, nodes in zip(self.order, grown, feed, strict=True):
                    self.rows[index].held.extend(growth.tokens[node] for node in nodes)
            level = [(at, node, out[at, column]) for at, nodes in enumerate(feed) for column, node in enumerate(nodes)]
        return grown

    def _draw(self, grown: list[Growth], level: list[tuple[int, int, Tensor]], depth: int) -> list[list[int]]:
        """Children of every node of a level; returns the new nodes of each row."""
        children = self.settings.branching[depth] if depth < len(self.settings.branching) else 1
        raw = torch.stack([logits for _, _, logits in level])
        histories = [
            torch.cat(
                [
                    grown[at].history,
                    torch.tensor([grown[at].tokens[n] for n in grown[at].path(node)], dtype=torch.int64),
                ]
            )
            for at, node, _ in level
        ]
        processed = self.logits(raw, histories)
        probs = processed.softmax(-1)
        confident = (probs.amax(-1) >= self.settings.min_confidence).tolist()
        new: list[list[int]] = [[] for _ in grown]
        for place, (at, node, _) in enumerate(level):
            if not confident[place]:
                continue
            growth = grown[at]
            if self.settings.draws == "independent":
                stream = self.rows[self.order[at]].stream
                tokens = torch.multinomial(probs[place].double().cpu(), children, replacement=True, generator=stream)
                growth.rows[node] = probs[place]
            else:
                tokens = _likeliest(raw[place], processed[place], children)
            for token in tokens.tolist():
                new[at].append(len(growth.tokens))
                growth.tokens.append(token)
                growth.parents.append(node)
                growth.depths.append(depth + 1)
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
        self.positions += ids.numel()
        mask = None if mask is None else mask.to(device)
        out = self.draft(ids.to(device), mask=mask, state=self.state, keep_state=True, **arguments)
        self.state = out.state
        return out.logits

    def _tree(self, growth: Growth) -> TokenTree:
        probs = None
        if self.settings.draws == "independent":
            like = next(iter(growth.rows.values()), None)
            if like is not None:
                nothing = torch.zeros_like(like)
                probs = torch.stack([growth.rows.get(node, nothing) for node in range(len(growth.tokens))])
        return TokenTree(torch.tensor(growth.tokens), torch.tensor(growth.parents), self.settings.draws, probs)


def _followed(tree: TokenTree, committed: Sequence[int]) -> int:
    """How deep the committed tokens run along the tree."""
    node = depth = 0
    for token in committed:
        onward = [child for child in tree.children[node] if int(tree.tokens[child]) == token]
        if not onward:
            break
        node, depth = max(onward, key=lambda child: len(tree.children[child])), depth + 1
    return depth


def _likeliest(raw: Tensor, processed: Tensor, count: int) -> Tensor:
    """The top of the processed logits; where these leave fewer tokens (temperature 0: one), the raw ones go on."""
    cut = processed.isneginf()
    floor = processed[~cut].amin()
    key = torch.where(cut, raw.to(processed.dtype) - raw.amax() + floor - 1, processed)
    return key.topk(min(count, len(key))).indices


@lru_cache(maxsize=4)
def _loaded(name: str) -> LanguageModel:
    return load(name).model
