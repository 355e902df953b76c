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

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.protocols import LanguageModel
from trivium.core.tree import TokenTree
from trivium.drafting._model import Drafting, Growth, Logits, Row, draft_for, loaded, ranked

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
        return self if self.model is None else replace(self, model=loaded(self.model))

    def start(self, model: LanguageModel, *, generator: torch.Generator, logits: Logits) -> "Sampled":
        draft = draft_for("draft_model", self.model, model, self.branches)
        return Sampled(self, draft, generator, logits)


class Sampled(Drafting):
    """Children drawn independently, or the likeliest ones, to a length that may adapt."""

    def __init__(self, settings: DraftModel, draft: LanguageModel, generator: torch.Generator, logits: Logits) -> None:
        super().__init__(draft, generator, logits, settings.draws, settings.branches)
        self.settings = settings

    def depth(self, row: Row, committed: Sequence[int]) -> int:
        length = row.length or self.settings.length
        if not self.settings.adaptive or row.tree is None or len(row.tree) == 1:
            return length
        full = _followed(row.tree, committed) == int(row.tree.depths.max())
        return min(max(length + (2 if full else -1), 1), LONGEST)

    def grow(self, growth: Growth, leaves: list[int], raw: Tensor, processed: Tensor, depth: int) -> None:
        children = self.settings.branching[depth] if depth < len(self.settings.branching) else 1
        probs = processed.softmax(-1)
        confident = (probs.amax(-1) >= self.settings.min_confidence).tolist()
        for place, leaf in enumerate(leaves):
            if not confident[place]:
                continue
            if self.draws == "independent":
                drawn = probs[place].double().cpu()
                tokens = torch.multinomial(drawn, children, replacement=True, generator=growth.stream)
                growth.drawn[leaf] = probs[place]
            else:
                tokens = ranked(raw[place], processed[place]).topk(min(children, raw.shape[-1])).indices
            for token in tokens.tolist():
                growth.add(leaf, token)


def _followed(tree: TokenTree, committed: Sequence[int]) -> int:
    """How deep the committed tokens run along the tree."""
    node = depth = 0
    for token in committed:
        onward = [child for child in tree.children[node] if int(tree.tokens[child]) == token]
        if not onward:
            break
        node, depth = max(onward, key=lambda child: len(tree.children[child])), depth + 1
    return depth
