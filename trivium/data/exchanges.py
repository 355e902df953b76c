"""Questions with their answers, as rows of which the answers alone are learned."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core.nouns import Batch


@dataclass(frozen=True)
class Exchanges(Batch):
    """Rows of a question and its answer, padded on the right as ``mask`` says. ``answer`` (batch, time) bool marks the
    tokens of the answers; no row begins with one, since nothing would predict it."""

    answer: Tensor | None = None

    def __post_init__(self) -> None:
        if self.answer is None or self.answer.shape != self.ids.shape or self.answer.dtype != torch.bool:
            said = None if self.answer is None else f"{tuple(self.answer.shape)} of {self.answer.dtype}"
            raise ValueError(f"answer must be bool of the shape of ids, {tuple(self.ids.shape)}; got {said}")
        if self.answer[:, 0].any():
            raise ValueError("nothing predicts an answer at the head of its row; put the question there")
        if self.mask is not None and (self.answer & ~self.mask).any():
            raise ValueError("an answer cannot hold padding; mask must be True wherever answer is")

    @classmethod
    def of(cls, exchanges: Sequence[tuple[Sequence[int], Sequence[int]]]) -> "Exchanges":
        """Token ids of so many questions and answers as one batch."""
        if not exchanges:
            raise ValueError("there is no question to make a batch of; give at least one, with its answer")
        texts = [[*question, *answer] for question, answer in exchanges]
        longest = max(map(len, texts))
        place = torch.arange(longest)
        mask = place < torch.tensor([[len(text)] for text in texts])
        behind = place >= torch.tensor([[len(question)] for question, _ in exchanges])
        ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
        return cls(ids, mask, None, mask & behind)

    def split(self, rows: int) -> list[Batch]:
        """Micro-batches of at most so many rows."""
        answer, mask = self.answer, self.mask
        assert answer is not None
        cuts = [slice(start, start + rows) for start in range(0, len(self), rows)]
        return [Exchanges(self.ids[cut], None if mask is None else mask[cut], None, answer[cut]) for cut in cuts]

    def to(self, device: torch.device | str) -> "Exchanges":
        assert self.answer is not None
        mask = None if self.mask is None else self.mask.to(device)
        return Exchanges(self.ids.to(device), mask, None, self.answer.to(device))
