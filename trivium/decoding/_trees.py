"""Draft trees of several rows as one pass of the target, and the target's distributions at their nodes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core.protocols import State
from trivium.core.tree import TokenTree
from trivium.decoding._pipeline import Pipeline, draw, likeliest

EAGER = 2**17
"""Probabilities of a pass that are computed at once; beyond, only those that are asked for."""


def is_chain(tree: TokenTree) -> bool:
    """Whether no node has siblings."""
    return len(tree) < 3 or bool((tree.parents == torch.arange(-1, len(tree) - 1)).all())


def pack(trees: Sequence[TokenTree], state: State, device: torch.device) -> dict[str, Tensor]:
    """The arguments of one pass over all trees: rows padded to the largest.

    Chains need no more than the usual causal mask. Otherwise each node sees its row's past, itself and its ancestors,
    and stands at the position that its depth gives it.
    """
    nodes = max(len(tree) for tree in trees)
    ids = torch.zeros(len(trees), nodes, dtype=torch.int64)
    for row, tree in enumerate(trees):
        ids[row, : len(tree)] = tree.tokens
    if all(is_chain(tree) for tree in trees):
        if all(len(tree) == nodes for tree in trees):
            return {"ids": ids.to(device)}
        sizes = torch.tensor([len(tree) for tree in trees])
        return {"ids": ids.to(device), "mask": (torch.arange(nodes) < sizes[:, None]).to(device)}
    mask = torch.zeros(len(trees), 1, nodes, state.slots + nodes, dtype=torch.bool)
    mask[..., : state.slots] = True  # what of it a row may not see, the model knows
    positions = state.next_position[:, None].repeat(1, nodes)
    for row, tree in enumerate(trees):
        size = len(tree)
        mask[row, 0, :size, state.slots : state.slots + size] = tree.visible
        positions[row, :size] = tree.positions(int(state.next_position[row]))
    return {"ids": ids.to(device), "mask": mask.to(device), "positions": positions.to(device)}


@dataclass(frozen=True)
class Shared:
    """What could be computed for all nodes of a row at once."""

    best: Sequence[int] | None = None
    probs: Tensor | None = None  # (nodes, vocab)


def shared_work(pipeline: Pipeline, logits: Tensor) -> Callable[[int], Shared]:
    """Row of the pass -> what is shared. Where no step looks at the history, one operation finds the likeliest token of
    every node; so do small distributions. Large ones are left to be computed where the verifier goes."""
    batch, nodes, vocab = logits.shape
    if not pipeline.untouched:
        return lambda row: Shared()
    if pipeline.greedy:
        best = likeliest(logits).tolist()
        return lambda row: Shared(best[row])
    if batch * nodes * vocab > EAGER:
        return lambda row: Shared()
    probs = pipeline.probabilities(logits.reshape(-1, vocab)).view(batch, nodes, vocab)
    return lambda row: Shared(None, probs[row])


class NodeLaws:
    """One row's target distributions, node by node: what a verifier sees. Each node is processed with its own path as
    history, and only where the verifier goes."""

    def __init__(
        self,
        pipeline: Pipeline,
        logits: Tensor,
        tree: TokenTree,
        context: Tensor,
        generated: int,
        stops: Sequence[int],
        shared: Shared,
    ) -> None:
        self._pipeline, self._raw, self._tree = pipeline, logits, tree  # logits (nodes, vocab)
        self._context, self._generated, self._stops = context, generated, stops
        self._shared = shared

    def _processed(self, node: int, step: Callable[..., Tensor]) -> Tensor:
        raw = self._raw[node : node + 1]
        if self._pipeline.untouched:
            return step(raw)
        path = self._tree.path(node)[1:]
        history = torch.cat([self._context, self._tree.tokens[path]])
        return step(raw, [history], [self._generated + len(path)], self._stops)

    def probabilities(self, node: int) -> Tensor:
        if self._shared.probs is not None:
            return self._shared.probs[node]
        return self._processed(node, self._pipeline.probabilities)[0]

    def draw(self, node: int, uniform: Callable[[], float]) -> int:
        if self._shared.best is not None:
            return self._shared.best[node]
        if self._pipeline.greedy:
            return int(likeliest(self._processed(node, self._pipeline.penalised)))
        probs = self.probabilities(node)[None]
        return int(draw(probs, torch.tensor([uniform()], dtype=torch.float64, device=probs.device)))
