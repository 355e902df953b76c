"""Tasks of a text, or of two, with a label, as those of GLUE are: from files of yours, or made of known sets.

    lines          {"text": ..., "label": ...} or {"premise": ..., "hypothesis": ..., "label": ...}, one a line
    intents        an utterance and what is wanted: our own, or a folder of SNIPS
    answers        a question with a proposed answer, and whether it is right: our own, or a file of SciQ
    acceptability  a sentence of a treebank (CoNLL-U), as it is or with two neighbouring words exchanged

Three splits: "train" to learn from, "validation" to choose on, "test" to tell. A folder of lines holds one file for
each, ``train.jsonl``, or ``NAME.train.jsonl`` for several tasks in one folder, or a folder per task.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from trivium.core import seeds
from trivium.data import labelled, languages
from trivium.data.labelled import SPLITS, Labelled

Form = Literal["lines", "intents", "answers", "acceptability"]
Splits = Mapping[str, Sequence[Labelled]]

FIELDS = (
    ("text", "pair"), ("text",), ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"),
    ("question", "passage"), ("question", "sentence"), ("question", "answer"), ("sentence",),
)  # fmt: skip
"""What the texts of an item are called, in GLUE and SuperGLUE too; the first that a file's first line has."""
NAMES = {"train": ("train",), "validation": ("validation", "valid", "dev"), "test": ("test",)}
"""What the file of a split is called."""


def tasks(path: str, form: Form, fields: Sequence[str] = ()) -> dict[str, Splits]:
    """Task -> split -> items. ``fields``: what the one or two texts of a line are called, where not as in FIELDS.

    Raises ValueError for a form that is not known, for a line that is not of it, with its number, for a split without
    items, labels that training does not show, and for a task with one label only.
    """
    if form not in get_args(Form):
        raise ValueError(f"form must be one of {', '.join(get_args(Form))}; got {form!r}")
    if len(fields) > 2 or (fields and form != "lines"):
        raise ValueError(f"fields are the names of the one or two texts of a line; got {tuple(fields)} for {form}")
    if form in ("lines", "acceptability") and not path:
        raise ValueError(f"{form} are read from files of yours; give path, or take intents or answers of our own")
    found: dict[str, Splits] = {}
    if form == "lines":
        for name, files in _files(Path(path)).items():
            found[name] = {split: _lines(file, split, fields) for split, file in files.items()}
    elif form == "acceptability":
        found[form] = acceptability(path)
    elif form == "intents":
        found[form] = {s: labelled.snips(path, s) if path else labelled.made("intents", s) for s in SPLITS}
    else:
        found[form] = {s: labelled.sciq(path, s) if path else labelled.made("answers", s) for s in SPLITS}
    for name, splits in found.items():
        _check(name, splits)
    return found


def _check(name: str, splits: Splits) -> None:
    shown = Counter(one.label for one in splits["train"])
    if len(shown) < 2:
        raise ValueError(
            f"task {name}: all training items have the label {next(iter(shown))!r}; there is nothing to learn"
        )
    for split in ("validation", "test"):
        for one in splits[split]:
            if one.label not in shown:
                raise ValueError(
                    f"task {name}: {one.id!r} of {split} has the label {one.label!r}, which no training item has; they "
                    f"have {', '.join(map(repr, sorted(shown)))}"
                )


# Files ----------------------------------------------------------------------------------------------------------------


def _files(folder: Path) -> dict[str, dict[str, Path]]:
    """Task -> split -> file."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; give one with train.jsonl, validation.jsonl and test.jsonl")
    places = [folder, *sorted(one for one in folder.iterdir() if one.is_dir())]
    found: dict[str, dict[str, Path]] = {}
    for place in places:
        for split, words in NAMES.items():
            for file in sorted(place.glob("*.jsonl")):
                *name, word = file.name.removesuffix(".jsonl").split(".")
                if word in words:
                    found.setdefault(".".join(name) or place.name, {}).setdefault(split, file)
    if not found:
        raise FileNotFoundError(f"{folder} holds no task: no train.jsonl, and no folder with one in it")
    for task, files in found.items():
        for split, words in NAMES.items():
            if split not in files:
                raise FileNotFoundError(
                    f"task {task} in {folder} has no {words[0]}.jsonl: training, the choice of epochs and the report "
                    "each need items of their own; split what there is in three"
                )
    return found


def _lines(file: Path, split: str, fields: Sequence[str]) -> tuple[Labelled, ...]:
    found: list[Labelled] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            fields = fields or _named(row)
            texts = {name: _text(row, name) for name in fields}
            found.append(Labelled(f"{split}-{number:05d}", texts, _label(row)))
        except (KeyError, TypeError, ValueError) as error:
            said = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{file}, line {number} is no item with texts and a label: {said}") from None
    if not found:
        raise ValueError(f"{file} holds no item")
    return tuple(found)


def _named(row: Any) -> tuple[str, ...]:
    for names in FIELDS:
        if all(name in row for name in names):
            return names
    raise ValueError(f"it has {', '.join(row)}; say which of them are the texts: fields=('...', '...')")


def _text(row: Mapping[str, Any], name: str) -> str:
    if not isinstance(row[name], str):
        raise TypeError(f"{name} is {row[name]!r}, which is no text")
    return row[name]


def _label(row: Mapping[str, Any]) -> str:
    label = row["label"]
    if isinstance(label, float) and not label.is_integer():
        raise ValueError(f"the label {label} is a number on a scale; labels are classes")
    if label is None or label == -1:
        raise ValueError("it has no label (GLUE's own test files have none); take labelled items out of the others")
    return str(int(label)) if isinstance(label, float) else str(label)


# Treebanks ------------------------------------------------------------------------------------------------------------


def acceptability(path: str | Path, shortest: int = 5, longest: int = 25) -> dict[str, tuple[Labelled, ...]]:
    """Sentences of a CoNLL-U file with so many words, in a random order: in turn one as it is, and one in which two
    words that stand side by side change places. Each sentence occurs once.

    Of every eight pairs, four are for training, one for validation, three for the test. Raises ValueError for a file
    with too few such sentences.
    """
    whole = list(dict.fromkeys(" ".join(one.text.split()) for one in languages.treebank(path)))
    generator = seeds.generator(0, "acceptability")
    found: dict[str, list[Labelled]] = {split: [] for split in SPLITS}
    good, number = True, 0
    for at in torch.randperm(len(whole), generator=generator).tolist():
        words = whole[at].split()
        places = [
            n for n in range(1, len(words) - 1) if _exchangeable(*words[n : n + 2])
        ]  # a first word has its capital
        if not (places and shortest <= len(words) <= longest):
            continue  # of sentences as they are, too, so that the two sorts differ in nothing else
        if not good:
            place = places[int(torch.randint(len(places), (), generator=generator))]
            words[place : place + 2] = words[place + 1], words[place]
        split = ("train",) * 4 + ("validation",) + ("test",) * 3
        found[split[number // 2 % 8]].append(
            Labelled(f"sentence-{at:05d}", {"text": " ".join(words)}, "acceptable" if good else "unacceptable")
        )
        good, number = not good, number + 1
    if not all(len({one.label for one in some}) == 2 for some in found.values()):
        raise ValueError(f"{path} has {number} sentences of {shortest} to {longest} words that fit, and 16 are needed")
    return {split: tuple(some) for split, some in found.items()}


def _exchangeable(one: str, other: str) -> bool:
    return one.isalpha() and other.isalpha() and one.lower() != other.lower()
