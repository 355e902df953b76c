"""Joined drafters: what one has found stands first in the tree, and another fills the room that is left.

Source
    Oliaro, Jia, Campos, Qiao 2024, "SuffixDecoding: Extreme Speculative Decoding for Emerging AI Applications",
    arXiv:2411.04975: its hybrid with a model-based drafter (idea only).
Equation
    tree = nodes of T_first, then those of T_then whose parent is in the tree
    equal paths are one;   |tree| <= nodes
Shapes
    two trees per row -> one tree of at most so many nodes
Cost
    Both drafters' own work at each pass, and O(nodes) on top.
Caveats
    The original takes at each step the tree of one drafter, by a score of what the other has found; we verify both at
    once, since within the width that a pass bears the second costs little. Both must fix their tokens before any draw,
    so that matching is exact. Drafters that work within the target's own pass (hidden_transfer, m2r2, skip_decode)
    verify trees of their own only and are refused. The authors' suffix tree over earlier requests is left out: what is
    found belongs to one text. The order of a tree's nodes says which are worth most, so a drafter whose tree is cut
    should list the likeliest ones first, as the trained ones do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trivium.core.method import card_of, find, method
from trivium.core.protocols import Accompanying, Drafter, DraftSession, LanguageModel, Observing, Reading, Sharing
from trivium.core.tree import Draw, TokenTree


@method(title="Joined drafters", source="arXiv:2411.04975", year=2024, lossless=True)
@dataclass(frozen=True)
class Joined:
    """One tree out of the trees of two drafters."""

    first: Drafter = field(
        default_factory=lambda: find("drafting", "prompt_lookup")(length=8), metadata={"kind": "drafting"}
    )
    """Whose nodes all stand in the tree, as far as there is room; one that drafts only where it has found something."""
    then: Drafter = field(default_factory=lambda: find("drafting", "aded")(), metadata={"kind": "drafting"})  # noqa: PLW0108
    """Fills what is left: aded, medusa, chimera, draft_model (with draws='deterministic') ..."""
    nodes: int = 16
    """Size of the tree, the pending token included."""

    def __post_init__(self) -> None:
        if self.nodes < 2:
            raise ValueError(f"nodes counts the pending token too, so at least 2 to draft anything; got {self.nodes}")
        for drafter in (self.first, self.then):
            if drafter.draws != "deterministic":
                raise ValueError(
                    f"{card_of(drafter).name} has {drafter.draws.replace('_', ' ')} drafts; joined trees are matched, "
                    "for which drafts must be fixed: set draws='deterministic' where there is that choice"
                )

    @property
    def draws(self) -> Draw:
        return "deterministic"

    @property
    def branches(self) -> bool:
        """Whether trees with siblings may come."""
        return True

    def start(
        self,
        model: LanguageModel,
        *,
        generator: torch.Generator,
        logits: Callable[[Tensor, Sequence[Tensor]], Tensor],
    ) -> "Joining":
        sessions = []
        for drafter in (self.first, self.then):
            session = drafter.start(model, generator=generator, logits=logits)
            if isinstance(session, Accompanying | Sharing):
                raise ValueError(
                    f"{card_of(drafter).name} works within the target's own pass, on its own trees only, so it cannot "
                    "be joined with another drafter; use it alone"
                )
            sessions.append(session)
        return Joining(sessions, self.nodes)


class Joining:
    """Two sessions on one batch; each is told what it wants to know."""

    def __init__(self, sessions: Sequence[DraftSession], nodes: int) -> None:
        self.sessions, self.nodes = sessions, nodes
        self.observing = [session for session in sessions if isinstance(session, Observing)]
        self.reading = [session for session in sessions if isinstance(session, Reading)]
        self.reads_prompt = any(session.reads_prompt for session in self.observing)

    @property
    def passes(self) -> int:
        return sum(getattr(session, "passes", 0) for session in self.sessions)

    @property
    def positions(self) -> int:
        return sum(getattr(session, "positions", 0) for session in self.sessions)

    def propose(self, contexts: Sequence[Tensor], room: Sequence[int]) -> list[TokenTree]:
        # Each drafts for every row: one that keeps a state would lose the rows that it is not asked for.
        trees = [session.propose(contexts, room) for session in self.sessions]
        return [joined(pair, self.nodes) for pair in zip(*trees, strict=True)]

    def observe(self, rows: Sequence[int], nodes: Sequence[Tensor], hidden: Sequence[Tensor]) -> None:
        for session in self.observing:  # of a prompt one may be shown all states where it asks for the last: it ends so
            session.observe(rows, nodes, hidden)

    def read(self, rows: Sequence[int], trees: Sequence[TokenTree], logits: Tensor) -> None:
        for session in self.reading:
            session.read(rows, trees, logits)


def joined(trees: Sequence[TokenTree], nodes: int) -> TokenTree:
    """One tree of trees with the same root: their nodes in turn, equal paths once, at most so many."""
    tokens, parents = [int(trees[0].tokens[0])], [-1]
    known: dict[tuple[int, int], int] = {}
    for tree in trees:
        places = {0: 0}  # node of this tree -> node of the joined one
        for node, (token, parent) in enumerate(zip(tree.tokens.tolist(), tree.parents.tolist(), strict=True)):
            above = places.get(parent)
            if node == 0 or above is None:
                continue
            if (above, token) not in known and len(tokens) < nodes:
                known[above, token] = len(tokens)
                tokens.append(token)
                parents.append(above)
            if (above, token) in known:
                places[node] = known[above, token]
    return TokenTree(torch.tensor(tokens), torch.tensor(parents))
