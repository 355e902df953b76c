"""Preferences: of two answers to one context, the one that is to become likelier, and the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from trivium.core.nouns import Batch
from trivium.core.seeds import numpy_generator


@dataclass(frozen=True)
class Pair:
    """Token ids of a context and of two different answers to it."""

    context: tuple[int, ...]
    winner: tuple[int, ...]
    loser: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("context", "winner", "loser"):
            if not getattr(self, name):
                raise ValueError(f"the {name} of a pair is empty; give it at least one token")
        if self.winner == self.loser:
            raise ValueError(f"winner and loser are the same text, {self.winner[:8]}, so nothing is preferred; drop it")


@dataclass(frozen=True)
class Pairs(Batch):
    """Rows 2i and 2i + 1 are one context with its winner and with its loser, padded on the right as ``mask`` says.
    ``answer`` (batch, time) bool marks the tokens of the answers; each row has some, and a token before them."""

    answer: Tensor | None = None

    def __post_init__(self) -> None:
        if self.answer is None or self.answer.shape != self.ids.shape or self.answer.dtype != torch.bool:
            said = None if self.answer is None else f"{tuple(self.answer.shape)} of {self.answer.dtype}"
            raise ValueError(f"answer must be bool of the shape of ids, {tuple(self.ids.shape)}; got {said}")
        if len(self.ids) % 2:
            raise ValueError(f"pairs take two rows each, so an even number of rows; got {len(self.ids)}")
        if self.answer[:, 0].any() or not self.answer.any(1).all():
            raise ValueError("each row needs an answer of at least one token, and a context of at least one before it")
        if self.mask is not None and (self.answer & ~self.mask).any():
            raise ValueError("an answer cannot hold padding; mask must be True wherever answer is")

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> "Pairs":
        """So many pairs as one batch."""
        if not pairs:
            raise ValueError("there is no pair to make a batch of; give at least one")
        texts = [(len(pair.context), (*pair.context, *end)) for pair in pairs for end in (pair.winner, pair.loser)]
        longest = max(len(text) for _, text in texts)
        ids = torch.tensor([list(text) + [0] * (longest - len(text)) for _, text in texts])
        place = torch.arange(longest)
        mask = place < torch.tensor([[len(text)] for _, text in texts])
        return cls(ids, mask, None, mask & (place >= torch.tensor([[before] for before, _ in texts])))

    def split(self, rows: int) -> list[Batch]:
        """Micro-batches of at most so many rows, but of one whole pair at least."""
        size, answer = max(rows // 2, 1) * 2, self.answer
        assert answer is not None
        cuts = [slice(start, start + size) for start in range(0, len(self), size)]
        return [Pairs(self.ids[cut], None if self.mask is None else self.mask[cut], None, answer[cut]) for cut in cuts]

    def to(self, device: torch.device | str) -> "Pairs":
        assert self.answer is not None
        mask = None if self.mask is None else self.mask.to(device)
        return Pairs(self.ids.to(device), mask, None, self.answer.to(device))


@dataclass(frozen=True, eq=False)
class PairBatches:
    """Pairs by training step, in a new order each epoch; a function of the seed and the step alone."""

    pairs: Sequence[Pair]
    batch_size: int
    """Pairs, so twice as many rows."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1 pair, got {self.batch_size}")
        if not self.pairs:
            raise ValueError("there is no pair to learn from; give at least one")

    def batch(self, step: int) -> Pairs:
        """The batch of a step, counted from 0."""
        if step < 0:
            raise ValueError(f"steps are counted from 0, got {step}")
        taken = range(step * self.batch_size, (step + 1) * self.batch_size)
        return Pairs.of([self.pairs[self._order(at // len(self.pairs))[at % len(self.pairs)]] for at in taken])

    def _order(self, epoch: int) -> list[int]:
        known = self._orders
        if epoch not in known:
            while len(known) > 1:
                known.pop(next(iter(known)))
            known[epoch] = numpy_generator(self.seed, "epoch", epoch).permutation(len(self.pairs)).tolist()
        return known[epoch]

    @cached_property
    def _orders(self) -> dict[int, list[int]]:
        return {}
