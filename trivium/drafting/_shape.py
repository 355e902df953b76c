"""The shape of a draft tree that is filled with the likeliest tokens of each depth.

A node is a path of ranks: (0, 2) is the third-best token of the second step after the best of the first. Shapes are
parents and ranks, never padded rows of a table, so that there is no slot that could be taken for a token.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from trivium.core.tree import TokenTree

TOP = 10
"""Ranks that are told apart at each depth."""

Path = tuple[int, ...]


def guessed(depth: int) -> list[list[float]]:
    """Accuracies (depth, TOP) to shape the tree of a drafter that was never measured."""
    return [[0.5 * 0.7**step * 0.5**rank for rank in range(TOP)] for step in range(depth)]


@dataclass(frozen=True)
class Shape:
    """Nodes below the root as paths of ranks, each path after its beginning."""

    paths: tuple[Path, ...]

    def __post_init__(self) -> None:
        known: set[Path] = {()}
        for path in self.paths:
            if path in known or not path:
                raise ValueError(f"the tree lists the path {path} twice, or an empty path; the root needs none")
            if path[:-1] not in known:
                raise ValueError(
                    f"the tree has the path {path} without its beginning {path[:-1]}, which must come first"
                )
            if not all(0 <= rank < TOP for rank in path):
                raise ValueError(f"ranks are 0 to {TOP - 1}, since only the top {TOP} are told apart; got path {path}")
            known.add(path)

    @classmethod
    def best(cls, accuracy: Sequence[Sequence[float]], nodes: int) -> "Shape":
        """The tree of so many nodes, the root included, whose expected accepted length is greatest.

        ``accuracy[step][rank]``: how often the token of that rank was the right one. Nodes are added greedily by the
        product along their path, which is never larger than that of the path's beginning; so no other tree does better.
        """
        chosen: list[Path] = []
        waiting: list[tuple[float, Path]] = []

        def extend(path: Path, product: float) -> None:
            if len(path) < len(accuracy):
                for rank, rate in enumerate(accuracy[len(path)]):
                    heapq.heappush(waiting, (-product * rate, (*path, rank)))

        extend((), 1.0)
        while waiting and len(chosen) < nodes - 1:
            product, path = heapq.heappop(waiting)
            chosen.append(path)
            extend(path, -product)
        return cls(tuple(chosen))

    def expected(self, accuracy: Sequence[Sequence[float]]) -> float:
        """Tokens per pass, the extra one included, where every step is right as often as measured, alone."""
        total = 1.0
        for path in self.paths:
            product = 1.0
            for step, rank in enumerate(path):
                product *= accuracy[step][rank]
            total += product
        return total

    @property
    def depth(self) -> int:
        return max(map(len, self.paths), default=0)

    @property
    def branches(self) -> bool:
        """Whether any node has a sibling."""
        return len(self.paths) > self.depth

    @cached_property
    def layout(self) -> tuple[Tensor, Tensor, Tensor]:
        """Per node below the root: parent, depth (from 0) and rank."""
        index = {(): 0, **{path: node for node, path in enumerate(self.paths, 1)}}
        parents = [index[path[:-1]] for path in self.paths]
        lasts = [(len(path) - 1, path[-1]) for path in self.paths]
        depths, ranks = torch.tensor(lasts, dtype=torch.int64).view(-1, 2).unbind(1)
        return torch.tensor(parents, dtype=torch.int64), depths, ranks

    def tree(self, pending: int, tops: Tensor, room: int) -> TokenTree:
        """The tree below a pending token where ``tops`` (depth, ranks) are the likeliest tokens of each step."""
        _, depths, ranks = self.layout
        return self.filled(pending, tops[depths, ranks.clamp(max=tops.shape[1] - 1)], room, tops.shape[1])

    def filled(self, pending: int, tokens: Tensor, room: int, ranks: int = TOP) -> TokenTree:
        """The tree with these tokens (nodes,) below the pending one. Nodes deeper than ``room``, or of a rank that a
        vocabulary of ``ranks`` tokens does not have, are left out with all below them."""
        parents, depths, rank = self.layout
        fits = ((depths < room) & (rank < ranks)).tolist()
        alive = [True]
        for parent, fit in zip(parents.tolist(), fits, strict=True):
            alive.append(fit and alive[parent])
        kept = torch.tensor(alive)
        renamed, below = kept.cumsum(0) - 1, kept[1:]
        return TokenTree(
            torch.cat([torch.tensor([pending]), tokens[below]]),
            torch.cat([torch.tensor([-1]), renamed[parents[below]]]),
        )
