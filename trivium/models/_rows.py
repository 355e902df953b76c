"""Rows of tokens in batches: what many of them begin with, and padding."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core.protocols import LanguageModel, LMOutput, State
from trivium.models.system import System

log = logging.getLogger(__name__)

LOGITS = 1 << 27
"""Numbers that the logits of one pass hold at most: half a gigabyte in float32."""
LEAST = 32
"""Tokens that rows must begin with alike to be looked at together."""
SAVED = 256
"""Positions that passing a common beginning once must save to be worth a pass of its own."""


def check_batch(system: System, batch_size: int) -> None:
    """Raise ValueError for a size that is none, and warn where numbers depend on it."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if batch_size > 1 and system.model.dtype in (torch.float16, torch.bfloat16):
        log.warning(
            "%s is in %s, in which numbers depend a little on the batch; set batch_size=1 or load it in float32 where "
            "they must not",
            system.name,
            system.precision,
        )


def beginnings(rows: Sequence[Sequence[int]]) -> list[tuple[int, list[int]]]:
    """The places of rows in groups that begin alike, each with how many tokens all of it share; 0 for the last group,
    which shares nothing worth a pass. Of every row one token is left, for its logits."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for place, row in enumerate(rows):
        alike.setdefault(tuple(row[:LEAST]), []).append(place)
    groups: list[tuple[int, list[int]]] = []
    rest: list[int] = []
    for places in alike.values():
        found = [tuple(rows[place]) for place in places]
        shared = min(_common(min(found), max(found)), min(map(len, found)) - 1)
        if shared >= LEAST and shared * (len(places) - 1) >= SAVED:
            groups.append((shared, places))
        else:
            rest += places
    return [*groups, *([(0, rest)] if rest else [])]


def _common(low: Sequence[int], high: Sequence[int]) -> int:
    """How many tokens the first and the last of sorted rows, and so all of them, begin with."""
    differ = (at for at, (one, other) in enumerate(zip(low, high, strict=False)) if one != other)
    return next(differ, len(low))


@dataclass(frozen=True)
class Beginning:
    """The first tokens of some rows, passed once for all of them; None where they share nothing."""

    length: int = 0
    state: State | None = None

    @staticmethod
    def of(model: LanguageModel, row: Sequence[int], length: int) -> "Beginning":
        if not length:
            return Beginning()
        ids = torch.tensor([list(row[:length])], device=model.device)
        return Beginning(length, model(ids, keep_state=True, logits_to_keep=1).state)

    def follow(
        self, model: LanguageModel, rows: Sequence[Sequence[int]], *, keep_state: bool, logits_to_keep: int
    ) -> LMOutput:
        """One pass over what is left of the rows; padding stands on its left."""
        ids, mask = padded([row[self.length :] for row in rows], model.device, left=True)
        state = self.repeated(len(rows))
        return model(ids, mask=mask, state=state, keep_state=keep_state, logits_to_keep=logits_to_keep)

    def repeated(self, count: int) -> State | None:
        """The state for so many rows."""
        return None if self.state is None else self.state.select(torch.zeros(count, dtype=torch.int64))


def padded(rows: Sequence[Sequence[int]], device: torch.device, *, left: bool) -> tuple[Tensor, Tensor | None]:
    """Ids, and which are real where any are not."""
    width = max(map(len, rows))
    fill = [([0] * (width - len(row)) + list(row)) if left else (list(row) + [0] * (width - len(row))) for row in rows]
    ids = torch.tensor(fill, device=device)
    if all(len(row) == width for row in rows):
        return ids, None
    lengths = torch.tensor([len(row) for row in rows], device=device)[:, None]
    place = torch.arange(width, device=device)
    return ids, place >= width - lengths if left else place < lengths
