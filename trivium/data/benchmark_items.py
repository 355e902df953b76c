"""Items of evaluation sets as plain questions and answers, from the files that evaluation reads, to look for in texts.

read("arc=arc/test.jsonl")          a form of ``data.questions`` and a file in it
read("tasks/mine.yaml")             a task of lm-evaluation-harness, or a group of them, with local data
read("mine.jsonl")                  lines with "question" and "answer", or with "text" alone
read("planted")                     the items of ``data.planted``
"""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trivium.data import harness, planted, questions
from trivium.data.contamination import Item

_FRAME = re.compile(r"^Question: |(?<=\n)Question: |\n?Answer:$")
"""What a form puts around a question, which no text has."""


def read(said: str) -> list[Item]:
    """The items of one set. Raises ValueError, or FileNotFoundError, saying what is wrong with it."""
    form, equals, path = said.partition("=")
    if said == "planted":
        return [Item("planted", str(n), text) for n, text in enumerate(planted.items())]
    if equals and form in questions.FORMS:
        return [
            Item(Path(path).name, one.id, _FRAME.sub("", one.question), one.options[one.answer].strip())
            for one in questions.read(path, form)  # type: ignore[arg-type]
        ]
    place = Path(said)
    if not place.exists():
        raise FileNotFoundError(
            f"no evaluation set {said!r}: give a path, or FORM=PATH with a form of {', '.join(questions.FORMS)}"
        )
    if place.suffix in (".yaml", ".yml"):
        return [item for task in harness.declared(place) for item in _asked(task)]
    return list(_lines(place))


def _asked(task: harness.Declared) -> Iterator[Item]:
    """By the query that a task declares for this very purpose, else as it is asked."""
    said = task.config.get("doc_to_decontamination_query")
    for number, document in enumerate(task.documents(task.tested)):
        where = f"document {number}"
        query = task.rendered(said, document, "doc_to_decontamination_query", where) if said else None
        text = task.text(document, where) if query is None else query
        target, choices = task.target(document, where), task.choices(document, where)
        if choices and isinstance(target, int):
            target = choices[target]
        target = target[0] if isinstance(target, list) and target else target
        answer = "" if query is not None else str(target or "")
        yield Item(task.name, str(number), text if isinstance(text, str) else "", answer)


def _lines(path: Path) -> Iterator[Item]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for number, line in enumerate(data.decode("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row: dict[str, Any] = json.loads(line)
            question = row["text"] if "text" in row else row["question"]
            answer = row.get("answer", "")
            if not isinstance(question, str) or not isinstance(answer, str):
                raise TypeError("question and answer must be texts")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f'{path}, line {number}: expected an object with "question" and "answer", or "text"; got '
                f"{line[:60]!r} ({error})"
            ) from None
        yield Item(path.name, str(row.get("id", number)), question, answer)
