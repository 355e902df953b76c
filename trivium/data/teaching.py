"""What a teacher said of a text, kept so that a student can be asked for it again without the teacher."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trivium.core import files
from trivium.core.errors import BrokenModel
from trivium.core.nouns import Batch
from trivium.core.seeds import numpy_generator


@dataclass(frozen=True)
class Targets:
    """A distribution after each position: its likeliest tokens, and the mass of all others in one bucket.

    tokens (batch, time, k) int64, logprobs (batch, time, k); known (batch, time) bool: where the teacher was asked.
    """

    tokens: Tensor
    logprobs: Tensor
    known: Tensor


@dataclass(frozen=True)
class Answers:
    """Rows that a teacher wrote together, for a student of its distributions; drafters that read hidden states learn
    from ``data.lessons.Lesson``. ids, mask (rows, time); tokens, logprobs (rows, asked, k): the teacher's
    likeliest tokens after each of the columns ``start`` to ``start + asked``."""

    ids: Tensor
    mask: Tensor
    tokens: Tensor
    logprobs: Tensor
    start: int

    def __post_init__(self) -> None:
        rows, time = self.ids.shape
        asked = self.tokens.shape[1]
        if self.mask.shape != (rows, time) or self.tokens.shape != self.logprobs.shape or len(self.tokens) != rows:
            raise ValueError(
                f"{rows} rows of {time} columns need a mask alike and as many tokens as logprobs, got "
                f"{tuple(self.mask.shape)}, {tuple(self.tokens.shape)} and {tuple(self.logprobs.shape)}"
            )
        if self.start < 0 or self.start + asked > time:
            raise ValueError(f"columns {self.start} to {self.start + asked} are not all among the {time} of the text")

    def save(self, path: Path) -> None:
        """Write them, whole or not at all."""
        tensors = {
            "ids": self.ids.int(),
            "mask": self.mask,
            "tokens": self.tokens.int(),
            "logprobs": self.logprobs.float(),
            "start": torch.tensor(self.start),
        }
        with files.written(path) as part:
            save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, part)

    @classmethod
    def load(cls, path: Path) -> "Answers":
        """Read them. Raises BrokenModel where the file is damaged."""
        try:
            held = load_file(path)
            return cls(held["ids"].long(), held["mask"], held["tokens"].long(), held["logprobs"], int(held["start"]))
        except (SafetensorError, KeyError) as error:
            raise BrokenModel(f"{path} is no lesson ({error!r}); delete it, and it is written again") from error


@dataclass(frozen=True, eq=False)
class AnsweredTexts:
    """Answers as training batches of ``batch_size`` rows, and as a teacher who remembers what was said of each row.

    A batch holds rows of one lesson, so that little of it is padding. As with ``Batches`` a batch is a function of its
    step: all are dealt in a new order each epoch.
    """

    lessons: Sequence[Answers]
    batch_size: int = 16
    seed: int = 0
    name: str = "lessons"

    def __post_init__(self) -> None:
        if not self.lessons:
            raise ValueError("there is no lesson to learn from; give at least one")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")

    @cached_property
    def parts(self) -> list[tuple[int, slice]]:
        """The batches of an epoch: a lesson, and rows of it."""
        return [
            (at, slice(first, first + self.batch_size))
            for at, lesson in enumerate(self.lessons)
            for first in range(0, len(lesson.ids), self.batch_size)
        ]

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        epoch, at = divmod(step, len(self.parts))
        order = numpy_generator(self.seed, "epoch", epoch).permutation(len(self.parts))
        return self._part(int(order[at]))

    def __iter__(self) -> Iterator[Batch]:
        """Every batch once, in order."""
        return (self._part(at) for at in range(len(self.parts)))

    def _part(self, at: int) -> Batch:
        which, rows = self.parts[at]
        lesson = self.lessons[which]
        mask = lesson.mask[rows]
        used = mask.any(0).nonzero()[:, 0]
        columns = slice(int(used[0]), int(used[-1]) + 1)
        return Batch(lesson.ids[rows, columns], mask[:, columns])

    def __call__(self, batch: Batch) -> Targets:
        """What the teacher said of these rows. Raises KeyError for one that it has not seen."""
        known = torch.zeros(batch.ids.shape, dtype=torch.bool)
        k = self.lessons[0].tokens.shape[2]
        tokens = torch.zeros(*batch.ids.shape, k, dtype=torch.int64)
        logprobs = torch.zeros(*batch.ids.shape, k)
        for row, text in enumerate(self._texts(batch.ids, batch.mask)):
            if text not in self._index:
                raise KeyError(f"row {row} of the batch is none of the texts of {self.name}")
            at, place = self._index[text]
            lesson = self.lessons[at]
            # Columns of the lesson's row, as columns of the batch: both end padding on the left at the first real one.
            shift = _first(batch.mask, row) - _first(lesson.mask, place)
            begin = lesson.start + shift
            end = min(begin + lesson.tokens.shape[1], batch.ids.shape[1])
            tokens[row, begin:end] = lesson.tokens[place, : end - begin]
            logprobs[row, begin:end] = lesson.logprobs[place, : end - begin]
            known[row, begin:end] = True
        device = batch.ids.device
        return Targets(tokens.to(device), logprobs.to(device), known.to(device))

    @cached_property
    def _index(self) -> dict[bytes, tuple[int, int]]:
        return {
            text: (at, row)
            for at, lesson in enumerate(self.lessons)
            for row, text in enumerate(self._texts(lesson.ids, lesson.mask))
        }

    @staticmethod
    def _texts(ids: Tensor, mask: Tensor | None) -> list[bytes]:
        """The real tokens of each row, as a key."""
        rows = zip(ids.cpu(), torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.cpu(), strict=True)
        return [row[real].contiguous().numpy().tobytes() for row, real in rows]


def _first(mask: Tensor | None, row: int) -> int:
    return 0 if mask is None else int(mask[row].int().argmax())
