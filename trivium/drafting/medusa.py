"""Medusa: extra heads on the target's last hidden state guess the tokens further ahead, all at once.

Source
    Cai, Li, Geng, Peng, Lee, Chen, Dao 2024, "Medusa: Simple LLM Inference Acceleration Framework with Multiple
    Decoding Heads", arXiv:2401.10774: section 2.1 (heads), 2.2.1 with frozen target (training), 2.3.3 (tree). Guessing
    among frequent tokens: Zhao et al. 2025, "FR-Spec: Accelerating Large-Vocabulary Language Models via
    Frequency-Ranked Speculative Sampling", arXiv:2502.14856.
Equation
    logits_k = U_k (h + silu(W_k h + b_k)),  k = 1..K:   the token k places after the pending one
    loss = sum_k 0.8^k CE(logits_k, y_k);   the tree adds node after node by the largest product of measured accuracies
Shapes
    h (rows, width) at the last token fed -> logits (K, rows, vocab) -> top tokens (rows, K, 10) -> tree of ``nodes``
Cost
    No draft pass. K products of width x width, and K of width x vocab per row: with a shared U one such matrix is read,
    with own ones K. Parameters K (width^2 + width), and K width vocab more with own heads.
Caveats
    The paper trains every U_k. Here all heads share the target's U, frozen, unless ``own_heads``: where the vocabulary
    is large and the model small, as in SmolLM2, five own heads would be as large as the model. The root of the tree is
    the pending token, which the decoder has committed, so sampling needs no special case; heads do not see penalties.
    Medusa-2 (training the target too) is left out. Without a folder the heads repeat the target's own: a start for
    training, which guesses little. The 0.8 is from memory of the authors' code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, silu

from trivium.core.method import method
from trivium.core.nouns import Loss
from trivium.core.protocols import LanguageModel
from trivium.core.tree import TokenTree
from trivium.data.lessons import NOTHING, Lesson
from trivium.drafting._shape import Shape
from trivium.drafting._trained import Head, LastStates, Trained, likeliest, rank
from trivium.models.trained import Module
from trivium.models.unembedding import read_off, unembedding

DECAY = 0.8
PLACES = 128
"""Positions of a lesson that one step of training looks at."""


@method(
    title="Medusa", source="arXiv:2401.10774", year=2024, needs=["causal", "state", "gather", "tree"], lossless=True
)
@dataclass(frozen=True)
class Medusa(Trained):
    """Heads on the last hidden state, and a tree of their likeliest tokens."""

    folder: str | None = None
    """Trained heads, as `trivium draft train medusa` writes them; None for untrained ones."""
    heads: int = 5
    """Tokens guessed beyond the pending one. Of new heads; a folder says its own, and so for the next two."""
    blocks: int = 1
    """Residual blocks of each head, one after another."""
    own_heads: bool = False
    """Whether each head trains a vocabulary matrix of its own, as in the paper."""
    nodes: int = 64
    """Size of the tree, the pending token included."""
    tree: tuple[tuple[int, ...], ...] = ()
    """The tree as paths of ranks, such as ((0,), (1,), (0, 0)); empty for the best one by measured accuracies."""
    vocabulary: int | None = None
    """Guess only among so many tokens, those that the target wrote most often while this was taught (FR-Spec): drafting
    costs less, and rare tokens are never drafted. None for all; 8192 suits vocabularies of many tokens."""

    module_fields = ("heads", "blocks", "own_heads")

    def __post_init__(self) -> None:
        if self.heads < 1 or self.blocks < 1:
            raise ValueError(f"heads and blocks must be at least 1, got {self.heads} and {self.blocks}")
        self.check()

    @property
    def depth(self) -> int:
        return self.heads

    def build(self, model: LanguageModel, *, seed: int = 0) -> "Heads":
        """Heads that repeat the target's own; the seed is not needed for that."""
        return Heads(self, model)

    def start(
        self,
        model: LanguageModel,
        *,
        generator: torch.Generator,
        logits: Callable[[Tensor, Sequence[Tensor]], Tensor],
    ) -> "Guessing":
        return Guessing(*self.reading(model), self.shape)

    def loss(self, module: Any, model: LanguageModel, lesson: Lesson, generator: torch.Generator) -> Loss:
        """Cross-entropy of what the heads guess at some places of the lesson, later heads weighing less."""
        guesses, targets = self._guesses(module, model, lesson, PLACES, generator)
        total = guesses.new_zeros((), dtype=torch.promote_types(guesses.dtype, torch.float32))
        for head, (logits, target) in enumerate(zip(guesses, targets.T, strict=True), 1):
            summed = cross_entropy(logits.to(total.dtype), target, ignore_index=NOTHING, reduction="sum")
            total = total + DECAY**head * summed
        return Loss(total, torch.tensor(float(len(targets))))

    @torch.no_grad()
    def ranks(self, module: Any, model: LanguageModel, lesson: Lesson) -> Tensor:
        """(places, heads): the rank of the right token among each head's, TOP where lower, -1 where there is none."""
        guesses, targets = self._guesses(module, model, lesson, PLACES, None)
        return rank(guesses.transpose(0, 1), targets)

    def _guesses(
        self, module: Any, model: LanguageModel, lesson: Lesson, places: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        assert lesson.hidden is not None
        rows, columns = lesson.places(places, generator)
        guesses = module(lesson.hidden[rows, columns], unembedding(model, "medusa"))
        return guesses, lesson.ahead(rows, columns, self.heads)


class Heads(Module):
    """W (heads, blocks, width, width) and b start at zero; own vocabulary matrices as copies of the target's."""

    over_vocabulary = ("out",)

    def __init__(self, recipe: Medusa, model: LanguageModel) -> None:
        super().__init__()
        wide = torch.float64 if model.dtype == torch.float64 else torch.float32
        count, blocks, width = recipe.heads, recipe.blocks, model.width
        self.weight = nn.Parameter(torch.zeros(count, blocks, width, width, dtype=wide))
        self.bias = nn.Parameter(torch.zeros(count, blocks, 1, width, dtype=wide))
        self.out = None
        if recipe.own_heads:
            own = unembedding(model, "medusa")[0].to("cpu", wide)
            self.out = nn.Parameter(own.expand(count, -1, -1).clone())

    def forward(self, hidden: Tensor, head: tuple[Tensor, Tensor | None]) -> Tensor:
        """(rows, width) -> (heads, rows, vocab)"""
        x = hidden.to(self.weight.dtype).expand(len(self.weight), -1, -1)
        for weight, bias in zip(self.weight.unbind(1), self.bias.unbind(1), strict=True):
            x = x + silu(torch.baddbmm(bias, x, weight.mT))
        if self.out is None:
            return read_off(x, head)
        logits = torch.bmm(x, self.out.mT)
        return logits if head[1] is None else logits + head[1].to(logits.dtype)


class Guessing(LastStates):
    """One batch: every row's last state, and the tree that its heads fill."""

    def __init__(self, module: Heads, head: Head, shape: Shape) -> None:
        super().__init__("medusa")
        self.module, self.head, self.shape = module, head, shape

    def propose(self, contexts: Sequence[Tensor], room: Sequence[int]) -> list[TokenTree]:
        trees = [TokenTree.chain(int(context[-1])) for context in contexts]
        active = [row for row, most in enumerate(room) if most > 0]
        if active:
            logits = self.module(self.last(active), self.head.matrix)
            tops = likeliest(logits, "medusa", self.head.tokens).transpose(0, 1)  # (rows, heads, ranks)
            for row, top in zip(active, tops, strict=True):
                trees[row] = self.shape.tree(int(contexts[row][-1]), top, room[row])
        return trees
