"""Verifiers: which drafted tokens the target takes, and what it says after the last of them.

Each is exact for some ways of drawing siblings and biased for others, so each says which; a decoder refuses the rest.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from trivium.core.tree import Draw, TokenTree
from trivium.decoding._pipeline import draw

ANY: frozenset[Draw] = frozenset({"deterministic", "independent", "without_replacement"})


class Laws(Protocol):
    """The target's processed distributions at the nodes of one tree, evaluated where they are asked for."""

    def probabilities(self, node: int) -> Tensor:
        """(vocab,) of the token after the node."""
        ...

    def draw(self, node: int, uniform: Callable[[], float]) -> int:
        """A token from it: one uniform number, none where the distribution is a point mass."""
        ...


@dataclass(frozen=True)
class Acceptance:
    """Accepted nodes from the root down, the root left out, and the extra token after the last of them."""

    path: tuple[int, ...]
    token: int


class Verifier(Protocol):
    """tree x target distributions -> accepted path and extra token."""

    @property
    def draws(self) -> frozenset[Draw]:
        """The ways of drawing siblings for which the output follows the target's law."""
        ...

    @property
    def lossless(self) -> bool: ...

    def __call__(self, tree: TokenTree, laws: Laws, uniform: Callable[[], float]) -> Acceptance: ...


@dataclass(frozen=True)
class Match:
    """Draw the target's token at each node and go down where a child carries it.

    Exact for any tree that was made without looking at the draw. One number per committed token, so that the output
    equals plain sampling draw by draw; at temperature 0 it takes the likeliest token at each node.
    """

    draws: frozenset[Draw] = field(default=ANY, init=False)
    lossless: bool = field(default=True, init=False)

    def __call__(self, tree: TokenTree, laws: Laws, uniform: Callable[[], float]) -> Acceptance:
        tokens, children = tree.tokens.tolist(), tree.children
        node, path = 0, []
        while True:
            token = laws.draw(node, uniform)
            matching = [child for child in children[node] if tokens[child] == token]
            if not matching:
                return Acceptance(tuple(path), token)
            # Siblings with the same token stand for the same text; the one drafted furthest is worth most.
            node = max(matching, key=lambda child: len(children[child]))
            path.append(node)


@dataclass(frozen=True)
class Rejection:
    """Multi-round rejection for independently drawn siblings (SpecInfer); with one child a node, speculative sampling.

    With p the target's and q the draft's distribution: accept the child y if u q(y) < p(y), else p <- max(p - q, 0),
    renormalised, and try the next child; where all fail, the extra token comes from what is left of p.
    """

    draws: frozenset[Draw] = field(default=frozenset({"independent"}), init=False)
    lossless: bool = field(default=True, init=False)

    def __call__(self, tree: TokenTree, laws: Laws, uniform: Callable[[], float]) -> Acceptance:
        return _in_rounds(tree, laws, uniform, lambda q, rejected: q)


@dataclass(frozen=True)
class Recursive:
    """Recursive rejection for siblings drawn without replacement (RSD): as multi-round rejection, but each rejected
    sibling leaves q as well as p, and what is left of q is renormalised, because that is what the next was drawn from.

    Exact where a node's children stand in drawing order; their number may be random. A tree that its drafter had to
    fix, as at temperature 0, is matched.
    """

    draws: frozenset[Draw] = field(default=frozenset({"without_replacement"}), init=False)
    lossless: bool = field(default=True, init=False)

    def __call__(self, tree: TokenTree, laws: Laws, uniform: Callable[[], float]) -> Acceptance:
        if tree.draws == "deterministic":
            return Match()(tree, laws, uniform)
        return _in_rounds(tree, laws, uniform, _without)


@dataclass(frozen=True)
class Typical:
    """Typical acceptance (Medusa, arXiv:2401.10774): take a token that is likely enough, whether or not it was drawn.

    Accept v after a node  iff  p(v) > min(eps, delta exp(-H(p))), with H the entropy in nats; go the longest way that
    is accepted throughout, among equals the likeliest. Lossy: tokens that are drafted come out too often. At
    temperature 0 only the likeliest token passes, so that the text is the greedy one.
    """

    eps: float = 0.09
    """A token at least this likely is always taken; 0 takes any that is possible."""
    delta: float = 0.3
    """Of an uncertain distribution also a token this fraction of exp(-entropy), its typical probability."""
    draws: frozenset[Draw] = field(default=ANY, init=False)
    lossless: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        for name, value in (("eps", self.eps), ("delta", self.delta)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {value}")

    def __call__(self, tree: TokenTree, laws: Laws, uniform: Callable[[], float]) -> Acceptance:
        tokens, children = tree.tokens.tolist(), tree.children
        best, level = (0, 0.0), [(0, 0.0)]  # node, log-probability of the way to it
        while level:
            best = max(level, key=lambda reached: reached[1])
            below = []
            for node, logp in level:
                if children[node]:
                    p = laws.probabilities(node).double()
                    floor = min(self.eps, self.delta * math.exp(-float(torch.special.entr(p).sum())))
                    likely = [(child, float(p[tokens[child]])) for child in children[node]]
                    below += [(child, logp + math.log(share)) for child, share in likely if share > floor]
            level = below
        return Acceptance(tuple(tree.path(best[0])[1:]), laws.draw(best[0], uniform))


@dataclass(frozen=True)
class Careless:
    """A wrong verifier on purpose: it draws twice, and takes what was drafted first.

    Drafted tokens come out more often than they should. The losslessness certificate must reject it, which shows
    that the certificate would have seen a bias.
    """

    draws: frozenset[Draw] = field(default=ANY, init=False)
    lossless: bool = field(default=False, init=False)

    def __call__(self, tree: TokenTree, laws: Laws, uniform: Callable[[], float]) -> Acceptance:
        tokens, children = tree.tokens.tolist(), tree.children
        node, path = 0, []
        while True:
            order = {tokens[child]: child for child in reversed(children[node])}
            token = laws.draw(node, uniform)
            if order:
                token = min(laws.draw(node, uniform), token, key=lambda drawn: order.get(drawn, len(tokens)))
            if token not in order:
                return Acceptance(tuple(path), token)
            node = order[token]
            path.append(node)


VERIFIERS: Mapping[str, Verifier] = {
    "match": Match(),
    "greedy": Match(),
    "rejection": Rejection(),
    "recursive": Recursive(),
    "typical": Typical(),
}
"""At temperature 0 matching is greedy verification; the name "greedy" insists on it."""

_REASONS: Mapping[Draw, str] = {
    "deterministic": "its rule divides by the probability of having drawn the draft, which is 1 for a fixed one",
    "without_replacement": "it subtracts the whole draft distribution for every sibling, but the earlier ones were out",
    "independent": "it takes each sibling out before it looks at the next, but these could be drawn again",
}


def check_suited(name: str, verifier: Verifier, draws: Draw) -> None:
    """Raise ValueError, with the reason, where the verifier would bias the output for such drafts."""
    if draws not in verifier.draws:
        exact = [
            repr(known)
            for known, other in VERIFIERS.items()
            if other.lossless and draws in other.draws and known != "greedy"
        ]
        raise ValueError(
            f"verifier {name!r} is biased for {draws.replace('_', ' ')} drafts: {_REASONS[draws]}; "
            f"use verifier {' or '.join(exact)}"
        )


def _in_rounds(
    tree: TokenTree, laws: Laws, uniform: Callable[[], float], after: Callable[[Tensor, int], Tensor]
) -> Acceptance:
    """One child after another, each against what its elders left of p. ``after``: what the next sibling was drawn from,
    given the distribution and token of one that was rejected."""
    tokens, children = tree.tokens.tolist(), tree.children
    node, path = 0, []
    while True:
        p, taken = laws.probabilities(node).double(), None
        q = _drafted_from(tree, node).to(p) if children[node] else p
        for child in children[node]:
            y = tokens[child]
            if q[y] <= 0:
                raise ValueError(
                    f"drafted token {y} has probability 0 in its draft distribution; it was not drawn from it"
                )
            if uniform() * float(q[y]) < float(p[y]):
                taken = child
                break
            rest = (p - q).clamp(min=0)
            p = rest / rest.sum() if rest.sum() > 0 else p  # equal to rounding: the rejection was an artefact
            q = after(q, y)
        if taken is None:
            return Acceptance(tuple(path), _one(p, uniform))
        node = taken
        path.append(node)


def _without(q: Tensor, token: int) -> Tensor:
    """The distribution with one token taken out; all zeros where it was the only one."""
    left = q.index_fill(0, torch.tensor([token], device=q.device), 0)
    return left / left.sum() if left.sum() > 0 else left


def _drafted_from(tree: TokenTree, node: int) -> Tensor:
    if tree.probs is None:
        raise ValueError(
            "rejection needs the draft distribution of every node, and this drafter gives none; use verifier 'match'"
        )
    return tree.probs[node]


def _one(probs: Tensor, uniform: Callable[[], float]) -> int:
    return int(draw(probs[None], torch.tensor([uniform()], dtype=torch.float64, device=probs.device)))
