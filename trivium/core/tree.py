"""Draft trees: what a drafter hands to a verifier, with how its siblings were drawn.

Node 0 is the root and carries the pending token: committed, but not yet fed to the model. A parent stands before its
children, and siblings stand in drawing order, on which exactness depends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

Draw = Literal["deterministic", "independent", "without_replacement"]
"""How the children of a node were chosen: fixed before any draw; i.i.d. from the node's draft distribution; or one
after another from it with the earlier ones removed."""


@dataclass(frozen=True)
class TokenTree:
    """A rooted tree of draft tokens for one row.

    ``tokens`` (nodes,) int64; ``parents`` (nodes,) int64 with -1 for the root; ``probs`` (nodes, vocab): the draft
    distribution that the children of each node were drawn from, needed by rejection verifiers only.
    Raises ValueError for an empty tree, a parent at or after its child, or a second root.
    """

    tokens: Tensor
    parents: Tensor
    draws: Draw = "deterministic"
    probs: Tensor | None = None

    def __post_init__(self) -> None:
        if self.tokens.ndim != 1 or self.tokens.numel() == 0:
            raise ValueError(f"a tree has at least its root: tokens must be (nodes,), got {tuple(self.tokens.shape)}")
        if self.parents.shape != self.tokens.shape:
            raise ValueError(f"{self.tokens.numel()} tokens need as many parents, got {tuple(self.parents.shape)}")
        index = torch.arange(self.tokens.numel())
        wrong = (self.parents >= index) | ((self.parents < 0) != (index == 0))
        if wrong.any():
            node = int(wrong.nonzero()[0, 0])
            raise ValueError(
                f"node {node} has parent {int(self.parents[node])}; a parent stands before its child; node 0 has -1"
            )
        if self.probs is not None and self.probs.shape[0] != self.tokens.numel():
            raise ValueError(f"{self.tokens.numel()} nodes need as many draft rows, got {self.probs.shape[0]}")

    def __len__(self) -> int:
        return self.tokens.numel()

    @classmethod
    def chain(
        cls,
        pending: int,
        drafted: Sequence[int] | Tensor = (),
        *,
        draws: Draw = "deterministic",
        probs: Tensor | None = None,
    ) -> "TokenTree":
        """The pending token followed by one line of drafts. ``probs`` (drafts, vocab): where each draft came from."""
        tokens = torch.tensor([pending, *(int(token) for token in drafted)])
        if probs is not None:  # the last node has no children; give it a row all the same, so rows and nodes match
            probs = torch.cat([probs, probs.new_zeros(1, probs.shape[1])]) if len(probs) < len(tokens) else probs
        return cls(tokens, torch.arange(len(tokens)) - 1, draws, probs)

    @classmethod
    def from_paths(cls, pending: int, paths: Sequence[Sequence[int]]) -> "TokenTree":
        """Merge drafted continuations that share a beginning; siblings keep the order in which they appear."""
        tokens, parents, known = [pending], [-1], {}
        for path in paths:
            at = 0
            for token in path:
                child = known.get((at, int(token)))
                if child is None:
                    child = known[at, int(token)] = len(tokens)
                    tokens.append(int(token))
                    parents.append(at)
                at = child
        return cls(torch.tensor(tokens), torch.tensor(parents))

    @cached_property
    def depths(self) -> Tensor:
        """(nodes,) distance from the root."""
        return self.visible.sum(1) - 1

    @cached_property
    def visible(self) -> Tensor:
        """(nodes, nodes) bool: a node sees itself and its ancestors."""
        seen = torch.eye(len(self), dtype=torch.bool)
        for node in range(1, len(self)):
            seen[node] |= seen[int(self.parents[node])]
        return seen

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """How many nodes there are at each depth, from the root on."""
        chain = bool((self.parents == torch.arange(-1, len(self) - 1)).all())
        return (1,) * len(self) if chain else tuple(self.depths.bincount().tolist())

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Per node its children, in drawing order."""
        found: list[list[int]] = [[] for _ in range(len(self))]
        for node, parent in enumerate(self.parents.tolist()):
            if parent >= 0:
                found[parent].append(node)
        return tuple(tuple(nodes) for nodes in found)

    def positions(self, pending_position: int) -> Tensor:
        """(nodes,) position ids, given that of the pending token."""
        return pending_position + self.depths

    def path(self, node: int) -> list[int]:
        """Node indices from the root to ``node``, both included."""
        return self.visible[node].nonzero()[:, 0].tolist()

    def paths(self) -> list[list[int]]:
        """Node indices from the root to each leaf."""
        return [self.path(node) for node, below in enumerate(self.children) if not below]

    def truncate(self, nodes: int | None = None, depth: int | None = None) -> "TokenTree":
        """The first ``nodes`` nodes no deeper than ``depth``; whether a sibling stays never depends on its token."""
        keep = torch.ones(len(self), dtype=torch.bool)
        if depth is not None:
            keep &= self.depths <= depth
        if nodes is not None:
            keep &= keep.cumsum(0) <= max(nodes, 1)
        index = keep.nonzero()[:, 0]
        renamed = keep.cumsum(0) - 1
        parents = torch.where(index == 0, -1, renamed[self.parents[index].clamp(min=0)])
        return TokenTree(self.tokens[index], parents, self.draws, None if self.probs is None else self.probs[index])
