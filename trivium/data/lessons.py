"""What a drafter learns from: texts that the target wrote itself, with the target's hidden states."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core.nouns import Batch

NOTHING = -100
"""Stands where a text has no token any more; losses leave it out."""


@dataclass(frozen=True)
class Lesson(Batch):
    """Rows of text, padded on the right, as ``mask`` says. ``written`` (batch, time) bool: tokens of the model's own;
    ``hidden`` (batch, time, width): what entered its head."""

    written: Tensor | None = None
    hidden: Tensor | None = None

    def split(self, rows: int) -> list["Batch"]:
        """Whole: a drafter says itself how many places of a lesson it looks at."""
        return [self]

    def to(self, device: torch.device | str) -> "Lesson":
        move = lambda x: None if x is None else x.to(device)  # noqa: E731
        return Lesson(move(self.ids), move(self.mask), None, move(self.written), move(self.hidden))  # type: ignore[arg-type]

    def places(self, count: int | None = None, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Rows and columns (n,) from which something can be guessed: the pending token, which comes next, and the one
        after it were written by the model. With a count, so many of them: drawn without replacement, or spread evenly
        where there is no generator."""
        assert self.written is not None
        rows, columns = (self.written[:, 1:-1] & self.written[:, 2:]).nonzero().unbind(1)
        if count is not None and len(rows) > count:
            picked = torch.arange(count) * len(rows) // count
            if generator is not None:
                picked = torch.randperm(len(rows), generator=generator)[:count].sort().values
            picked = picked.to(rows.device)
            rows, columns = rows[picked], columns[picked]
        return rows, columns

    def chosen(self, count: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Such places row by row: columns (batch, n), at most ``count`` of each row, and (batch, n) bool, which of them
        are real. Drawn at random with a generator, else the first ones."""
        assert self.written is not None
        good = torch.nn.functional.pad(self.written[:, 1:-1] & self.written[:, 2:], (0, 2))
        lots = torch.arange(good.shape[1], 0, -1.0).expand(good.shape)
        if generator is not None:
            lots = torch.rand(good.shape, generator=generator) + 1
        found = lots.to(good.device).where(good, 0.0).topk(min(count, good.shape[1]), 1)
        return found.indices, found.values > 0

    def ahead(self, rows: Tensor, columns: Tensor, depth: int) -> Tensor:
        """(n, depth): the tokens that come after the pending one, NOTHING behind the end of a text."""
        assert self.mask is not None
        time = self.ids.shape[1]
        at = columns[:, None] + 2 + torch.arange(depth, device=columns.device)
        inside = at.clamp(max=time - 1)
        real = (at < time) & self.mask[rows[:, None], inside]
        return self.ids[rows[:, None], inside].where(real, NOTHING)
