"""Queries with passages to be ranked by how well they answer: made of scenes of our own, or from files of yours.

passages  {"query": ..., "passages": [{"text": ..., "relevance": 2}, ...]}, one query a line
sciq      a question of SciQ with its own support text, which answers it, and those of questions nearby
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from trivium.core import seeds
from trivium.data import scenes

Form = Literal["passages", "sciq"]
EACH, HARD = 10, 4
"""Passages of a query that is made, and how many of them at most name its person or its thing without answering it."""


@dataclass(frozen=True)
class Query:
    """``grades``: how relevant each passage is, 0 for not at all. Raises ValueError for a query that nothing can be
    told of: without text, with an empty passage or one twice, or of whose passages all or none are relevant."""

    id: str
    text: str
    passages: tuple[str, ...]
    grades: tuple[int, ...]
    cluster: str = ""

    def __post_init__(self) -> None:
        if not self.text.strip() or not all(one.strip() for one in self.passages):
            raise ValueError(f"query {self.id!r} or one of its passages is empty; leave it out")
        if len(set(self.passages)) < len(self.passages) or len(self.grades) != len(self.passages):
            raise ValueError(f"query {self.id!r} has a passage twice, or not a grade for each; leave one out")
        if not all(isinstance(one, int) and one >= 0 for one in self.grades):
            raise ValueError(f"query {self.id!r}: relevance is a whole number from 0, got {list(self.grades)}")
        if not 0 < sum(one > 0 for one in self.grades) < len(self.grades):
            raise ValueError(f"query {self.id!r}: some passages must be relevant and some not; leave it out")


@cache
def made(split: str) -> tuple[Query, ...]:
    """42 questions about scenes in "test", 18 others in "validation", each with ten scenes, one of which answers it."""
    found = []
    every = [(one, *one.question.removesuffix("\nAnswer:").split("\nQuestion: ")) for one in scenes.made(split)]
    for number, (one, scene, question) in enumerate(every):
        generator = seeds.numpy_generator(number, "retrieval", split)
        near, far = [], []
        for other in generator.permutation(len(every)).tolist():
            text = every[other][1]
            shared = [word for word in (*scenes.PEOPLE, *scenes.THINGS) if word in scene and word in text]
            asked = [word for word in shared if word in question]
            if other != number and not asked:  # what the question names is not here, so it cannot answer
                (near if shared else far).append(text)
        others = [*near[:HARD], *far][: EACH - 1]
        place = int(generator.integers(EACH))
        passages = (*others[:place], scene, *others[place:])
        found.append(Query(one.id, question, passages, tuple(int(text == scene) for text in passages), one.group))
    return tuple(found)


def read(path: str | Path, form: Form) -> tuple[Query, ...]:
    """Of a file of JSON lines. Raises ValueError with the number of a line that is not of the form."""
    path = Path(path)
    rows: list[tuple[int, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            try:
                rows.append((number, json.loads(line)))
            except ValueError as error:
                raise ValueError(f"{path}, line {number} is no JSON: {error}") from None
    if form == "sciq":
        rows = [(number, row) for number, row in rows if not isinstance(row, dict) or row.get("support", "?").strip()]
    found = []
    for at, (number, row) in enumerate(rows):
        try:
            name = str(row.get("id", f"{path.name.split('.')[0]}-{number:05d}"))
            found.append(_row(row, name) if form == "passages" else _sciq([each for _, each in rows], at, name))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number} is no query in the form of {form}: {error!r}") from None
    if not found:
        raise ValueError(f"{path} holds no query")
    return tuple(found)


def _row(row: Mapping[str, Any], name: str) -> Query:
    passages = row["passages"]
    return Query(
        name, row["query"], tuple(one["text"] for one in passages), tuple(one["relevance"] for one in passages)
    )


def _sciq(rows: Sequence[Mapping[str, Any]], at: int, name: str) -> Query:
    """With the supports of the questions behind it that differ from its own."""
    own = rows[at]["support"].strip()
    behind = [rows[(at + n) % len(rows)]["support"].strip() for n in range(1, len(rows))]
    others = list(dict.fromkeys(text for text in behind[: 4 * EACH] if text != own))[: EACH - 1]
    place = int(seeds.numpy_generator(at, "retrieval", "sciq").integers(len(others) + 1))
    passages = (*others[:place], own, *others[place:])
    return Query(name, rows[at]["question"], passages, tuple(int(text == own) for text in passages))
