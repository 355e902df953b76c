"""The smallest language model: a table of logits per token. Its gradients can be checked by hand."""

import contextlib
from types import SimpleNamespace

import torch
from torch import nn

from trivium.core.protocols import LanguageModel, LMOutput


class TableModel(LanguageModel):
    """logits[b, t] = table[ids[b, t]]; a trained one is the bigram model of its data."""

    offers = frozenset({"causal", "gradient", "embeds"})

    def __init__(self, table):
        super().__init__()
        self.table = nn.Parameter(table)
        self.vocab_size = self.width = table.shape[0]
        self.depth = 1

    def run(self, ids, *, embeds, **_):
        hidden = self.embed(ids) if embeds is None else embeds
        return LMOutput(hidden, hidden)

    @property
    def head(self):
        """The identity: what enters it are the logits."""
        return SimpleNamespace(weight=torch.eye(self.vocab_size, dtype=self.table.dtype))

    def embed(self, ids):
        return self.table[ids]

    def sites(self):
        return ()

    def capture(self, *names):
        return contextlib.nullcontext({})

    def edit(self, edits):
        return contextlib.nullcontext()
