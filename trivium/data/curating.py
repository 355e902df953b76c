"""What a method of the kind ``curation`` is, and documents put through one of them in memory.

    found = curated(Gopher(), Texts.of(documents))
    found.texts, found.decided.reason, found.counts

Measuring and deciding are apart: a method says what it measures and marks, and which rules go with that by default;
it never changes or drops anything. So measures are taken once, and a threshold is changed without reading the text
again. A method is of one of two sorts. A ``Tagger`` looks at each document by itself. A ``Gatherer`` compares them: of
each shard it takes a small sketch, and what it says of a document depends on the set of all, never on their order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trivium.core.method import card_of
from trivium.data.marks import OF_SPANS, Marks, Span, Texts
from trivium.data.rules import Decided, Rules, replaced
from trivium.data.stages import Counts

Sketch = Mapping[str, NDArray[Any]]
"""Columns that say of the documents of one shard what the comparison of all needs, as arrays that go to disk as they
are."""


class Curation(Protocol):
    """A method, whatever its sort; names are its own, without the method's before them."""

    @property
    def measures(self) -> frozenset[str]:
        """Names of the numbers that it gives for every document."""
        ...

    @property
    def marks(self) -> frozenset[str]:
        """Names of the spans that it gives."""
        ...

    @property
    def rules(self) -> Rules:
        """What is done about it where nothing else is said; conditions have the method's name before each name."""
        ...


@runtime_checkable
class Tagger(Curation, Protocol):
    """Documents one by one."""

    def tag(self, texts: Texts) -> Marks:
        """What is known of these; the same for each, whatever stands beside it."""
        ...


@runtime_checkable
class Gatherer(Curation, Protocol):
    """Documents as a set. One that ranks them says so by ``relative = True``: it would drop some of what it keeps."""

    def sketch(self, texts: Texts) -> Sketch:
        """Of one shard, on its own."""
        ...

    def gather(self, sketches: Sequence[Sketch]) -> list[Marks]:
        """Of all shards what is known of the documents of each, by the content of the set alone."""
        ...


@dataclass(frozen=True)
class Curated:
    """What one pass made of documents."""

    texts: Texts
    """Those that were kept, with passages cut."""
    marks: Marks
    """Of all, under the method's name."""
    decided: Decided
    counts: Counts


def names_of(methods: Mapping[str, Curation]) -> tuple[frozenset[str], frozenset[str]]:
    """What rules may refer to where these measure, by the names they go by: numbers with what is asked of spans, and
    spans."""
    spans = frozenset(f"{name}.{mark}" for name, method in methods.items() for mark in method.marks)
    numbers = frozenset(f"{name}.{one}" for name, method in methods.items() for one in method.measures)
    return numbers | {f"{span}.{what}" for span in spans for what in OF_SPANS}, spans


def measured(method: Curation, shards: Sequence[Texts]) -> list[Marks]:
    """What the method knows of the documents of each shard, checked against what it says it measures."""
    if isinstance(method, Tagger):
        found = [method.tag(texts) for texts in shards]
    elif isinstance(method, Gatherer):
        found = method.gather([method.sketch(texts) for texts in shards])
    else:
        raise TypeError(f"{type(method).__name__} neither tags documents nor gathers them")
    return [checked(method, marks, texts) for marks, texts in zip(found, shards, strict=True)]


def checked(method: Curation, marks: Marks, texts: Texts) -> Marks:
    """The marks with the lengths of the texts. Raises ValueError where they are not what the method declares."""
    name = card_of(method).name
    for what, declared, given in (("measures", method.measures, marks.numbers), ("marks", method.marks, marks.spans)):
        if declared != given.keys():
            wrong = sorted(declared ^ given.keys())
            raise ValueError(f"{name} says that it {what} {sorted(declared)}, and differs by {wrong}")
    if marks.count != len(texts):
        raise ValueError(f"{name} was given {len(texts)} documents and tells of {marks.count}")
    lengths = np.array([len(text) for text in texts.texts], np.int64)
    for mark, rows in marks.spans.items():
        for row, length, id in zip(rows, lengths, texts.ids, strict=True):
            for start, end, _ in row:
                if not 0 <= start <= end <= length:
                    raise ValueError(f"{name} marks {mark} {start} to {end} in {id!r}, which has {length} characters")
    return Marks(marks.count, marks.numbers, marks.spans, lengths)


def curated(method: Curation, texts: Texts, rules: Rules | None = None) -> Curated:
    """Documents through one method and its rules, or others. Raises UnknownName for rules about something else."""
    name = card_of(method).name
    rules = method.rules if rules is None else rules
    rules.check(*names_of({name: method}))
    (marks,) = measured(method, [texts])
    marks = marks.under(name)
    return applied(texts, marks, rules)


def applied(texts: Texts, marks: Marks, rules: Rules) -> Curated:
    """Rules carried out on documents of which this is known."""
    decided = rules.decide(marks)
    kept = np.flatnonzero(decided.kept).tolist()
    after = {place: replaced(texts.texts[place], decided.cuts[place]) for place in kept}
    lengths = [len(text) for text in texts.texts]
    left = sum(len(text) for text in after.values())
    whole = sum(lengths[place] for place in kept)
    counts = Counts(
        read=len(texts), kept=len(kept), dropped={why: n for why, n in decided.first.items() if n},
        chars_read=sum(lengths), chars_kept=left, chars_removed=whole - left, chars_dropped=sum(lengths) - whole,
    )  # fmt: skip
    counts.check("curation")
    stay = Texts(
        [texts.ids[place] for place in kept],
        [after[place] for place in kept],
        [texts.sources[place] for place in kept],
        [texts.metadata[place] for place in kept],
    )
    return Curated(stay, marks, decided, counts)


def together(parts: Iterable[Marks]) -> Marks:
    """Marks of one shard after another as one."""
    found = list(parts)
    if not found:
        return Marks(0)
    names, spans = found[0].numbers, found[0].spans
    lengths = [part.lengths for part in found if part.lengths is not None]
    joined: dict[str, list[Sequence[Span]]] = {
        name: [row for part in found for row in part.spans[name]] for name in spans
    }
    return Marks(
        sum(part.count for part in found),
        {name: np.concatenate([part.numbers[name] for part in found]) for name in names},
        joined,
        np.concatenate(lengths) if len(lengths) == len(found) else None,
    )
