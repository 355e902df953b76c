"""Models for the decoding tests: tiny random ones in float64, noisy copies as drafts, and a table of logits."""

import copy
from functools import cache

import torch

from tests.families import wrapped
from trivium.core.protocols import LanguageModel, LMOutput
from trivium.decoding._restricted import Prefixes


@cache
def tiny(family: str = "llama", seed: int = 0) -> LanguageModel:
    """A model of the family; shared between tests, which do not change it."""
    return wrapped(family, seed=seed)


@cache
def noisy(family: str = "llama", noise: float = 0.3) -> LanguageModel:
    """A draft: the family's model with noise on its weights, so that it agrees with the target now and then."""
    draft = copy.deepcopy(tiny(family))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in draft.parameters():
            if weight.numel() > 1:
                weight.add_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype) * noise * weight.std())
    return draft


class Table(LanguageModel):
    """A model whose logits depend on the last visible token alone: row ``t`` of a table (vocab, vocab)."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(table, requires_grad=False)
        self.vocab_size = self.width = table.shape[0]
        self.depth = 1
        self.offers = frozenset({"causal", "state", "truncate", "gather", "tree"})

    def run(self, ids, *, embeds, mask, positions, segments, state, keep_state, logits_to_keep):
        old = state or Prefixes(ids[:, :0], torch.zeros(len(ids), 0, dtype=torch.bool))
        real = mask if mask is not None and mask.ndim == 2 else torch.ones_like(ids, dtype=torch.bool)
        after = Prefixes(torch.cat([old.tokens, ids], 1), torch.cat([old.seen, real], 1))
        logits = self.table[ids][:, -logits_to_keep:]
        return LMOutput(logits, logits, after if keep_state else None)

    def embed(self, ids):
        return self.table[ids]

    def sites(self):
        return ()

    def capture(self, *names):
        raise NotImplementedError

    def edit(self, edits):
        raise NotImplementedError
