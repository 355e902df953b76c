"""Rows of tokens as tries: what rows begin with alike stands once, and many short rows make one long one.

A trie is laid out as one row of a pass. Each node sees itself and what leads to it, and stands at the position that it
has in its own row, so that nothing is read twice and nothing is padded. Nodes behind which something is predicted stand
last, so that logits are made of these alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

Ids = tuple[int, ...]

PASS = 32
"""What a pass costs besides its nodes, in nodes: weights are read once more, and small products are slow. Measured, as
the next one, on two cores in float32."""
WIDE = 3000
"""Nodes at which seeing one another costs as much again as all the rest; the share grows as they do."""


def common(low: Sequence[int], high: Sequence[int]) -> int:
    """How many tokens two rows begin with alike."""
    differ = (at for at, (one, other) in enumerate(zip(low, high, strict=False)) if one != other)
    return next(differ, min(len(low), len(high)))


@dataclass(frozen=True)
class Trie:
    """Rows in one, as they are laid out: ``tokens`` (nodes,); ``depths`` (nodes,), 0 for what rows begin with;
    ``places``: for each row the nodes behind which it predicts. The last ``kept`` nodes are those that predict, or
    stand below one that does."""

    tokens: Tensor
    depths: Tensor
    places: tuple[tuple[int, ...], ...]
    kept: int
    visible: Tensor
    """(nodes, nodes) bool: a node sees itself and its ancestors, which stand before it."""

    def __len__(self) -> int:
        return len(self.tokens)

    @staticmethod
    def of(rows: Sequence[Ids], firsts: Sequence[int]) -> "Trie":
        """Of sorted rows, each of which predicts from behind its token number ``first`` on."""
        tokens: list[int] = []
        depths: list[int] = []
        ends: list[int] = []
        path: list[int] = []
        paths: list[list[int]] = []
        for before, row in zip([(), *rows], rows, strict=False):
            shared = common(before, row)
            for node in path[shared:]:
                ends[node] = len(tokens)
            new = range(len(tokens), len(tokens) + len(row) - shared)
            path = [*path[:shared], *new]
            tokens += row[shared:]
            depths += range(shared, len(row))
            ends += [0] * len(new)
            paths.append(path)
        for node in path:
            ends[node] = len(tokens)
        index = torch.arange(len(tokens))
        # Nodes are made depth first: below a node stand those that come after it and before its end.
        visible = (index[:, None] >= index) & (index[:, None] < torch.tensor(ends))
        predicts = torch.zeros(len(tokens), dtype=torch.bool)
        for first, nodes in zip(firsts, paths, strict=True):
            predicts[nodes[first:]] = True
        last = (visible & predicts).any(1)
        order = torch.argsort(last.long(), stable=True)
        place = torch.argsort(order).tolist()
        return Trie(
            torch.tensor(tokens)[order],
            torch.tensor(depths)[order],
            tuple(tuple(place[node] for node in nodes[first:]) for first, nodes in zip(firsts, paths, strict=True)),
            int(last.sum()),
            visible[order][:, order],
        )


def stretches(rows: Sequence[Ids], predicted: Sequence[int], nodes: int, predictions: int) -> list[tuple[int, range]]:
    """Sorted, different rows in stretches, each to be a trie of so many nodes: those that cost least together, where
    none has more than ``nodes`` or ``predictions`` unless it is one row. ``predicted``: how many each row makes."""
    shared = [0, *(common(one, other) for one, other in pairwise(rows))]
    added, asked = [0], [0]
    for row, same, count in zip(rows, shared, predicted, strict=True):
        added.append(added[-1] + len(row) - same)
        asked.append(asked[-1] + count)
    best, begins = [0.0], [0]
    for stop in range(1, len(rows) + 1):
        least, begin = float("inf"), stop - 1
        for start in range(stop - 1, -1, -1):
            size = added[stop] - added[start] + shared[start]
            if start < stop - 1 and (size > nodes or asked[stop] - asked[start] > predictions):
                break
            cost = best[start] + PASS + size * (1 + size / WIDE)
            if cost < least:
                least, begin = cost, start
        best.append(least)
        begins.append(begin)
    found, stop = [], len(rows)
    while stop:
        start = begins[stop]
        found.append((added[stop] - added[start] + shared[start], range(start, stop)))
        stop = start
    return found[::-1]
