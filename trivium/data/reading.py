"""Stories with the time that readers took for each word: the Natural Stories corpus, or readers that are simulated.

The corpus (Futrell et al. 2021, "The Natural Stories corpus", Language Resources and Evaluation) is read from a folder:

    all_stories.tok           word, zone, item: what was shown, word by word
    processed_wordinfo.tsv    word, zone, item, nItem, meanItemRT ...: mean time over readers, in milliseconds
    freqs-1.tsv               code "item.zone.word", length, word, count: how frequent each word is, without headings
    processed_RTs.tsv         WorkerId, item, zone, RT: each reader's time, where it is there; means are then made of it

Simulated readers take longer for long, rare and surprising words, and for words behind surprising ones. What surprises
them is a count of word pairs in other stories of the same teller; they are for trying things out and no evidence.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trivium.core import seeds
from trivium.data import splits
from trivium.data.stories import story

Values = NDArray[np.float64]
PLAUSIBLE = (100.0, 3000.0)
"""Milliseconds between which one reader's time counts."""
KNOWN_STORIES = 400
"""Stories that simulated readers have read before."""
TEST, VALIDATION = 8, 4


@dataclass(frozen=True, eq=False)
class TimedStory:
    """Words and what is known of each: ``times`` (words,) in milliseconds, ``frequency`` (words,) as the logarithm of
    a count; ``readers`` (readers, words), NaN where a reader gave no time, or None where only the mean is known."""

    name: str
    words: tuple[str, ...]
    times: Values
    frequency: Values
    readers: Values | None = None

    def __post_init__(self) -> None:
        for name in ("times", "frequency"):
            value = getattr(self, name)
            if value.shape != (len(self.words),) or not np.isfinite(value).all():
                raise ValueError(f"story {self.name!r}: {name} must have a finite number for each of its words")
        if self.readers is not None and (self.readers.ndim != 2 or self.readers.shape[1] != len(self.words)):
            raise ValueError(f"story {self.name!r}: readers must have {len(self.words)} columns, a word each")

    @property
    def text(self) -> str:
        """The words with a space between them."""
        return " ".join(self.words)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Where the words stand in the text."""
        found, at = [], 0
        for word in self.words:
            found.append((at, at + len(word)))
            at += len(word) + 1
        return found


def read(folder: str | Path) -> tuple[TimedStory, ...]:
    """All stories of a folder of the corpus.

    Raises FileNotFoundError for a file that is missing; ValueError for a line that is not of its form, a zone that is
    missing or given twice, and a word without a time or a frequency.
    """
    folder = Path(folder)
    words: dict[tuple[str, int], str] = {}
    for where, row in _table(folder / "all_stories.tok", ("word", "zone", "item")):
        key = (row["item"], _whole(row["zone"], where))
        if key in words:
            raise ValueError(f"{where}: zone {key[1]} of story {key[0]} is given twice")
        words[key] = row["word"]
    means: dict[tuple[str, int], float] = {}
    for where, row in _table(folder / "processed_wordinfo.tsv", ("word", "zone", "item", "meanItemRT")):
        means[row["item"], _whole(row["zone"], where)] = _number(row["meanItemRT"], where)
    counts = _counts(folder / "freqs-1.tsv")
    each = _each_reader(folder / "processed_RTs.tsv") if (folder / "processed_RTs.tsv").is_file() else {}
    found = []
    for item in sorted({item for item, _ in words}, key=lambda name: (len(name), name)):
        zones = sorted(zone for name, zone in words if name == item)
        missing = sorted(set(range(1, zones[-1] + 1)) - set(zones))
        if missing:
            raise ValueError(f"{folder}: story {item} has no zone {missing[0]}, but zone {zones[-1]}; give all words")
        for known, what, file in ((means, "time", "processed_wordinfo.tsv"), (counts, "frequency", "freqs-1.tsv")):
            for zone in zones:
                if (item, zone) not in known:
                    raise ValueError(f"{file} has no {what} for zone {zone} of story {item}, {words[item, zone]!r}")
        readers = _matrix(each, item, zones)
        times = np.array([means[item, zone] for zone in zones])
        if readers is not None:
            times = np.nanmean(readers, axis=0)
        frequency = np.array([counts[item, zone] for zone in zones])
        found.append(TimedStory(item, tuple(words[item, zone] for zone in zones), times, frequency, readers))
    return tuple(found)


def _table(path: Path, columns: Sequence[str]) -> Iterable[tuple[str, dict[str, str]]]:
    """Rows of a table with headings, each with the name of its line."""
    lines = _text(path).splitlines()
    names = lines[0].split("\t") if lines else []
    if not set(columns) <= set(names):
        raise ValueError(f"{path}, line 1 must name the columns {', '.join(columns)}; it has {names}")
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        if len(cells) != len(names):
            raise ValueError(f"{path}, line {number} has {len(cells)} cells, not {len(names)}")
        yield f"{path}, line {number}", dict(zip(names, cells, strict=True))


def _text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; give the folder of the Natural Stories corpus")
    return path.read_text(encoding="utf-8")


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: {text!r} is no number")
    return value


def _whole(text: str, where: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{where}: zones are counted from 1, got {text!r}")
    return int(text)


def _counts(path: Path) -> dict[tuple[str, int], float]:
    """Log count of each word without its punctuation; as a whole where it has no other form, such as 'Mr.'."""
    found, whole = {}, {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        cells = line.split("\t")
        parts = cells[0].split(".")
        if len(parts) != 3 or len(cells) < 4:
            raise ValueError(f"{path}, line {number} is no code, length, word and count: {line[:60]!r}")
        if parts[2] in ("word", "whole"):
            where = f"{path}, line {number}"
            into = found if parts[2] == "word" else whole
            into[parts[0], _whole(parts[1], where)] = math.log(max(_number(cells[3], where), 1.0))
    return whole | found


def _each_reader(path: Path) -> dict[str, dict[str, dict[int, float]]]:
    """Story -> reader -> zone -> milliseconds."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for where, row in _table(path, ("WorkerId", "item", "zone", "RT")):
        time = _number(row["RT"], where)
        if PLAUSIBLE[0] <= time <= PLAUSIBLE[1]:
            found.setdefault(row["item"], {}).setdefault(row["WorkerId"], {})[_whole(row["zone"], where)] = time
    return found


def _matrix(each: dict[str, dict[str, dict[int, float]]], item: str, zones: Sequence[int]) -> Values | None:
    if not each:
        return None
    rows = each.get(item, {})
    found = np.array([[row.get(zone, np.nan) for zone in zones] for row in rows.values()])
    found = found.reshape(len(rows), len(zones))
    unread = np.isnan(found).all(axis=0)
    if unread.any():
        raise ValueError(f"processed_RTs.tsv has no time for zone {zones[int(unread.argmax())]} of story {item}")
    return found


# Simulated readers ----------------------------------------------------------------------------------------------------


@cache
def simulated(split: str, readers: int = 12) -> tuple[TimedStory, ...]:
    """Eight stories in "test" and four others in "validation", each with so many simulated readers."""
    splits.check(split)
    if readers < 2:
        raise ValueError(f"readers must be at least 2, got {readers}")
    known: list[str] = [word for at in range(KNOWN_STORIES) for word in story(1, at).split()]
    single: dict[str, int] = {}
    double: dict[tuple[str, str], int] = {}
    for before, word in zip(["", *known[:-1]], known, strict=True):
        single[word] = single.get(word, 0) + 1
        double[before, word] = double.get((before, word), 0) + 1
    places = range(TEST) if split == "test" else range(TEST, TEST + VALIDATION)
    return tuple(_read_by(f"{split}-{at}", tuple(story(2, at).split()), single, double, readers) for at in places)


def _read_by(
    name: str, words: tuple[str, ...], single: dict[str, int], double: dict[tuple[str, str], int], readers: int
) -> TimedStory:
    total, kinds, trust = sum(single.values()), len(single) + 1, 5.0
    alone = np.array([(single.get(word, 0) + 1) / (total + kinds) for word in words])
    after = np.array([single.get(before, 0) for before in ("", *words[:-1])])
    seen = np.array([double.get(pair, 0) for pair in zip(("", *words[:-1]), words, strict=True)])
    surprise = -np.log2((seen + trust * alone) / (after + trust))
    before = np.concatenate([surprise[:1], surprise[:-1]])
    length = np.array([len(word) for word in words])
    mean = 220 + 8 * length - 3 * np.log(alone) + 7 * surprise + 4 * before
    generator = seeds.numpy_generator(0, "readers", name, readers)
    each = mean + generator.normal(0, 40, (readers, 1)) + generator.normal(0, 60, (readers, len(words)))
    return TimedStory(name, words, each.mean(axis=0), np.log(alone), each)
