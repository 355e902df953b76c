"""A language model of counted bytes: small, cheap and good at one sort of text only.

    p_0(v) = 1 / vocabulary,   p_m(v | last m-1 bytes) = (c(v) + t p_{m-1}(v)) / (n + t)

with c(v) how often v followed these bytes, n how often anything did, and t how many different ones (Witten and Bell
1991). Before a text stands its first token, as often as need be.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from trivium.core.errors import NotOffered
from trivium.core.protocols import LanguageModel, LMOutput, State
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

TOKENIZER = ByteTokenizer()
(BOS,) = TOKENIZER.opening


class ByteNgrams(LanguageModel):
    """Of the counts of texts; ``order`` bytes together at most. Its state between tokens is the text itself."""

    def __init__(self, texts: Iterable[str], order: int = 4) -> None:
        """Raises ValueError for an order outside 1 to 6, or texts without a byte."""
        super().__init__()
        if not 1 <= order <= 6:
            raise ValueError(f"order must be 1 to 6 bytes, which fit one number; got {order}")
        self.vocab_size = self.width = TOKENIZER.vocab_size
        self.depth, self.order, self.offers = 1, order, frozenset({"causal"})
        before = [BOS] * (order - 1)
        rows = [torch.tensor([*before, *ids, TOKENIZER.eos]) for text in texts if (ids := TOKENIZER.encode(text))]
        if not rows:
            raise ValueError("there is no text to count; give at least one that is not empty")
        counts = []
        for length in range(order):
            code = torch.cat([_codes(row, length + 1, self.vocab_size)[order - 1 - length :] for row in rows])
            code, count = code.unique(return_counts=True)
            context, size = (code // self.vocab_size).unique_consecutive(return_counts=True)
            self.register_buffer(f"contexts_{length}", context)
            self.register_buffer(f"ends_{length}", size.cumsum(0))
            self.register_buffer(f"followers_{length}", code % self.vocab_size)
            counts.append(nn.Parameter(count.float(), requires_grad=False))
        self.counts = nn.ParameterList(counts)

    def run(
        self,
        ids: Tensor | None,
        *,
        embeds: Tensor | None,
        mask: Tensor | None,
        positions: Tensor | None,
        segments: Tensor | None,
        state: State | None,
        keep_state: bool,
        logits_to_keep: int,
    ) -> LMOutput:
        """Logits are log-probabilities, and are what enters the head."""
        if state is not None or keep_state or segments is not None or (mask is not None and mask.ndim > 2):
            raise NotOffered("counted bytes keep no state and know neither documents nor masks between tokens")
        if ids is None:
            assert embeds is not None
            ids = embeds.argmax(-1)
        if mask is not None:
            ids = ids.where(mask, BOS)
        ids = nn.functional.pad(ids, (self.order - 1, 0), value=BOS)
        keep = ids.shape[1] - self.order + 1 if logits_to_keep == 0 else logits_to_keep
        ids = ids[:, -(keep + self.order - 1) :]
        p = torch.full((ids.shape[0] * keep, self.vocab_size), 1 / self.vocab_size, device=ids.device)
        for length in range(self.order):
            context = _codes(ids, length, self.vocab_size)[:, self.order - 1 - max(length - 1, 0) :]
            p = self._mixed(length, context[:, -keep:].flatten(), p)
        logp = p.log().view(ids.shape[0], keep, self.vocab_size)
        return LMOutput(logp, logp)

    def _mixed(self, length: int, context: Tensor, shorter: Tensor) -> Tensor:
        """(rows,) contexts and (rows, vocab) of the shorter ones -> (rows, vocab)."""
        known, ends, followers = (getattr(self, f"{name}_{length}") for name in ("contexts", "ends", "followers"))
        place = torch.searchsorted(known, context).clamp(max=len(known) - 1)
        seen = known[place] == context
        starts = torch.where(place > 0, ends[place - 1], 0)
        size = torch.where(seen, ends[place] - starts, 0)  # different followers
        row = torch.arange(len(context), device=context.device).repeat_interleave(size)
        at = torch.arange(len(row), device=context.device) - (size.cumsum(0) - size)[row] + starts[row]
        count = torch.zeros_like(shorter)
        count[row, followers[at]] = self.counts[length][at]
        mixed = (count + size[:, None] * shorter) / (count.sum(1, keepdim=True) + size[:, None]).clamp(min=1)
        return torch.where(seen[:, None], mixed, shorter)

    def embed(self, ids: Tensor) -> Tensor:
        return nn.functional.one_hot(ids, self.vocab_size).float()

    def sites(self) -> tuple[str, ...]:
        return ()

    def capture(self, *names: str, **keep: object) -> AbstractContextManager[dict[str, Tensor]]:
        if names:
            raise NotOffered(f"counted bytes have no site {names[0]!r}")
        return nullcontext({})

    def edit(self, edits: Mapping[str, Callable[[Tensor], Tensor]]) -> AbstractContextManager[None]:
        if edits:
            raise NotOffered(f"counted bytes have no site {next(iter(edits))!r}")
        return nullcontext()


def byte_ngrams(texts: Iterable[str], name: str, order: int = 4) -> System:
    """The model of these texts with its tokenizer."""
    return System(ByteNgrams(texts, order), TOKENIZER, name)


def _codes(ids: Tensor, length: int, base: int) -> Tensor:
    """(..., time) -> (..., time - length + 1): each ``length`` tokens in a row as one number; 0 for none of them."""
    time = ids.shape[-1] - max(length - 1, 0)
    code = torch.zeros_like(ids[..., :time])
    for at in range(length):
        code = code * base + ids[..., at : at + time]
    return code
