"""Questions with answers to choose among, as contexts and continuations: from files of well-known sets, in their forms.

A form is what lm-evaluation-harness makes of a set: the context of a question, and the choices that may follow it
after a space.
"""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from trivium.data import choices
from trivium.data.choices import Choice

Form = Literal["aqua", "arc", "blimp", "commonsense_qa", "hellaswag", "openbookqa", "piqa", "sciq"]

Parts = tuple[str, Sequence[str], int, str]
"""Context, choices, which of them is right, and a name for questions that are not independent."""


def _labelled(row: Mapping[str, Any]) -> tuple[list[str], int]:
    return list(row["choices"]["text"]), list(row["choices"]["label"]).index(row["answerKey"])


def _aqua(row: Mapping[str, Any]) -> Parts:
    """Options are written with their letters, "A)12"; they are asked without."""
    letters, texts = zip(*(option.split(")", 1) for option in row["options"]), strict=True)
    return f"Question: {row['question']}\nAnswer:", [text.strip() for text in texts], letters.index(row["correct"]), ""


def _arc(row: Mapping[str, Any]) -> Parts:
    return f"Question: {row['question']}\nAnswer:", *_labelled(row), ""


def _blimp(row: Mapping[str, Any]) -> Parts:
    if row["sentence_good"] == row["sentence_bad"]:
        raise ValueError(f"both sentences are {row['sentence_good']!r}")
    return "", (row["sentence_good"], row["sentence_bad"]), 0, row["UID"]


def _commonsense_qa(row: Mapping[str, Any]) -> Parts:
    texts, answer = _labelled(row)
    labels = row["choices"]["label"]
    listed = "\n".join(f"{label}. {text}" for label, text in zip(labels, texts, strict=True))
    return f"Question: {row['question']}\n{listed}\nAnswer:", labels, answer, ""


def _hellaswag(row: Mapping[str, Any]) -> Parts:
    return row["query"], row["choices"], int(row["gold"]), ""


def _openbookqa(row: Mapping[str, Any]) -> Parts:
    return row["question_stem"], *_labelled(row), ""


def _piqa(row: Mapping[str, Any]) -> Parts:
    return f"Question: {row['goal']}\nAnswer:", (row["sol1"], row["sol2"]), int(row["label"]), ""


def _sciq(row: Mapping[str, Any]) -> Parts:
    wrong = [row[f"distractor{n}"] for n in (1, 2, 3)]
    return f"{row['support'].lstrip()}\nQuestion: {row['question']}\nAnswer:", [*wrong, row["correct_answer"]], 3, ""


FORMS: Mapping[str, Callable[[Mapping[str, Any]], Parts]] = {
    "aqua": _aqua,
    "arc": _arc,
    "blimp": _blimp,
    "commonsense_qa": _commonsense_qa,
    "hellaswag": _hellaswag,
    "openbookqa": _openbookqa,
    "piqa": _piqa,
    "sciq": _sciq,
}


def made(split: str) -> tuple[Choice, ...]:
    """The questions of our own (``data.choices.made``), in the form of ARC."""
    return tuple(
        Choice(one.id, f"Question: {one.question}\nAnswer:", one.options, one.answer, one.group)
        for one in choices.made(split)
    )


def read(path: str | Path, form: Form) -> tuple[Choice, ...]:
    """The questions of a file of JSON lines, plain or gzip; ``question`` of each is its whole context.

    Raises ValueError for a form that is not known, and with the number of a line that is not of it.
    """
    if form not in FORMS:
        raise ValueError(f"no form is called {form!r}; there are {', '.join(FORMS)}")
    path = Path(path)
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    found = []
    for number, line in enumerate(data.decode("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            context, texts, answer, group = FORMS[form](row)
            name = str(row.get("id", f"{path.name.split('.')[0]}-{number:05d}"))
            found.append(Choice(name, context, tuple(map(str, texts)), answer, group))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number} is no question in the form of {form}: {error!r}") from None
    if not found:
        raise ValueError(f"{path} holds no question")
    return tuple(found)
