"""The nouns that methods are arrows between."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trivium.core.attributions import Attribution, Axes, Spelling, Target

__all__ = [
    "Attribution", "Axes", "Batch", "Example", "Experts", "Generation", "Loss", "Measure", "Observation", "Spelling",
    "Stop", "Target", "Trace",
]  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """Training rows. ``ids`` (batch, time); ``mask`` (batch, time) bool, True where real; ``segments`` (batch, time)
    int: document number within the row, so that packed documents do not see each other."""

    ids: Tensor
    mask: Tensor | None = None
    segments: Tensor | None = None

    def __len__(self) -> int:
        return self.ids.shape[0]

    def predicts(self) -> Tensor:
        """(batch, time) bool: where the next token is predicted, both being real and of one document."""
        predicts = torch.ones_like(self.ids, dtype=torch.bool)
        predicts[:, -1:] = False
        if self.mask is not None:
            predicts[:, :-1] &= self.mask[:, :-1] & self.mask[:, 1:]
        if self.segments is not None:
            predicts[:, :-1] &= self.segments[:, :-1] == self.segments[:, 1:]
        return predicts

    def split(self, rows: int) -> list["Batch"]:
        """Micro-batches of at most so many rows."""
        rows_of = lambda x, i: None if x is None else x[i : i + rows]  # noqa: E731
        return [
            Batch(self.ids[i : i + rows], rows_of(self.mask, i), rows_of(self.segments, i))
            for i in range(0, len(self), rows)
        ]

    def to(self, device: torch.device | str) -> "Batch":
        move = lambda x: None if x is None else x.to(device)  # noqa: E731
        return Batch(self.ids.to(device), move(self.mask), move(self.segments))


@dataclass(frozen=True)
class Loss:
    """A loss as numerator and denominator, so that sums over micro-batches and ranks are exact.

    ``total`` is a scalar with gradient, ``count`` the weight it is divided by (usually predicted tokens).
    """

    total: Tensor
    count: Tensor
    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def value(self) -> Tensor:
        return self.total / self.count


@dataclass
class Trace:
    """What a decoder did, one entry per iteration (as a rule one pass of the target model).

    ``drafted``, ``verified``, ``accepted``, ``rejected`` and ``committed`` are summed over rows, where ``rejected``
    counts the rows in which drafts were left and none was taken; ``target_passes``, ``target_positions``,
    ``draft_passes`` and ``draft_positions`` are the passes made and the positions fed. ``depths`` has one entry per
    iteration as well: the verified and accepted drafts and the rejections at depth 1, 2, ... below the pending token.
    ``seconds`` maps a phase ("prefill", "draft", "verify", "choose"; "small" and "large" of two models that take turns)
    to its wall-clock sum.
    """

    iterations: list[dict[str, int]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    depths: list[dict[str, list[int]]] = field(default_factory=list)

    def note(self, depths: Mapping[str, Sequence[int]] | None = None, /, **counts: int) -> None:
        self.iterations.append(counts)
        self.depths.append({name: list(numbers) for name, numbers in (depths or {}).items()})

    def total(self, name: str) -> int:
        return sum(entry.get(name, 0) for entry in self.iterations)

    @property
    def mean_accepted_length(self) -> float:
        """Block efficiency: committed tokens per row and target pass, the extra one included; 1 for plain decoding."""
        passes = sum(entry.get("rows", 1) for entry in self.iterations)
        return self.total("committed") / passes if passes else 0.0

    @property
    def acceptance_rate(self) -> float | None:
        """Accepted over verified draft tokens; None where nothing was drafted."""
        verified = self.total("verified")
        return self.total("accepted") / verified if verified else None

    def by_depth(self, name: str) -> list[int]:
        """How many drafts were "verified" or "accepted", or rows "rejected", at depth 1, 2, ... in all iterations."""
        deepest = max((len(entry.get(name, ())) for entry in self.depths), default=0)
        return [sum(e[name][at] for e in self.depths if at < len(e.get(name, ()))) for at in range(deepest)]


@dataclass(frozen=True)
class Generation:
    """New tokens. ``ids`` (batch, new) int64, ``logprobs`` (batch, new): the model's own, before any processing.

    Rows may end early: ``lengths`` (batch,) tells how many columns count; the rest of ``ids`` and ``logprobs`` is 0.
    ``accepted`` (batch, new) bool marks tokens that a drafter proposed and the verifier took. ``reasons``: of rows in
    which nothing could be written, why.
    """

    ids: Tensor
    logprobs: Tensor
    lengths: Tensor
    trace: Trace = field(default_factory=Trace)
    accepted: Tensor | None = None
    reasons: Mapping[int, str] = field(default_factory=dict)

    def row(self, index: int) -> Tensor:
        """The new tokens of one row, without padding."""
        return self.ids[index, : int(self.lengths[index])]


@dataclass(frozen=True)
class Example:
    """One item of a task. ``cluster`` groups items that are not independent; ``fields`` holds the task's own data."""

    id: str
    text: str
    cluster: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """What a task measured on one example: numbers by name, and texts to show beside them. ``vectors`` are what the
    task's ``pooled`` measures are made of: "own" of the output, "reference" of what it is set against."""

    values: Mapping[str, float]
    shown: Mapping[str, Any] = field(default_factory=dict)
    vectors: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Experts:
    """Models to choose among, by their names. ``costs``: by the name of a cost what each of them costs, such as the
    logarithm of its size; less is better. Raises ValueError for costs that are not one finite number each."""

    names: tuple[str, ...]
    costs: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"experts need names of their own, at least one; got {list(self.names)}")
        for name, values in self.costs.items():
            if len(values) != len(self.names) or not torch.tensor(list(values)).isfinite().all():
                raise ValueError(f"the cost {name!r} must be one finite number for each of {len(self.names)} experts")

    def __len__(self) -> int:
        return len(self.names)

    def cost(self, name: str) -> Tensor:
        """(experts,) float64. Raises ValueError for a cost that is not known."""
        if name not in self.costs:
            known = ", ".join(self.costs) or "none"
            raise ValueError(f"no cost of these experts is called {name!r}; there are {known}")
        return torch.tensor(list(self.costs[name]), dtype=torch.float64)


@dataclass(frozen=True)
class Measure:
    """A number that a task reports: how to read it."""

    name: str
    title: str
    higher_is_better: bool | None = True
    """None where neither direction is better by itself."""
    unit: str = ""
    binary: bool = False
    """Each value is yes (1) or no (0), so that its mean is a proportion."""
    pooled: str = ""
    """Where it is of all outputs together rather than a mean over examples: the statistic of their vectors that it is,
    by its name in ``compare.pooled``."""
    ratio: bool = False
    """Values are positive and are compared by their ratios: means are geometric, and of an example's repeats the median
    counts. Meant for speeds."""


LABELS: Mapping[str, str] = {
    "values": "real numbers, (examples,) or (examples, outputs)",
    "classes": "whole numbers from 0, (examples,)",
    "heads": "(words,) or (words, 2): where in its sentence the head of each word stands, -1 for the root; in a second "
    "column whether the word counts, as punctuation does not. A group is a sentence",
    "constituents": "(leaves, 3): height and label of the lowest node above each leaf and the next, and the label of "
    "the leaf alone; labels as numbers, 0 for none. A group is a tree",
}
"""The sorts of labels that probes read."""


@dataclass(frozen=True)
class Stop:
    """When a row ends before its limit: at one of these tokens, or at the token that completes one of these texts (both
    are kept in the output). Texts need ``decode``, such as a tokenizer's."""

    tokens: Sequence[int] = ()
    texts: Sequence[str] = ()
    decode: Callable[[Sequence[int]], str] | None = None
