"""Recursive speculative decoding, constant branching (RSD-C): siblings are different tokens, drawn without replacement.

Source
    Jeon, Gagrani, Goel, Park, Lee, Lott 2024, "Recursive Speculative Decoding: Accelerating LLM Inference via Sampling
    Without Replacement", arXiv:2402.14160, RSD-C (from its abstract and from memory; no official code was found).
    Drawing by Gumbel noise: Kool, van Hoof, Welling 2019, "Stochastic Beams and Where to Find Them", arXiv:1903.06059.
Equation
    G_v = log q(v | x, path) + Gumbel(0, 1);   children = the b_l largest G_v of a node at depth l, largest first
    which is a draw  y_1 ~ q,  y_2 ~ q without y_1, renormalised,  and so on
    verify (recursive):  accept y_j  iff  u q_j(y_j) < p_j(y_j),   else  p_{j+1} = max(p_j - q_j, 0), renormalised
Shapes
    context (time,) -> tree of 1 + b1 + b1 b2 + ... nodes, draft rows (nodes, vocab)
Cost
    One draft pass per depth, over as many positions as the depth before has nodes, and vocab random numbers per node.
Caveats
    Exact with verifiers 'recursive' and 'match'; the multi-round rule for independent siblings is biased and refused.
    Siblings must be visited in the order in which they were drawn. Where a pipeline leaves fewer tokens than branches,
    there are fewer children. At temperature 0 one token is left, so the likeliest b are drafted and matched. The
    paper's tables were not at hand: the default branching is ours. Distinct siblings pay where a pass over a further
    position is cheap, and only while sampling.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.protocols import LanguageModel
from trivium.core.tree import Draw
from trivium.drafting._gumbel import best, perturbed
from trivium.drafting._model import Drafting, Growth, Logits, Row, check_size, draft_for, loaded, ranked


@method(title="Recursive speculative decoding, constant branching", source="arXiv:2402.14160", year=2024, lossless=True)
@dataclass(frozen=True)
class RsdConstant:
    """Drafts trees with a fixed number of different children at each depth."""

    model: LanguageModel | str | None = None
    """The draft: a model, a name or folder to load, or None for the target itself."""
    branching: tuple[int, ...] = (2, 2, 2)
    """Children of each node, by depth; as many depths as there are numbers."""

    def __post_init__(self) -> None:
        if not self.branching or any(children < 1 for children in self.branching):
            raise ValueError(f"branching gives at least 1 child at each of at least 1 depth, got {self.branching}")
        check_size(f"branching {self.branching}", sum(accumulate(self.branching, mul)))

    @property
    def draws(self) -> Draw:
        return "without_replacement"

    @property
    def branches(self) -> bool:
        """Whether trees with siblings may come."""
        return math.prod(self.branching) > 1

    def loaded(self) -> "RsdConstant":
        """The same with a named draft model loaded."""
        return self if self.model is None else replace(self, model=loaded(self.model))

    def start(self, model: LanguageModel, *, generator: torch.Generator, logits: Logits) -> "Branching":
        draft = draft_for("rsd_constant", self.model, model, self.branches)
        return Branching(self.branching, draft, generator, logits)


class Branching(Drafting):
    """Every leaf gets its own children."""

    def __init__(
        self, branching: tuple[int, ...], draft: LanguageModel, generator: torch.Generator, logits: Logits
    ) -> None:
        super().__init__(draft, generator, logits, "without_replacement", math.prod(branching) > 1)
        self.branching = branching

    def depth(self, row: Row, committed: Sequence[int]) -> int:
        return len(self.branching)

    def grow(self, growth: Growth, leaves: list[int], raw: Tensor, processed: Tensor, depth: int) -> None:
        if self.draws == "deterministic":
            values = ranked(raw, processed)
        else:
            probs = processed.softmax(-1).cpu()
            values = perturbed(probs.double().log(), growth.stream)
            growth.drawn.update(zip(leaves, probs, strict=True))
        for place, leaf in enumerate(leaves):
            for _, token, _ in best(values[place : place + 1], self.branching[depth]):
                growth.add(leaf, token)
