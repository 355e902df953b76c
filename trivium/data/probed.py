"""Texts with what a probe is to read off a model's states of them: classes or values of texts, heads of words, trees.

intents         what the speaker of a short utterance wants, of four things: sentences of our own
python          syntax trees of functions of the running Python's standard library (extra 'syntax')
a .conllu file  heads of the words of its sentences
a .jsonl file   lines with "text" and "label", a word for a class or a number for a value; if you like "group", what
                is to be held out as one, and "start" and "stop", the characters that are looked at, not the end
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import torch
from torch import Tensor

from trivium.core import seeds
from trivium.core.errors import UnknownName, did_you_mean
from trivium.data.constituents import label_names, labels_of
from trivium.data.dependencies import dependencies, heads_of
from trivium.data.labelled import SPLITS, made
from trivium.data.syntax import functions, grammar

Spans = tuple[tuple[tuple[int, int], ...], ...]
NAMES = ("intents", "python")


@dataclass(frozen=True, eq=False)
class Probed:
    """``labels`` of all rows in order, a row being a text or one of its ``spans`` (None: the last token of each text);
    ``sort`` as in ``core.nouns.LABELS``. ``sources``: per text what it is from, and texts of one source are not
    independent. ``names``: what classes or labels are called; ``ids``: of texts; ``about``: what was read."""

    sort: str
    texts: tuple[str, ...]
    labels: Tensor
    sources: tuple[str, ...]
    ids: tuple[str, ...]
    spans: Spans | None = None
    names: tuple[str, ...] = ()
    about: str = ""

    @property
    def structured(self) -> bool:
        """Whether the rows of a text belong together, as words of a sentence do."""
        return self.sort in ("heads", "constituents")

    def only(self, keep: Sequence[bool]) -> "Probed":
        """Without some of the texts."""
        rows = [1] * len(self.texts) if self.spans is None else [len(each) for each in self.spans]
        kept = torch.tensor(list(keep)).repeat_interleave(torch.tensor(rows))
        some = lambda values: tuple(compress(values, keep))  # noqa: E731
        return replace(
            self,
            texts=some(self.texts),
            labels=self.labels[kept],
            sources=some(self.sources),
            ids=some(self.ids),
            spans=None if self.spans is None else some(self.spans),
        )

    def clusters(self, text: Tensor) -> Tensor:
        """Of rows whose texts are given, the number of their source."""
        place = {source: at for at, source in enumerate(dict.fromkeys(self.sources))}
        return torch.tensor([place[source] for source in self.sources])[text]


def probed(name: str, count: int | None = None, split: str = "", names: Sequence[str] = ()) -> Probed:
    """A set by its name or path; at most ``count`` texts, and all splits together where none is asked for (of "python"
    the split "train"). Files are split by source: six tenths are "train", two "validation" and two "test".

    ``names``: classes or labels as another split of the set has them; a label that is not among them is -1. Raises
    UnknownName for what is neither a name nor a file, ValueError for files of another form and empty splits.
    """
    if split not in ("", *SPLITS):
        raise ValueError(f"the splits are {', '.join(map(repr, SPLITS))}, or '' for all; got {split!r}")
    if count is not None and count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if name == "intents":
        items = [one for part in ([split] if split else SPLITS) for one in made("intents", part)][:count]
        ids = tuple(one.id for one in items)
        said = tuple(" ".join(one.fields.values()) for one in items)
        return _classes(said, [one.label for one in items], ids, ids, None, "utterances of our own", names)
    if name == "python":
        found = functions(count or 300, split or "train")
        known = tuple(names) or label_names(one.tree for one in found)
        return Probed(
            "constituents",
            tuple(one.text for one in found),
            labels_of([one.tree for one in found], known)[0],
            tuple(one.source for one in found),
            tuple(one.id for one in found),
            tuple(one.spans for one in found),
            known,
            f"functions of the standard library, {grammar()}",
        )
    path = Path(name).expanduser()
    if not path.is_file():
        raise UnknownName(f"{name!r} is neither a file nor a set that ships{did_you_mean(name, NAMES)}")
    if path.suffix != ".conllu":
        return _labelled(path, count, split, names)
    parsed = [one for one in dependencies(path) if _in(split, one.document)][:count]
    _some(parsed, path, split)
    return Probed(
        "heads",
        tuple(one.text for one in parsed),
        heads_of(parsed)[0],
        tuple(one.document for one in parsed),
        tuple(one.id for one in parsed),
        tuple(one.spans for one in parsed),
        (),
        f"sentences of {path.name}",
    )


def _labelled(path: Path, count: int | None, split: str, names: Sequence[str]) -> Probed:
    texts: list[str] = []
    labels: list[str | float] = []
    sources: list[str] = []
    ids: list[str] = []
    spans: list[tuple[tuple[int, int], ...]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
            text, label = row["text"], row["label"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f'{where} must be an object with "text" and "label": {error!r}') from None
        if not isinstance(text, str) or not text.strip() or not isinstance(label, str | int | float):
            raise ValueError(f"{where}: text must be words, and label a word or a number; got {text!r} and {label!r}")
        if ("start" in row) != ("stop" in row):
            raise ValueError(f"{where}: start and stop go together")
        source = str(row.get("group", number))
        if _in(split, source):
            texts.append(text)
            labels.append(str(label) if isinstance(label, bool) else label)
            sources.append(source)
            ids.append(f"{path.stem}-{number:05d}")
            spans.append(((int(row["start"]), int(row["stop"])),) if "start" in row else ())
    _some(texts, path, split)
    texts, labels, sources, ids, spans = texts[:count], labels[:count], sources[:count], ids[:count], spans[:count]
    if any(spans) and not all(spans):
        raise ValueError(f"{path}: either every line has start and stop, or none")
    looked, about = tuple(spans) if any(spans) else None, f"texts of {path.name}"
    if any(isinstance(one, str) for one in labels):
        return _classes(texts, [str(one) for one in labels], sources, ids, looked, about, names)
    given = torch.tensor(labels, dtype=torch.float64)
    return Probed("values", tuple(texts), given, tuple(sources), tuple(ids), looked, (), about)


def _classes(
    texts: Sequence[str],
    labels: Sequence[str],
    sources: Sequence[str],
    ids: Sequence[str],
    spans: Spans | None,
    about: str,
    names: Sequence[str],
) -> Probed:
    known = tuple(names) or tuple(sorted(set(labels)))
    numbers = torch.tensor([known.index(label) if label in known else -1 for label in labels])
    return Probed("classes", tuple(texts), numbers, tuple(sources), tuple(ids), spans, known, about)


def _in(split: str, source: str) -> bool:
    place = seeds.derive(0, "split", source) % 10
    return not split or (*["train"] * 6, *["validation"] * 2, *["test"] * 2)[place] == split


def _some(found: Sequence[object], path: Path, split: str) -> None:
    if not found:
        raise ValueError(f"{path} holds nothing{f' of the split {split!r}' if split else ''}; give a larger file")
