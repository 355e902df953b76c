"""What a search over stories finds: steps, the ways along them, and what can be learnt from a tree."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from trivium.data.pairs import Pair
from trivium.decoding._puct import By, Node


@dataclass(frozen=True)
class Step:
    """One action: its tokens, the policy's log-probabilities of them without the reasoning, the reference's mean
    surprisal, and the reasoning that was written before it and dropped."""

    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    surprisal: float = 0.0
    reasoning: tuple[int, ...] = ()


@dataclass(frozen=True)
class Trajectory:
    """A way from the root to a leaf. ``value`` is the mean of its steps' own values."""

    steps: tuple[Step, ...]
    values: tuple[float, ...]

    @property
    def value(self) -> float:
        return sum(self.values) / len(self.values)

    @property
    def tokens(self) -> tuple[int, ...]:
        return tuple(token for step in self.steps for token in step.tokens)


@dataclass(frozen=True)
class Tree:
    """What a search found behind ``text``, the ids of the prompt and of what was written before."""

    text: tuple[int, ...]
    root: Node[Step]
    by: By = "value"

    @property
    def best(self) -> Trajectory:
        """Down the highest Q, or the most visits."""
        return _trajectory(self.root.best(self.by))

    @property
    def trajectories(self) -> list[Trajectory]:
        """All of them, the most valuable first."""
        found = [_trajectory(node) for node in self.root.below() if node.parent is not None and not node.children]
        return sorted(found, key=lambda each: -each.value)

    @property
    def surprisal(self) -> float:
        """Mean over all steps of the tree."""
        steps = [node.step.surprisal for node in self.root.below() if node.parent is not None]
        return sum(steps) / len(steps)

    def repeated(self, n: int = 3, words: Callable[[Sequence[int]], Sequence[Any]] = list) -> float:
        """Share of the best trajectory's n-grams that occur in it before; of tokens, or of what ``words`` makes."""
        said = words(self.best.tokens)
        grams = Counter(tuple(said[at : at + n]) for at in range(len(said) - n + 1))
        return 1 - len(grams) / grams.total() if grams else 0.0

    def pairs(self, gap: float) -> list[Pair]:
        """Visited siblings whose Q differ by more than the gap, the better one as the winner."""
        found = []
        for node in self.root.below():
            context = (*self.text, *(token for above in node.path for token in above.step.tokens))
            visited = [child for child in node.children or () if child.visits]
            for one, two in combinations(sorted(visited, key=lambda child: -child.q), 2):
                if one.q - two.q > gap:
                    found.append(Pair(context, one.step.tokens, two.step.tokens))
        return found


def _trajectory(node: Node[Step]) -> Trajectory:
    return Trajectory(tuple(each.step for each in node.path), tuple(each.value for each in node.path))
