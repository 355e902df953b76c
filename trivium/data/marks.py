"""What is known of documents, apart from what is done about it: numbers and spans by name, in columns.

A number of a document is one cell of a float column; NaN says that there is none, as where a text is too short. A span
is (start, end, score) over the code points of the text, half open. Names are ``method.attribute``, so that methods can
be measured in any order and side by side.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trivium.core.errors import UnknownName, did_you_mean
from trivium.data.raw.documents import Document

Span = tuple[int, int, float]
OF_SPANS = ("count", "most", "share")
"""What a rule may ask of spans: how many, the highest score (NaN without any), the share of the text covered."""


@dataclass(frozen=True)
class Texts:
    """Documents of one shard as columns of one length."""

    ids: Sequence[str]
    texts: Sequence[str]
    sources: Sequence[str]
    metadata: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if not self.metadata:
            object.__setattr__(self, "metadata", [{} for _ in self.ids])
        lengths = {name: len(column) for name, column in vars(self).items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the columns of documents differ in length: {lengths}")

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, documents: Iterable[Document]) -> "Texts":
        rows = list(documents)
        return cls(
            [row.id for row in rows], [row.text for row in rows], [row.source for row in rows],
            [row.metadata for row in rows],
        )  # fmt: skip


@dataclass(frozen=True)
class Marks:
    """What was measured of so many documents: columns of numbers, and per document the spans of a name."""

    count: int
    numbers: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    spans: Mapping[str, Sequence[Sequence[Span]]] = field(default_factory=dict)
    lengths: NDArray[np.int64] | None = None
    """(count,) code points of each text; needed where a share is asked for."""

    def __post_init__(self) -> None:
        for name, column in (*self.numbers.items(), *self.spans.items()):
            if len(column) != self.count:
                raise ValueError(f"{name} has {len(column)} values for {self.count} documents")
        if both := self.numbers.keys() & self.spans.keys():
            raise ValueError(f"{min(both)} is both a number and spans; names must differ")

    @property
    def names(self) -> frozenset[str]:
        """What a rule may refer to."""
        return frozenset([*self.numbers, *(f"{name}.{what}" for name in self.spans for what in OF_SPANS)])

    def value(self, name: str) -> NDArray[np.float64]:
        """(count,): a number, or one of ``OF_SPANS`` of spans. Raises UnknownName."""
        if name in self.numbers:
            return np.asarray(self.numbers[name], np.float64)
        of, _, what = name.rpartition(".")
        if of not in self.spans or what not in OF_SPANS:
            raise UnknownName(f"nothing measured is called {name!r}{did_you_mean(name, self.names)}")
        rows = self.spans[of]
        match what:
            case "count":
                return np.array([len(row) for row in rows], float)
            case "most":
                return np.array([max((score for *_, score in row), default=np.nan) for row in rows], float)
            case _:
                if self.lengths is None:
                    raise ValueError(f"{name} is a share of the texts, whose lengths are not given")
                return np.array(
                    [covered(row) / length if length else 0.0 for row, length in zip(rows, self.lengths, strict=True)]
                )

    def under(self, method: str) -> "Marks":
        """The same with names that say which method measured it."""
        return Marks(
            self.count,
            {f"{method}.{name}": column for name, column in self.numbers.items()},
            {f"{method}.{name}": rows for name, rows in self.spans.items()},
            self.lengths,
        )

    def __or__(self, other: "Marks") -> "Marks":
        """Of the same documents; a name that both have is an error."""
        twice = {*self.numbers, *self.spans} & {*other.numbers, *other.spans}
        if twice:
            raise ValueError(f"{min(twice)} was measured twice; give one of the methods another name")
        if self.count != other.count:
            raise ValueError(f"these are measures of {self.count} and of {other.count} documents")
        lengths = self.lengths if self.lengths is not None else other.lengths
        return Marks(self.count, {**self.numbers, **other.numbers}, {**self.spans, **other.spans}, lengths)


def covered(spans: Iterable[Span]) -> int:
    """Code points that at least one span covers."""
    total, upto = 0, 0
    for start, end, _ in sorted(spans):
        total += max(end - max(start, upto), 0)
        upto = max(upto, end)
    return total
