"""Corpora: named lists of documents, split by what the documents say."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

SPLITS = ("train", "validation", "test")
SUFFIXES = (".txt", ".md", ".rst", ".py")
LINED = (".jsonl", ".conllu")
"""Files of many documents."""


@dataclass(frozen=True)
class Corpus:
    """Documents by split. Taking a split that is empty or not there raises ValueError."""

    name: str
    splits: Mapping[str, Sequence[str]]

    def __getitem__(self, split: str) -> Sequence[str]:
        if split not in self.splits:
            raise ValueError(f"{self.name} has no split {split!r}; it has {', '.join(self.splits)}")
        if not self.splits[split]:
            raise ValueError(f"the {split} split of {self.name} is empty; give more documents or larger shares")
        return self.splits[split]

    @cached_property
    def sha256(self) -> str:
        """Over every document of every split, in order; lengths are hashed too, so that no two corpora collide."""
        digest = hashlib.sha256()
        for split in sorted(self.splits):
            digest.update(f"{split} {len(self.splits[split])}\n".encode())
            for document in self.splits[split]:
                data = document.encode("utf-8", errors="surrogatepass")
                digest.update(f"{len(data)}\n".encode())
                digest.update(data)
        return digest.hexdigest()

    def bytes(self, split: str) -> int:
        """Size of a split in UTF-8, which is what bits per byte are counted over."""
        return sum(len(document.encode("utf-8", errors="surrogatepass")) for document in self[split])

    @classmethod
    def split(cls, name: str, documents: Iterable[str], *, validation: float = 0.05, test: float = 0.05) -> "Corpus":
        """Deal documents out by their own hash: a document goes to the same split whatever else is in the corpus, and
        so do its copies, which therefore never stand in training and test at once."""
        if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
            raise ValueError(f"validation and test are shares that leave some to train on, got {validation} and {test}")
        dealt: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
        for document in documents:
            digest = hashlib.sha256(document.encode("utf-8", errors="surrogatepass")).digest()
            at = int.from_bytes(digest[:8], "big") / 2**64
            dealt["test" if at < test else "validation" if at < test + validation else "train"].append(document)
        wanted = {"train": 1.0, "validation": validation, "test": test}
        return cls(name, {split: dealt[split] for split in SPLITS if wanted[split] > 0})

    @classmethod
    def read(cls, *paths: str | Path, name: str = "", validation: float = 0.05, test: float = 0.05) -> "Corpus":
        """A corpus of text files, of JSONL files (one object with "text" a line), of treebanks in CoNLL-U (the
        sentences of a document, or each by itself where the file names no documents), or of all such files in folders.

        A single text, from which nothing could be held out, is cut at empty lines into parts of ``PART`` characters or
        a little more; its end is what is held out, so that no part is trained on between two that are tested.
        """
        if not paths:
            raise ValueError("give at least one file or folder to read")
        documents = [document for path in paths for document in _documents(Path(path))]
        if not documents:
            raise ValueError(
                f"{', '.join(map(str, paths))} holds no text; files end in {', '.join((*SUFFIXES, *LINED))}"
            )
        called = name or Path(paths[0]).stem
        if len(documents) > 1 or validation + test <= 0 or len(documents[0]) < 4 * PART:
            return cls.split(called, documents, validation=validation, test=test)
        parts = _parts(documents[0])
        held = [max(1, round(share * len(parts))) if share > 0 else 0 for share in (validation, test)]
        first, second = len(parts) - sum(held), len(parts) - held[1]
        if first < 1:
            raise ValueError(f"{paths[0]} has {len(parts)} parts between empty lines, too few to hold some of them out")
        cut = {"train": parts[:first], "validation": parts[first:second], "test": parts[second:]}
        return cls(called, {split: texts for split, texts in cut.items() if texts})


PART = 2000
"""Characters that a part of a single text has at least."""


def _parts(text: str) -> list[str]:
    """A text cut at empty lines; nothing is lost but these lines between parts."""
    parts: list[list[str]] = [[]]
    for paragraph in re.split(r"\n[ \t]*\n", text):
        if sum(map(len, parts[-1])) >= PART:
            parts.append([])
        parts[-1].append(paragraph)
    whole = ["\n\n".join(part) for part in parts]
    return [part for part in whole if part.strip()]


def _documents(path: Path) -> Iterator[str]:
    if path.is_dir():
        for found in sorted(path.rglob("*")):
            if found.is_file() and found.suffix in (*SUFFIXES, *LINED):
                yield from _documents(found)
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}); convert it, for instance with iconv") from error
    if path.suffix == ".conllu":
        yield from _treebank(path, text)
        return
    if path.suffix != ".jsonl":
        if text.strip():
            yield text
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{path}, line {number}: expected an object with "text", got {line[:60]!r} ({error!r})'
            ) from error
        if not isinstance(document, str):
            raise ValueError(f'{path}, line {number}: "text" must be a string, it is {type(document).__name__}')
        if document.strip():
            yield document


def _treebank(path: Path, text: str) -> Iterator[str]:
    """The documents of a treebank, a sentence a line. Raises ValueError for a line that no treebank has."""
    held: list[str] = []
    whole = "# newdoc" in text
    for line in text.split("\n"):
        if line.startswith("# newdoc") and held:
            yield "\n".join(held)
            held = []
        elif line.startswith("# text = "):
            held.append(line.removeprefix("# text = ").strip())
            if not whole:
                yield held.pop()
        elif line and not line.startswith("#") and line.count("\t") != 9:
            raise ValueError(f"{path} is no CoNLL-U: a word has ten columns, not those of {line[:60]!r}")
    if held:
        yield "\n".join(held)
