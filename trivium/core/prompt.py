"""Structured prompts: text with sets of parts in it, and how their tokens stand and see each other.

In a set no part comes before another: all of them begin at the same position, and none sees the others. What stands
before the set is seen by all of them, and what comes after it sees them all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Parts:
    """A set of texts within a prompt, in the order in which they were given. Spaces at its seams belong to a part.

    Raises ValueError for an empty set or part, TypeError for a set within a set.
    """

    texts: tuple[str, ...]

    def __init__(self, *texts: str) -> None:
        if not texts:
            raise ValueError("a set of parts is empty; leave it out, or give it a part")
        for text in texts:
            if not isinstance(text, str):
                inner = "sets cannot be nested; give their parts in one set" if isinstance(text, Parts) else "no text"
                raise TypeError(f"a part must be text, got {type(text).__name__}: {inner}")
            if not text:
                raise ValueError(
                    f"part {texts.index(text)} of {len(texts)} is empty; leave it out, or give it some text"
                )
        object.__setattr__(self, "texts", tuple(texts))

    def __str__(self) -> str:
        return "".join(self.texts)


Segments = Sequence[str | Parts]
"""A prompt: texts and sets of parts, one after another."""


@dataclass(frozen=True)
class Question:
    """What a task asks about one example: a prompt, and the answers to choose among, each as it would go on."""

    segments: tuple[str | Parts, ...]
    answers: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The prompt as one text, parts in the order given."""
        return "".join(map(str, self.segments))


def segments(text: str, start: str = "[[", split: str = "||", end: str = "]]") -> tuple[str | Parts, ...]:
    """Read a prompt with marked sets: 'Which is red? [[ sky|| blood|| grass]] Answer:'.

    Raises ValueError for a set that is not closed, not opened, nested, or has an empty part.
    """
    found: list[str | Parts] = []
    for number, piece in enumerate(text.split(start)):
        inside, closed, after = piece.partition(end)
        if number == 0:
            if closed:
                raise ValueError(f"{end!r} closes a set that {start!r} has not opened, after {inside[-40:]!r}")
            found.append(piece)
            continue
        if not closed:
            raise ValueError(f"the set that begins with {inside[:40]!r} has no {end!r}; close it before another begins")
        if end in after:
            raise ValueError(
                f"{end!r} closes a set that {start!r} has not opened, after {after.partition(end)[0][-40:]!r}"
            )
        found += [Parts(*inside.split(split)), after]
    return tuple(one for one in found if one != "")


Block = Sequence[int]
TEXT, PADDING = -1, -2
"""What a column belongs to where it is in no set."""


@dataclass(frozen=True)
class PromptPlan:
    """The tokens of one prompt, where they stand, and which of them see each other.

    ``ids`` (time,) int64; ``positions`` (time,) int64; ``visible`` (time, time) bool: row t marks what token t sees,
    itself included; padding sees nothing and is seen by none. ``spans``: per set the columns of each part, in the order
    in which the parts were given, whatever their order in the row.
    """

    ids: Tensor
    positions: Tensor
    visible: Tensor
    spans: tuple[tuple[slice, ...], ...] = ()

    def __len__(self) -> int:
        return self.ids.numel()

    @classmethod
    def of(
        cls, blocks: Sequence[Block | Sequence[Block]], *, canonical: bool = True, padded: bool = False, pad: int = 0
    ) -> "PromptPlan":
        """Lay out token blocks, of which those that are lists of blocks are sets.

        ``canonical``: the parts of a set are put in the order of their ids, so that every permutation gives the same
        row, bit for bit. ``padded``: parts are filled up to the longest of their set with padding that nobody sees.
        Raises ValueError for an empty prompt, set or part.
        """
        ids: list[int] = []
        positions: list[int] = []
        owners: list[tuple[int, int]] = []  # (set, part) of each column
        spans: list[tuple[slice, ...]] = []
        start = 0
        for block in blocks:
            if len(block) == 0:
                raise ValueError("a segment of the prompt has no tokens; leave it out")
            parts = _parts(block)
            inside = parts is not None
            parts = parts or [[int(token) for token in block]]  # type: ignore[arg-type]
            longest = max(map(len, parts))
            order = sorted(range(len(parts)), key=parts.__getitem__) if canonical else range(len(parts))
            columns: dict[int, slice] = {}
            for part in order:
                filled = longest - len(parts[part]) if padded else 0
                columns[part] = slice(len(ids), len(ids) + len(parts[part]))
                ids += parts[part] + [pad] * filled
                positions += range(start, start + len(parts[part]) + filled)
                owners += [(len(spans) if inside else TEXT, part)] * len(parts[part]) + [(PADDING, 0)] * filled
            if inside:
                spans.append(tuple(columns[part] for part in range(len(parts))))
            start += longest
        if not ids:
            raise ValueError("the prompt is empty; give it some text")
        group, member = torch.tensor(owners).T
        apart = (group[:, None] == group) & (member[:, None] != member)
        real = group != PADDING
        seen = torch.ones(len(ids), len(ids), dtype=torch.bool).tril() & ~apart & real & real[:, None]
        return cls(torch.tensor(ids), torch.tensor(positions), seen, tuple(spans))

    @classmethod
    def flat(cls, blocks: Sequence[Block | Sequence[Block]]) -> "PromptPlan":
        """The same tokens as ordinary text: the parts one after another in the order given."""
        ids = [token for block in blocks for part in _parts(block) or [block] for token in part]
        if not ids:
            raise ValueError("the prompt is empty; give it some text")
        time = len(ids)
        return cls(torch.tensor(ids), torch.arange(time), torch.ones(time, time, dtype=torch.bool).tril())

    @cached_property
    def plain(self) -> bool:
        """Whether this is ordinary text: each token sees all earlier ones."""
        return bool(torch.equal(self.visible, torch.ones_like(self.visible).tril()))

    @property
    def end(self) -> int:
        """The position of the first token after the prompt."""
        return int(self.positions[self.visible.diagonal()].max()) + 1

    @property
    def mask(self) -> Tensor | None:
        """(1, 1, time, time) bool, as models and decoders take it; None for ordinary text."""
        return None if self.plain else self.visible[None, None]

    def to(self, device: torch.device | str) -> "PromptPlan":
        return replace(
            self, ids=self.ids.to(device), positions=self.positions.to(device), visible=self.visible.to(device)
        )


def _parts(block: Block | Sequence[Block]) -> list[list[int]] | None:
    """The parts of a set, None for plain text."""
    if len(block) == 0 or isinstance(block[0], int):
        return None
    parts = [list(part) for part in block]  # type: ignore[arg-type]
    if not all(parts):
        raise ValueError(f"part {parts.index([])} of {len(parts)} of a set has no tokens; leave it out")
    if not all(isinstance(token, int) for part in parts for token in part):
        raise TypeError("a part must be a list of token ids; sets cannot be nested")
    return parts


def pack(plans: Sequence[PromptPlan]) -> tuple[Tensor, Tensor | None]:
    """Prompts as a batch for a decoder: ids (batch, time), and the mask (batch, 1, time, time), None where all rows are
    ordinary text of one length. Padding stands on the left and sees nothing."""
    if not plans:
        raise ValueError("there is no prompt to pack; give at least one")
    width = max(map(len, plans))
    ids = torch.zeros(len(plans), width, dtype=torch.int64, device=plans[0].ids.device)
    mask = torch.zeros(len(plans), 1, width, width, dtype=torch.bool, device=plans[0].ids.device)
    for row, plan in enumerate(plans):
        ids[row, width - len(plan) :] = plan.ids
        mask[row, 0, width - len(plan) :, width - len(plan) :] = plan.visible
    plain = all(plan.plain and len(plan) == width for plan in plans)
    return ids, None if plain else mask


def positions_of(visible: Tensor) -> Tensor:
    """Where the tokens of a mask stand: each one past the furthest token that it sees, the first at 0.

    (batch, time, time) bool -> (batch, time) int64; padding, which does not see itself, gets 0. A token that sees what
    its left neighbour sees, and the neighbour, stands right behind it; only the others need a look back.
    """
    batch, time, _ = visible.shape
    real = visible.diagonal(dim1=1, dim2=2)
    itself = torch.eye(time, dtype=torch.bool, device=visible.device)
    goes_on = torch.zeros(batch, time, dtype=torch.bool, device=visible.device)
    goes_on[:, 1:] = real[:, 1:] & real[:, :-1] & ((visible & ~itself)[:, 1:] == visible[:, :-1]).all(-1)
    columns = torch.arange(time, device=visible.device)
    starts = torch.where(goes_on, 0, columns).cummax(1).values  # (batch, time): where the run of each token began
    positions = torch.zeros(batch, time, dtype=torch.int64, device=visible.device)
    for column in (real & ~goes_on).any(0).nonzero()[:, 0].tolist():
        seen = torch.where(visible[:, column], positions, -1)[:, :column]
        first = seen.amax(1, keepdim=True) + 1 if column else positions[:, :1]  # (batch, 1)
        positions = torch.where(real & (starts == column), first + columns - column, positions)
    return positions
