"""Recursive speculative decoding, stochastic beam search (RSD-S): a tree of the draft's own most fortunate texts.

Source
    Jeon, Gagrani, Goel, Park, Lee, Lott 2024, "Recursive Speculative Decoding: Accelerating LLM Inference via Sampling
    Without Replacement", arXiv:2402.14160, RSD-S (from its abstract and from memory; no official code was found).
    Stochastic beam search: Kool, van Hoof, Welling 2019, "Stochastic Beams and Where to Find Them", arXiv:1903.06059,
    algorithm 1 and its appendix on numerical stability.
Equation
    phi(s v) = phi(s) + log q(v | s);   g_v = phi(s v) + Gumbel(0, 1);   Z = max_v g_v;   root: phi = G = 0
    G(s v) = -log(exp(-G(s)) - exp(-Z) + exp(-g_v)),   so that  max_v G(s v) = G(s)
    keep the W largest G(s v) over all kept s; siblings in descending G
Shapes
    context (time,) -> tree of at most 1 + width * depth nodes, draft rows (nodes, vocab)
Cost
    ``depth`` draft passes over at most ``width`` positions, and width * vocab random numbers each.
Caveats
    Exact with verifiers 'recursive' and 'match'. The beam keeps or drops a sibling by its score, but given its elders
    that score says nothing about which token it is, so recursive rejection stays exact however many survive; it does
    for no other order of visiting. Where a pipeline leaves fewer tokens than the width, the beam is narrower. At
    temperature 0 there is no chance left: the beam keeps the likeliest texts, and they are matched. Scores are in
    float64. The paper's tables were not at hand: the defaults are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.protocols import LanguageModel
from trivium.core.tree import Draw
from trivium.drafting._gumbel import best, conditioned, perturbed
from trivium.drafting._model import Drafting, Growth, Logits, Row, check_size, draft_for, loaded, ranked


@method(
    title="Recursive speculative decoding, stochastic beam search", source="arXiv:2402.14160", year=2024, lossless=True
)
@dataclass(frozen=True)
class RsdStochastic:
    """Drafts the tree of a stochastic beam search, which spends its nodes where the draft is likely to be."""

    model: LanguageModel | str | None = None
    """The draft: a model, a name or folder to load, or None for the target itself."""
    width: int = 4
    """Texts kept at each depth."""
    depth: int = 4
    """Tokens drafted along a path."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width must keep at least 1 text, got {self.width}")
        if self.depth < 1:
            raise ValueError(f"depth must be at least 1 drafted token, got {self.depth}")
        check_size(f"width {self.width} with depth {self.depth}", self.width * self.depth)

    @property
    def draws(self) -> Draw:
        return "without_replacement"

    @property
    def branches(self) -> bool:
        """Whether trees with siblings may come."""
        return self.width > 1

    def loaded(self) -> "RsdStochastic":
        """The same with a named draft model loaded."""
        return self if self.model is None else replace(self, model=loaded(self.model))

    def start(self, model: LanguageModel, *, generator: torch.Generator, logits: Logits) -> "Beam":
        draft = draft_for("rsd_stochastic", self.model, model, self.branches)
        return Beam(self, draft, generator, logits)


class Beam(Drafting):
    """The leaves of a row share one beam."""

    def __init__(
        self, settings: RsdStochastic, draft: LanguageModel, generator: torch.Generator, logits: Logits
    ) -> None:
        super().__init__(draft, generator, logits, "without_replacement", settings.branches)
        self.settings = settings

    def depth(self, row: Row, committed: Sequence[int]) -> int:
        return self.settings.depth

    def grow(self, growth: Growth, leaves: list[int], raw: Tensor, processed: Tensor, depth: int) -> None:
        above = torch.tensor([growth.scores.get(leaf, (0.0, 0.0)) for leaf in leaves], dtype=torch.float64)
        if self.draws == "deterministic":
            phi = above[:, :1] + ranked(raw, processed).double().log_softmax(-1).cpu()
            values = phi
        else:
            probs = processed.softmax(-1).cpu()
            phi = above[:, :1] + probs.double().log()
            values = conditioned(perturbed(phi, growth.stream), above[:, 1])
            growth.drawn.update(zip(leaves, probs, strict=True))
        for place, token, value in best(values, self.settings.width):
            growth.scores[growth.add(leaves[place], token)] = (float(phi[place, token]), value)
