"""RegBench: documents of one random regular language each, so that what may come next has to be learned as one reads.

A document is a few words of a random automaton, joined by ``|``; at each state of a word the next symbol is drawn
evenly from those that the automaton allows. Languages of the test split occur in no other. Since the source is known,
so is the law of every next symbol, and beside it stand laws that know less: one that knows the source to be one of a
list of automata (exact, by Bayes' rule), and in-context n-grams with back-off.

After Akyürek et al. 2024, "In-Context Language Learning: Architectures and Algorithms", from notes about the authors'
code: bounds on states, letters, words and symbols, one to three edges per state. Ours: letters stand for themselves in
a text, and each document goes on to its end, where the authors cut by characters.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trivium.core.seeds import numpy_generator
from trivium.data.automata import Automaton, random_automaton
from trivium.data.corpus import SPLITS, Corpus

LETTERS = "abcdefghijklmnopqr"
"""Symbols of all languages; a law is an array with a column for each."""
SEPARATOR = "|"
EDGES = (1, 3)
TRIES = 1000
"""Automata drawn in vain, one after another, from which on there are taken to be no more."""

Law = np.ndarray
"""(time, letters): at each symbol of a document the probabilities of what stands there, given what stands before it and
that it is a letter; zeros at separators."""


@dataclass(frozen=True)
class RegularLanguages:
    """A family of random regular languages and documents of them; bounds are included."""

    states: tuple[int, int] = (4, 12)
    """Of an automaton, before those that cannot be told apart are joined."""
    letters: tuple[int, int] = (4, 18)
    """That an automaton uses."""
    words: tuple[int, int] = (10, 19)
    """In a document."""
    symbols: tuple[int, int] = (1, 49)
    """In a word."""
    train: int = 5000
    """Languages, and so documents, to train on."""
    held_out: int = 250
    """Languages of the validation split, and as many of the test split."""
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"states": EDGES[1] + 1, "letters": EDGES[1], "words": 1, "symbols": 1}
        for name, bound in least.items():
            low, high = getattr(self, name)
            if not bound <= low <= high:
                raise ValueError(f"{name} must be two rising bounds of at least {bound}, got {low} and {high}")
        if self.letters[1] > len(LETTERS):
            raise ValueError(f"letters goes up to the {len(LETTERS)} there are, got {self.letters[1]}")
        for name in ("train", "held_out"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @cached_property
    def automata(self) -> dict[str, tuple[Automaton, ...]]:
        """The languages of each split, in minimal form, all different. Those held out are drawn first, so that they do
        not depend on how many are trained on. Raises ValueError where there are not so many."""
        taken: set[Automaton] = set()
        sizes = {"test": self.held_out, "validation": self.held_out, "train": self.train}
        return {split: self._different(split, size, taken) for split, size in sizes.items()}

    def _different(self, split: str, count: int, taken: set[Automaton]) -> tuple[Automaton, ...]:
        found: list[Automaton] = []
        index = vain = 0
        while len(found) < count:
            draw = numpy_generator(self.seed, "automaton", split, index)
            automaton = random_automaton(draw, LETTERS, self.states, self.letters, EDGES).minimal()
            index += 1
            vain = vain + 1 if automaton in taken else 0
            if vain == TRIES:
                raise ValueError(
                    f"the last {TRIES} automata drawn were all known: {len(taken)} different ones were found for the "
                    f"splits up to {split}; ask for fewer, or for more states or letters"
                )
            if not vain:
                taken.add(automaton)
                found.append(automaton)
        return tuple(found)

    def document(self, split: str, index: int) -> str:
        """The document of a split's language number ``index``."""
        draw = numpy_generator(self.seed, "document", split, index)
        count = int(draw.integers(self.words[0], self.words[1] + 1))
        lengths = draw.integers(self.symbols[0], self.symbols[1] + 1, count).tolist()
        return SEPARATOR.join(self.automata[split][index].word(length, draw) for length in lengths)

    def corpus(self) -> Corpus:
        """One document of each language."""
        name, usual = f"regbench-{self.train}-{self.seed}", RegularLanguages()
        for part in ("states", "letters", "words", "symbols"):
            bounds = getattr(self, part)
            name += "" if bounds == getattr(usual, part) else f"-{part}-{bounds[0]}-{bounds[1]}"
        made = {split: [self.document(split, at) for at in range(len(self.automata[split]))] for split in SPLITS}
        return Corpus(name, made)


def regbench() -> Corpus:
    """5500 documents of one random regular language each."""
    return RegularLanguages().corpus()


# Laws of the next symbol ---------------------------------------------------------------------------------------------


def letter(symbol: str) -> int:
    """The column of a letter in a law."""
    return LETTERS.index(symbol)


def legal(document: str, automaton: Automaton) -> np.ndarray:
    """(time, letters) bool: which letters may stand at each symbol of a document, given those before it; none at
    separators. Raises ValueError for a document that is not of the automaton's language."""
    allowed = np.zeros((len(document), len(LETTERS)), dtype=bool)
    state: int | None = 0
    for at, symbol in enumerate(document):
        if symbol == SEPARATOR:
            state = 0
            continue
        assert state is not None
        allowed[at, [letter(other) for other in automaton.legal(state)]] = True
        state = automaton.steps[state].get(symbol)
        if state is None:
            raise ValueError(f"the automaton does not allow {symbol!r} at place {at} of {document[: at + 1]!r}")
    return allowed


def true_law(document: str, automaton: Automaton) -> Law:
    """That of the source itself."""
    allowed = legal(document, automaton)
    return allowed / np.maximum(allowed.sum(1, keepdims=True), 1)


def ngram_law(document: str, history: int = 3) -> Law:
    """In-context n-grams with back-off: of the longest stretch of at most ``history`` symbols before a place that a
    letter has followed earlier in the document, how often each letter did; where there is no such stretch, all alike.

    Separators count as symbols of a stretch, since after them a word begins anew.
    """
    if history < 0:
        raise ValueError(f"history is a number of symbols, so at least 0; got {history}")
    law = np.zeros((len(document), len(LETTERS)))
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(LETTERS)))
    for at, symbol in enumerate(document):
        if symbol == SEPARATOR:
            continue
        stretches = [document[at - back : at] for back in range(min(history, at), -1, -1)]
        seen = next((counts[stretch] for stretch in stretches if stretch in counts), np.ones(len(LETTERS)))
        law[at] = seen / seen.sum()
        for stretch in stretches:
            counts[stretch][letter(symbol)] += 1
    return law


def bayes_law(document: str, candidates: Sequence[Automaton]) -> Law:
    """The exact law of one who knows that the source is one of the candidates, each as likely as any other before the
    first symbol. The lengths of words tell nothing. Raises ValueError where no candidate can have written the document.
    """
    law = np.zeros((len(document), len(LETTERS)))
    alive = [(1.0, automaton, 0) for automaton in candidates]  # weight, automaton, its state
    for at, symbol in enumerate(document):
        if symbol == SEPARATOR:
            alive = [(weight, automaton, 0) for weight, automaton, _ in alive]
            continue
        total = sum(weight for weight, _, _ in alive)
        left = []
        for weight, automaton, state in alive:
            steps = automaton.steps[state]
            share = weight / len(steps) / total
            law[at, [letter(other) for other in steps]] += share
            if symbol in steps:
                left.append((share, automaton, steps[symbol]))
        if not left:
            raise ValueError(f"none of the {len(candidates)} candidates writes {document[: at + 1]!r}")
        alive = left
    return law
