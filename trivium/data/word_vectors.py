"""Static word vectors: read from files, or trained with gensim; and dictionaries of word pairs."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from trivium.core.languages import WordVectors
from trivium.core.optional import require
from trivium.nn.neighbours import procrustes

WORD = re.compile(r"\w+")


def train_vectors(
    sentences: Iterable[Sequence[str]],
    *,
    width: int = 100,
    epochs: int = 3,
    window: int = 5,
    min_count: int = 10,
    ngrams: tuple[int, int] | None = None,
    generator: torch.Generator,
) -> WordVectors:
    """Skip-gram vectors with negative sampling of everything that occurs ``min_count`` times, on one thread, so that a
    seed gives the same ones each time. ``ngrams``: the shortest and longest character n-grams that count (fastText).

    Raises ValueError where nothing is that frequent, MissingExtra without gensim.
    """
    models = require("gensim.models", extra="vectors", why="static word vectors are trained with it")
    rows = [list(sentence) for sentence in sentences]
    counts: dict[str, int] = {}
    for row in rows:
        for word in row:
            counts[word] = counts.get(word, 0) + 1
    kept = sum(count >= min_count for count in counts.values())
    if not kept:
        most = max(counts.values(), default=0)
        raise ValueError(
            f"no word occurs {min_count} times, the most frequent one {most}; give more text or lower min_count"
        )
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator, device=generator.device))
    settings: dict[str, Any] = dict(
        vector_size=width, window=window, min_count=min_count, sg=1, negative=5, epochs=epochs, workers=1, seed=seed
    )
    if ngrams is None:
        model = models.Word2Vec(rows, **settings)
    else:
        settings |= dict(min_n=ngrams[0], max_n=ngrams[1], bucket=min(2_000_000, max(1000, 50 * kept)))
        model = models.FastText(rows, **settings)
    words = tuple(model.wv.index_to_key)
    return WordVectors(words, torch.from_numpy(model.wv.vectors.copy()), tuple(counts[word] for word in words))


def words_of(texts: Iterable[str], *, lower: bool = True) -> list[list[str]]:
    """Each text as its words, for ``train_vectors``."""
    return [WORD.findall(text.lower() if lower else text) for text in texts]


def aligned_vectors(
    new: Sequence[str], old: Sequence[str], width: int, *, generator: torch.Generator
) -> tuple[WordVectors, WordVectors, tuple[tuple[str, str], ...]]:
    """Vectors of two languages trained on their texts, the new ones turned onto the old ones by the words that both
    spell alike; and these words, as a dictionary. Raises ValueError where there are none."""
    theirs, ours = (
        train_vectors(words_of(texts), width=width, epochs=5, min_count=3, generator=generator) for texts in (new, old)
    )
    alike = [word for word in theirs.words if word in ours.places]
    if not alike:
        raise ValueError("no word is spelt alike in both languages, so their vectors stay apart; use vectors=0")
    here, there = ([side.places[word] for word in alike] for side in (theirs, ours))
    rotation = procrustes(theirs.vectors.double()[here], ours.vectors.double()[there])
    turned = WordVectors(theirs.words, (theirs.vectors.double() @ rotation).float(), theirs.counts)
    return turned, ours, tuple((word, word) for word in alike)


def read_vectors(path: str | Path) -> WordVectors:
    """Vectors in the text format of word2vec: a word and its numbers a line, split by spaces; the first line may count
    words and dimensions instead. Raises ValueError, naming the line, for what is not that."""
    words: list[str] = []
    rows: list[list[float]] = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            parts = line.rstrip("\n").rstrip(" ").split(" ")
            if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
                continue
            if not line.strip():
                continue
            try:
                values = [float(part) for part in parts[1:]]
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: a word and its numbers were expected ({error})") from error
            if not values or (rows and len(values) != len(rows[0])):
                wanted = f"{len(rows[0])}" if rows else "some"
                raise ValueError(f"{path}, line {number}: {wanted} numbers were expected, it has {len(values)}")
            words.append(parts[0])
            rows.append(values)
    if not rows:
        raise ValueError(f"{path} holds no vectors; a line is a word and its numbers")
    return WordVectors(tuple(words), torch.tensor(rows))


def read_dictionary(path: str | Path) -> tuple[tuple[str, str], ...]:
    """Pairs of words in two columns, split by a tab or else by spaces: the known language first. Raises ValueError,
    naming the line, for a line of another number of words."""
    pairs = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        parts = [part.strip() for part in (line.split("\t") if "\t" in line else line.split())]
        if len(parts) != 2 or not all(parts):
            raise ValueError(f"{path}, line {number}: two words were expected, got {line[:60]!r}")
        pairs.append((parts[0], parts[1]))
    if not pairs:
        raise ValueError(f"{path} holds no pair of words")
    return tuple(pairs)
