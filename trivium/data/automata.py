"""Random deterministic automata, of which every state accepts: small regular languages to read and to write."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Automaton:
    """Per state the symbols that may come next, in their order, each with the state that it leads to. Words begin in
    state 0 and may end anywhere. Two automata in minimal form are equal where their languages are."""

    edges: tuple[tuple[tuple[str, int], ...], ...]

    def __len__(self) -> int:
        return len(self.edges)

    @cached_property
    def steps(self) -> tuple[dict[str, int], ...]:
        """The edges of each state as a table."""
        return tuple(dict(edges) for edges in self.edges)

    def legal(self, state: int) -> str:
        """The symbols that may come next."""
        return "".join(symbol for symbol, _ in self.edges[state])

    def follow(self, word: str, state: int = 0) -> int | None:
        """The state after a word; None where it is none of the language."""
        at: int | None = state
        for symbol in word:
            if at is None:
                return None
            at = self.steps[at].get(symbol)
        return at

    def word(self, length: int, generator: np.random.Generator) -> str:
        """A word of so many symbols, each drawn evenly from those that may come next."""
        state, word = 0, []
        for share in generator.random(length).tolist():
            edges = self.edges[state]
            symbol, state = edges[int(share * len(edges))]
            word.append(symbol)
        return "".join(word)

    def minimal(self) -> "Automaton":
        """The smallest automaton of the same language: states that cannot be reached are left out, states that allow
        the same words are one, and the rest is numbered as a walk through the symbols in their order meets it."""
        alike = [0] * len(self)
        while True:
            # States stay together that agree on what may come next and on the classes it leads to.
            signs = [tuple((symbol, alike[target]) for symbol, target in edges) for edges in self.edges]
            known = {sign: number for number, sign in enumerate(dict.fromkeys(signs))}
            finer = [known[sign] for sign in signs]
            if len(known) == len(set(alike)):
                break
            alike = finer
        numbers, met = {alike[0]: 0}, [0]
        for state in met:  # grows as it goes
            for _, target in self.edges[state]:
                if alike[target] not in numbers:
                    numbers[alike[target]] = len(met)
                    met.append(target)
        return Automaton(
            tuple(tuple((symbol, numbers[alike[target]]) for symbol, target in self.edges[state]) for state in met)
        )


def random_automaton(
    generator: np.random.Generator, alphabet: str, states: Sequence[int], letters: Sequence[int], edges: Sequence[int]
) -> Automaton:
    """States, letters and edges per state are drawn evenly between two bounds, both included. The letters are of the
    alphabet; the edges of a state bear different letters and lead to different states, never to itself."""
    count = int(generator.integers(states[0], states[1] + 1))
    used = generator.choice(list(alphabet), int(generator.integers(letters[0], letters[1] + 1)), replace=False)
    made = []
    for state in range(count):
        degree = int(generator.integers(edges[0], edges[1] + 1))
        symbols = generator.choice(used, degree, replace=False).tolist()
        others = [other for other in range(count) if other != state]
        targets = generator.choice(others, degree, replace=False).tolist()
        made.append(tuple(sorted(zip(symbols, targets, strict=True))))
    return Automaton(tuple(made))
