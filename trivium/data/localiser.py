"""What finds the units that respond to language: sentences, and strings of pseudo-words as a control.

The contrast is that of Fedorenko et al. 2010, "New Method for fMRI Investigations of Language" (240 of each, twelve
words, lower case); its stimuli are not here. Sentences are those of our own stories that have the wanted number of
words. Pseudo-words come from a letter model (the next letter by the two before it) of the words of the same stories;
none is a word that is known here (a short one may be English all the same). Each stands for a word of a sentence, as
long as it is, so that the two texts of a pair agree in the lengths of their words.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from trivium.core import seeds
from trivium.data.sentences import sentences
from trivium.data.stories import story
from trivium.data.word_lists import CATEGORIES

WORDS = 12
LONGEST = 14
"""Letters of a pseudo-word at most."""


@dataclass(frozen=True, eq=False)
class Contrast:
    """Texts of two sorts: ``labels`` (texts,) bool, True for sentences; ``groups`` (texts,) int64: the pair that a text
    is of, so that a sentence and the string made from it stay on one side of a split."""

    texts: tuple[str, ...]
    labels: Tensor
    groups: Tensor

    def halves(self) -> tuple["Contrast", "Contrast"]:
        """Pairs of even number, and of odd number."""
        return self.some(self.groups % 2 == 0), self.some(self.groups % 2 == 1)

    def some(self, kept: Tensor) -> "Contrast":
        """The texts that are marked (texts,)."""
        texts = tuple(text for text, there in zip(self.texts, kept.tolist(), strict=True) if there)
        return Contrast(texts, self.labels[kept], self.groups[kept])


class LetterModel:
    """Which letter follows two others, by the words of a list, each of which counts once."""

    def __init__(self, words: Sequence[str]) -> None:
        self.known = frozenset(words)
        counts: dict[str, dict[str, int]] = {}
        for word in sorted(self.known):
            marked = f"^^{word}$"
            for at in range(2, len(marked)):
                after = counts.setdefault(marked[at - 2 : at], {})
                after[marked[at]] = after.get(marked[at], 0) + 1
        if not counts:
            raise ValueError("a letter model needs at least one word")
        self.counts = counts

    def probability(self, before: str, letter: str) -> float:
        """Of a letter behind two others; '^' stands before a word and '$' behind it."""
        after = self.counts.get(before, {})
        return after.get(letter, 0) / sum(after.values()) if after else 0.0

    def draw(self, generator: torch.Generator) -> str:
        """One string of letters, a known word or not."""
        made = "^^"
        while not made.endswith("$") and len(made) < LONGEST + 3:
            after = self.counts[made[-2:]]
            weights = torch.tensor(list(after.values()), dtype=torch.float64)
            made += list(after)[int(torch.multinomial(weights, 1, generator=generator))]
        return made[2:].rstrip("$")

    def pseudo_words(self, count: int, generator: torch.Generator) -> list[str]:
        """So many different ones, of 2 to ``LONGEST`` letters, none of them a known word.

        Raises ValueError where the list of words is too small to give that many.
        """
        found: dict[str, None] = {}
        for _ in range(50 * count):
            word = self.draw(generator)
            if 2 <= len(word) <= LONGEST and word not in self.known:
                found[word] = None
            if len(found) == count:
                return list(found)
        raise ValueError(f"{len(self.known)} words give {len(found)} pseudo-words, not {count}; give more words")


def plain(sentence: str) -> list[str]:
    """The words of a sentence in lower case, without marks."""
    return re.findall(r"[a-z]+(?:'[a-z]+)?", sentence.lower())


def _stories(seed: int) -> Iterator[str]:
    index = 0
    while True:
        yield story(seed, index)
        index += 1


@cache
def _known(seed: int) -> LetterModel:
    told = (word for _, text in zip(range(300), _stories(seed), strict=False) for word in plain(text))
    listed = (word for words in CATEGORIES.values() for word in words.split())
    return LetterModel([word for word in (*told, *listed) if word.isalpha()])


def localiser(count: int = 240, seed: int = 0, *, words: int = WORDS) -> Contrast:
    """So many sentences of as many words, and as many strings of pseudo-words, in pairs; no sentence comes twice.

    Raises ValueError for a count below 1, or a number of words that hardly a sentence has.
    """
    if count < 1 or not 4 <= words <= 20:
        raise ValueError(f"count must be at least 1 and words 4 to 20, got {count} and {words}")
    seen: dict[tuple[str, ...], None] = {}
    for _, text in zip(range(100 * count + 1000), _stories(seed), strict=False):
        for sentence in sentences(text.replace("\n", " ")):
            spoken = plain(sentence)
            if len(spoken) == words and '"' not in sentence and len(seen) < count:
                seen[tuple(spoken)] = None
        if len(seen) == count:
            break
    else:
        raise ValueError(f"only {len(seen)} sentences of {words} words were found, not {count}; ask for fewer")
    generator = seeds.generator(seed, "pseudo-words", count, words)
    by_length: dict[int, list[str]] = {}
    for word in _known(seed).pseudo_words(max(400, 4 * count), generator):
        by_length.setdefault(len(word), []).append(word)
    texts, labels = [], []
    for spoken in seen:
        strange = []
        for word in spoken:
            alike = by_length[min(by_length, key=lambda size: (abs(size - len(word)), size))]
            strange.append(alike[int(torch.randint(len(alike), (), generator=generator))])
        texts += [" ".join(spoken), " ".join(strange)]
        labels += [True, False]
    return Contrast(tuple(texts), torch.tensor(labels), torch.arange(len(texts)) // 2)
