"""Small tasks that are made and not read, with further ones of the same sort as examples: sums, scrambled words, words
that nobody knows, labels that mean nothing.

After the synthetic tasks of Brown et al. 2020 (arXiv:2005.14165, section 3.9), whose wording is from memory.
"""

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest
from typing import Literal

import numpy as np

from trivium.core import seeds
from trivium.data import splits
from trivium.data.choices import KINDS

Name = Literal[
    "labels", "novel_words", "addition", "subtraction", "multiplication", "expressions", "cycled", "anagrams_1",
    "anagrams_2", "inserted", "reversed",
]  # fmt: skip
POOL = 64
"""Examples to draw from, where they can be made without end."""


@dataclass(frozen=True)
class Puzzle:
    """A question whose answer follows after a space. ``options``: what to choose among, nothing where it is written.
    ``group``: puzzles that share what there is to be learned from examples."""

    id: str
    question: str
    answer: str
    options: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True)
class Puzzles:
    """What is asked, with what stands before everything, and by group the examples that may stand before a question."""

    instruction: str
    asked: tuple[Puzzle, ...]
    examples: Mapping[str, tuple[Puzzle, ...]]

    def pool(self, puzzle: Puzzle) -> tuple[Puzzle, ...]:
        """Examples for a puzzle; never itself, nor one that asks the same."""
        return tuple(one for one in self.examples.get(puzzle.group, ()) if one.question != puzzle.question)


def made(name: Name, split: str, count: int, *, digits: int = 2, meaningful: bool = False, seed: int = 0) -> Puzzles:
    """So many puzzles of a sort; those of the splits "test" and "validation" differ.

    ``digits``: of the numbers in sums. ``meaningful``: labels say what they stand for.
    """
    splits.check(split)
    generator = seeds.numpy_generator(seed, "puzzles", name, digits, split)
    if name == "labels":
        return _labels(split, count, meaningful, generator)
    if name == "novel_words":
        return _novel_words(split, count, generator)
    instruction, make = _SUMS[name] if name in _SUMS else _WORDS[name]
    limit = 100 * (count + POOL)
    found: dict[str, str] = {}
    for _ in range(limit):
        question, answer = make(generator, digits)
        found.setdefault(question, answer)
        if len(found) == count + POOL:
            break
    else:
        raise ValueError(
            f"there are only {len(found)} different puzzles of {name}, {POOL} of them for examples; ask less"
        )
    puzzles = [Puzzle(f"{name}-{n:04d}", *pair) for n, pair in enumerate(found.items())]
    return Puzzles(instruction, tuple(puzzles[:count]), {"": tuple(puzzles[count:])})


# Sums -----------------------------------------------------------------------------------------------------------------


def _number(generator: np.random.Generator, digits: int) -> int:
    return int(generator.integers(0, 10**digits))


def _sum(word: str, of: Callable[[int, int], int]) -> Callable[[np.random.Generator, int], tuple[str, str]]:
    def make(generator: np.random.Generator, digits: int) -> tuple[str, str]:
        a, b = _number(generator, digits), _number(generator, digits)
        return f"Q: What is {a} {word} {b}?\nA:", str(of(a, b))

    return make


def _expression(generator: np.random.Generator, digits: int) -> tuple[str, str]:
    """Three numbers of one digit, the last two in brackets."""
    a, b, c = (_number(generator, 1) for _ in range(3))
    first, second = (generator.choice(list("+-*")) for _ in range(2))
    of = {"+": lambda x, y: x + y, "-": lambda x, y: x - y, "*": lambda x, y: x * y}
    return f"Q: What is {a}{first}({b}{second}{c})?\nA:", str(of[first](a, of[second](b, c)))


_SUMS: Mapping[str, tuple[str, Callable[[np.random.Generator, int], tuple[str, str]]]] = {
    "addition": ("", _sum("plus", lambda a, b: a + b)),
    "subtraction": ("", _sum("minus", lambda a, b: a - b)),
    "multiplication": ("", _sum("times", lambda a, b: a * b)),
    "expressions": ("", _expression),
}


# Words ----------------------------------------------------------------------------------------------------------------

MORE = """
anchor answer apron autumn balance balloon basket beautiful because between blanket blossom bottle bottom branch
breakfast bridge brother bucket butter button candle carpet castle cellar center chapter cheese chimney circle clever
climate clock clothes cloud coffee corner cottage cotton country cousin curtain customer danger daughter december
dinner distance doctor double dragon early earth eight elbow engine enough evening famous farmer feather finger flower
forest forget friend frozen garden gentle glass gloves golden hammer happy harbour heavy history honest hospital
hungry island jacket journey kettle kitchen ladder language laughter lesson letter library little machine market
meadow medicine message middle minute mirror monday money morning mother mountain museum narrow neighbour nothing
number ocean office paper parent pencil people picture pillow pocket police pretty price question quiet railway reason
remember river rocket sailor sandwich school season secret seven shadow silver simple sister smoke soldier spring
station stone storm street student sugar summer supper ticket travel treasure tunnel umbrella uncle valley village
visitor voice weather wedding window winter wonder wooden yellow yesterday
"""
LONG = tuple(sorted({word.lower() for words in (MORE, *KINDS.values()) for word in words.split() if len(word) >= 5}))
"""Words to scramble."""


def _cycled(generator: np.random.Generator, word: str) -> str:
    by = int(generator.integers(1, len(word)))
    return word[by:] + word[:by]


def _inner(kept: int) -> Callable[[np.random.Generator, str], str]:
    def scramble(generator: np.random.Generator, word: str) -> str:
        """All but so many letters at either end in another order; at least two must be left that differ."""
        inner = list(word[kept : len(word) - kept])
        if len(set(inner)) < 2:
            return word
        while "".join(inner) == word[kept : len(word) - kept]:
            generator.shuffle(inner)
        return word[:kept] + "".join(inner) + word[len(word) - kept :]

    return scramble


def _inserted(generator: np.random.Generator, word: str) -> str:
    marks = string.punctuation + " "
    return "".join(letter + marks[int(generator.integers(len(marks)))] for letter in word[:-1]) + word[-1]


def _scrambled(of: Callable[[np.random.Generator, str], str]) -> Callable[[np.random.Generator, int], tuple[str, str]]:
    def make(generator: np.random.Generator, digits: int) -> tuple[str, str]:
        while True:
            word = LONG[int(generator.integers(len(LONG)))]
            scrambled = of(generator, word)
            if scrambled != word:
                return f"{scrambled} =", word

    return make


_UNSCRAMBLE = "Please unscramble the letters into a word, and write that word:\n"
_WORDS: Mapping[str, tuple[str, Callable[[np.random.Generator, int], tuple[str, str]]]] = {
    "cycled": (_UNSCRAMBLE, _scrambled(_cycled)),
    "anagrams_1": (_UNSCRAMBLE, _scrambled(_inner(1))),
    "anagrams_2": (_UNSCRAMBLE, _scrambled(_inner(2))),
    "inserted": (_UNSCRAMBLE, _scrambled(_inserted)),
    "reversed": (_UNSCRAMBLE, _scrambled(lambda generator, word: word[::-1])),
}


# Labels and new words -------------------------------------------------------------------------------------------------

EACH = 4
"""Words of a pair of kinds that are asked, half of them in each split."""


def _nonsense(generator: np.random.Generator, length: int) -> str:
    """A word that nobody knows: consonants and vowels in turn."""
    return "".join(str(generator.choice(list("bdfgklmnprstvz" if n % 2 == 0 else "aeiou"))) for n in range(length))


def _labels(split: str, count: int, meaningful: bool, generator: np.random.Generator) -> Puzzles:
    """Words of two kinds, each kind with a label: of every pair of kinds a mapping of its own, which examples alone
    can tell. Asked are words of as many mappings as there are, before a second word of any."""
    groups: list[list[Puzzle]] = []
    examples: dict[str, tuple[Puzzle, ...]] = {}
    for first, second in combinations(KINDS, 2):
        group = f"{first} or {second}"
        own = seeds.numpy_generator(0, "labels", group)  # the mapping is the same in both splits
        labels = [kind.split(" ", 1)[1] for kind in (first, second)]
        while not meaningful and (labels[0] in group or labels[0] == labels[1]):
            labels = [_nonsense(own, 4) for _ in range(2)]
        listed = tuple(sorted(labels))
        words = [own.permutation(kind_words).tolist() for kind_words in (KINDS[first].split(), KINDS[second].split())]
        puzzles = [
            Puzzle(f"{first.split()[-1]}-{second.split()[-1]}-{word}", f"Word: {word}\nLabel:", label, listed, group)
            for pair in zip(*words, strict=True)
            for word, label in zip(pair, labels, strict=True)
        ]
        mine = puzzles[: EACH // 2] if split == "test" else puzzles[EACH // 2 : EACH]
        groups.append(mine if generator.integers(2) else mine[::-1])
        examples[group] = tuple(puzzles[EACH:])
    asked = [one for row in zip_longest(*groups) for one in row if one is not None]
    return Puzzles("", _first(asked, count, "labels"), examples)


SENTENCES: Mapping[str, Sequence[str]] = {
    "a kind of animal": ("The {} slept under a tree and woke up hungry.", "We heard the {} howl all night."),
    "a kind of food": ("She baked the {} and ate it with butter.", "This {} tastes better with a little salt."),
    "a kind of tool": ("He tightened the screw with his {}.", "Hand me the {}, the nail is still loose."),
    "a piece of clothing": ("She wore her warm {} over the shirt.", "The sleeves of my {} are too long."),
    "a kind of vehicle": ("We drove the {} to the station.", "The {} ran out of fuel on the motorway."),
    "a musical instrument": ("He played a slow song on the {}.", "She tuned her {} before the concert."),
    "a kind of weather": ("The {} flooded the streets by noon.", "After the {} the sky was clear again."),
    "a game": ("The children played {} until it was dark.", "We won at {} by three points."),
}


def _novel_words(split: str, count: int, generator: np.random.Generator) -> Puzzles:
    """A new word and what it means; which of two sentences uses it so."""
    kinds = list(SENTENCES)
    puzzles: dict[str, Puzzle] = {}
    while len(puzzles) < count + POOL:
        word = _nonsense(generator, 6)
        right, wrong = (str(kind) for kind in generator.permutation(kinds)[:2])
        options = [SENTENCES[kind][int(generator.integers(2))].format(word) for kind in (right, wrong)]
        question = f'A "{word}" is {right}. A sentence that uses the word {word} is:'
        listed = tuple(options if generator.integers(2) else options[::-1])
        puzzles[word] = Puzzle(f"novel-{word}", question, options[0], listed)
    found = list(puzzles.values())
    return Puzzles("", tuple(found[:count]), {"": tuple(found[count:])})


def _first(found: Sequence[Puzzle], count: int, name: str) -> tuple[Puzzle, ...]:
    if count > len(found):
        raise ValueError(f"there are {len(found)} puzzles of {name}, {count} were asked for; lower items")
    return tuple(found[:count])
