"""Models whose attributions are known by hand."""

from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trivium.core.protocols import LanguageModel, LMOutput

VOCAB, WIDTH = 13, 5
OFFERS = frozenset({"causal", "embeds", "gradient"})


class ByHand(LanguageModel):
    """Logits (batch, time, vocab) as a plain function of the embeddings, given as a subclass's ``predict``."""

    vocab_size, width, depth = VOCAB, WIDTH, 1

    def __init__(self, offers: frozenset[str] = OFFERS, seed: int = 0) -> None:
        super().__init__()
        self.offers = offers
        g = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(VOCAB, WIDTH, generator=g, dtype=torch.float64))
        self.head = nn.Parameter(torch.randn(WIDTH, VOCAB, generator=g, dtype=torch.float64))
        self.place = torch.randn(64, generator=g, dtype=torch.float64)
        self.dropout = nn.Dropout(0.5)
        self.seen: list[tuple[int, int]] = []

    def embed(self, ids: Tensor) -> Tensor:
        return self.table[ids]

    def run(self, ids, *, embeds, mask, positions, segments, state, keep_state, logits_to_keep) -> LMOutput:
        if embeds is not None and "embeds" not in self.offers:
            raise AssertionError("embeddings were given to a model that takes none")
        x = self.embed(ids) if embeds is None else embeds
        self.seen.append(tuple(x.shape[:2]))
        x = self.dropout(x)
        if "gradient" not in self.offers:
            x = x.detach()
        logits = self.predict(x)[:, -logits_to_keep:]
        return LMOutput(logits, logits)

    def predict(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def sites(self):
        return ()

    def capture(self, *names):
        raise NotImplementedError

    def edit(self, edits):
        raise NotImplementedError


class Linear(ByHand):
    """logit_v = sum_i place_i (E_i . head_v)"""

    def terms(self, x: Tensor) -> Tensor:
        return self.place[: x.shape[1], None] * (x @ self.head)  # (batch, time, vocab)

    def predict(self, x: Tensor) -> Tensor:
        return self.terms(x).cumsum(1)


class Additive(Linear):
    """logit_v = sum_i tanh(place_i (E_i . head_v))"""

    def terms(self, x: Tensor) -> Tensor:
        return super().terms(x).tanh()


class Smooth(Linear):
    """Tokens interact: a soft attention of the last position over all, which can be seen."""

    def __init__(self, offers: frozenset[str] = OFFERS | {"attention"}, seed: int = 0) -> None:
        super().__init__(offers, seed)
        self.shown: list[dict[str, Tensor]] = []

    def predict(self, x: Tensor) -> Tensor:
        time = x.shape[1]
        scores = x @ x.mT + self.place[:time]
        causal = torch.ones(time, time, dtype=torch.bool).tril()
        weights = scores.masked_fill(~causal, float("-inf")).softmax(-1)
        for seen in self.shown:
            seen["blocks.0.attn.weights"] = weights[:, None]
        return torch.tanh(weights @ x) @ self.head

    def sites(self):
        return ("blocks.0.attn.weights",)

    @contextmanager
    def capture(self, *names):
        self.shown.append({})
        yield self.shown[-1]
        self.shown.pop()


class Deaf(ByHand):
    """Says the same whatever it is told, and is connected to no embedding."""

    def predict(self, x: Tensor) -> Tensor:
        return (self.head.sum(0) * 0 + torch.arange(VOCAB)).expand(*x.shape[:2], VOCAB)


class Either(ByHand):
    """The prediction needs token 1 or token 2 anywhere; both do no more than one."""

    def predict(self, x: Tensor) -> Tensor:
        sure = torch.stack([(x - self.table[token]).abs().sum(-1) < 1e-9 for token in (1, 2)]).any(0)
        return sure.cummax(1).values[..., None].double() * torch.arange(VOCAB)


class Length(Linear):
    """logit_v = v * sum_i |E_i|: finite everywhere, but its gradient at zero is not."""

    def terms(self, x: Tensor) -> Tensor:
        return x.square().sum(-1, keepdim=True).sqrt() * torch.arange(VOCAB)
