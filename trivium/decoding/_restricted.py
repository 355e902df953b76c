"""A model after a fixed prompt, allowed a few of its tokens only, that remembers what it said after each text.

It stands in for the user's model where a law is tested by many draws: a joint distribution over four tokens can be
counted, and of the few texts there are each is passed once. Masks and states are honoured as the attention of a
transformer honours them: what is said at a node depends on the visible tokens, in order.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from trivium.core.errors import NotOffered
from trivium.core.protocols import LanguageModel, LMOutput, Partial, State
from trivium.decoding._pipeline import top_ids

TOKENS = 4
"""Tokens of the restricted vocabulary."""


class Prefixes(State):
    """The tokens fed so far and which of them are visible: all that a model that remembers texts needs."""

    def __init__(self, tokens: Tensor, seen: Tensor) -> None:
        self.tokens, self.seen = tokens, seen  # (batch, slots)

    @property
    def batch(self) -> int:
        return self.tokens.shape[0]

    @property
    def slots(self) -> int:
        return self.tokens.shape[1]

    @property
    def lengths(self) -> Tensor:
        return self.seen.sum(1)

    def bytes(self) -> int:
        return self.tokens.numel() * 9

    def select(self, rows: Tensor) -> Self:
        return type(self)(self.tokens[rows], self.seen[rows])

    def gather(self, keep: Tensor) -> Self:
        seen = self.seen.clone()
        seen[:, self.slots - keep.shape[1] :] &= keep
        return type(self)(self.tokens, seen)

    def truncate(self, length: int | Tensor) -> Self:
        wanted = torch.as_tensor(length).expand(self.batch)[:, None]
        return type(self)(self.tokens, self.seen & (self.seen.cumsum(1) <= wanted))


class Restricted(Partial):
    """``whole`` after a prompt, over its tokens ``kept``: by default those that it finds likeliest there.

    A pass whose inside is watched or changed is made by the whole model, once for all rows that have the same text.
    Offers no more than the whole model does.
    """

    def __init__(self, whole: LanguageModel, prompt: Tensor, kept: Tensor | None = None) -> None:
        super().__init__()
        self.whole = whole
        self.prompt = prompt.to(whole.device)[None]
        with torch.no_grad():
            out = whole(self.prompt, keep_state=True, logits_to_keep=1)
        if out.state is None:
            raise NotOffered("the certificate needs a model with 'state'")
        self.state: State = out.state
        self.kept = top_ids(out.logits[:, -1], TOKENS)[0] if kept is None else kept
        self.vocab_size, self.width, self.depth = len(self.kept), whole.width, whole.depth
        self.offers = whole.offers & {"causal", "state", "truncate", "gather", "tree", "sites"}
        self._codes = torch.empty(0, dtype=torch.int64)  # sorted
        self._said: tuple[Tensor, Tensor] | None = None  # logits (codes, vocab) and hidden (codes, width)
        self._watched: list[tuple[Callable[[], Any], dict[str, Tensor]]] = []  # blocks to enter, and what is shown

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
        if ids is None or segments is not None or not (state is None or isinstance(state, Prefixes)):
            raise NotOffered("a restricted model takes token ids and its own states only")
        ids = ids.cpu()
        batch, time = ids.shape
        old = state if state is not None else Prefixes(ids[:, :0], torch.zeros(batch, 0, dtype=torch.bool))
        tokens = torch.cat([old.tokens, ids], 1)
        real = mask.cpu() if mask is not None and mask.ndim == 2 else torch.ones_like(ids, dtype=torch.bool)
        seen = torch.cat([old.seen, real], 1)
        if mask is not None and mask.ndim == 4:
            visible = mask[:, 0].cpu() & seen[:, None]
        else:
            visible = torch.ones(time, tokens.shape[1], dtype=torch.bool).tril(old.slots) & seen[:, None]
        first = time - logits_to_keep if logits_to_keep else 0
        if self._watched:
            logits, hidden = (told[:, first:] for told in self._passed(old, ids, visible, positions))
        else:
            logits, hidden = self._remembered(self._encode(tokens, visible[:, first:]))
        return LMOutput(logits, hidden, Prefixes(tokens, seen) if keep_state else None)

    def _passed(self, old: Prefixes, ids: Tensor, visible: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logits (batch, time, vocab) and hidden of a pass of the whole model over the new tokens of each row."""
        device, past = self.prompt.device, self.prompt.shape[1]
        if positions is None:
            positions = old.lengths[:, None] + visible[..., old.slots :].sum(-1) - 1
        parts = (old.tokens * old.seen, old.seen, ids, visible.flatten(1), positions.cpu())
        _, where = torch.cat([part.long() for part in parts], 1).unique(dim=0, return_inverse=True)
        places = torch.arange(len(where))
        rows = places.new_zeros(int(where.max()) + 1).scatter(0, where, places)  # one row for each text
        prefix: State = self.state.select(torch.zeros(len(rows), dtype=torch.int64))
        if old.slots:
            held = self.kept[old.tokens[rows].to(device)]
            real = old.seen[rows].to(device)
            known = self.whole(held, mask=real, state=prefix, keep_state=True, logits_to_keep=1).state
            assert known is not None
            prefix = known
        with ExitStack() as stack:
            seen = [stack.enter_context(enter()) for enter, _ in self._watched]
            out = self.whole(
                self.kept[ids[rows].to(device)],
                mask=pad(visible[rows, None], (past, 0), value=True).to(device),
                positions=positions[rows].to(device) + past,
                state=prefix,
            )
        where = where.to(device)
        for found, (_, shown) in zip(seen, self._watched, strict=True):
            shown.update({name: tensor[where] for name, tensor in (found or {}).items()})
        return out.logits[where][..., self.kept], out.hidden[where]

    def _encode(self, tokens: Tensor, visible: Tensor) -> Tensor:
        """Each query's visible text as one number: (batch, slots), (batch, queries, slots) -> (batch, queries)."""
        longest = int(visible.sum(-1).max())
        if (self.vocab_size + 1) ** longest >= 2**62:
            raise ValueError(f"texts of {longest} tokens are longer than the certificate remembers")
        code = torch.zeros(visible.shape[:2], dtype=torch.int64)
        for slot in range(tokens.shape[1]):
            longer = code * (self.vocab_size + 1) + tokens[:, slot, None] + 1
            code = torch.where(visible[..., slot], longer, code)
        return code

    def _remembered(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        wanted = codes.unique()
        missing = wanted[~torch.isin(wanted, self._codes)]
        if missing.numel():
            known = torch.cat([self._codes, missing])
            order = known.argsort()
            fresh = self._computed(missing.tolist())
            said = fresh if self._said is None else [torch.cat(pair) for pair in zip(self._said, fresh, strict=True)]
            self._said = (said[0][order], said[1][order])
            self._codes = known[order]
        assert self._said is not None
        at = torch.searchsorted(self._codes, codes)
        return self._said[0][at], self._said[1][at]

    def _computed(self, codes: list[int]) -> tuple[Tensor, Tensor]:
        """(codes, vocab) logits and (codes, width) hidden of the whole model after the texts that the codes stand for;
        texts of one length share passes. Zeros for padding, which nobody looks at."""
        texts = [self._decode(code) for code in codes]
        dtype = torch.float64 if self.whole.dtype == torch.float64 else torch.float32
        logits = torch.zeros(len(texts), self.vocab_size, dtype=dtype)
        hidden = torch.zeros(len(texts), self.width, dtype=self.whole.dtype)
        for length in sorted({len(text) for text in texts} - {0}):
            for group in torch.tensor([at for at, text in enumerate(texts) if len(text) == length]).split(64):
                ids = self.kept[torch.tensor([texts[at] for at in group.tolist()], device=self.kept.device)]
                past = self.state.select(torch.zeros(len(group), dtype=torch.int64))
                with torch.no_grad():
                    out = self.whole(ids, state=past, logits_to_keep=1)
                logits[group] = out.logits[:, -1, self.kept].to(logits)
                hidden[group] = out.hidden[:, -1].to(hidden)
        return logits.to(self.prompt.device), hidden.to(self.prompt.device)

    def _decode(self, code: int) -> list[int]:
        text: list[int] = []
        while code:
            code, digit = divmod(code, self.vocab_size + 1)
            text.append(digit - 1)
        return text[::-1]

    def embed(self, ids: Tensor) -> Tensor:
        return self.whole.embed(self.kept[ids])

    def sites(self) -> tuple[str, ...]:
        return self.whole.sites()

    @contextmanager
    def capture(self, *names: str, **keep: Any) -> Iterator[dict[str, Tensor]]:
        shown: dict[str, Tensor] = {}
        with self._watching(lambda: self.whole.capture(*names, **keep), shown):
            yield shown

    @contextmanager
    def edit(self, edits: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
        with self._watching(lambda: self.whole.edit(edits), {}):
            yield

    @contextmanager
    def _watching(self, enter: Callable[[], Any], shown: dict[str, Tensor]) -> Iterator[None]:
        self._watched.append((enter, shown))
        try:
            yield
        finally:
            self._watched.pop()
