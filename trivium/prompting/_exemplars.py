"""Choosing exemplars: ordered tuples of a pool, what they are worth on some items, and texts as vectors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from trivium.core.nouns import Example
from trivium.core.protocols import WordedTask
from trivium.core.wording import Exemplar, Form, Wording
from trivium.models.embedding import embed
from trivium.models.encoders import Encoder, SentenceEncoder, encoder
from trivium.models.system import System
from trivium.prompting._steps import Changed

Order = tuple[int, ...]


@dataclass(frozen=True)
class Arm:
    """Exemplars by their places in the pool, in the order in which they stand, and an instruction before them."""

    order: Order
    instruction: str = ""


def worded(task: WordedTask, arm: Arm) -> Wording:
    """The task's wording with the arm's exemplars and instruction."""
    shown = tuple(task.pool[place] for place in arm.order)
    return replace(task.wording, exemplars=shown, instruction=arm.instruction)


def written(form: Form, one: Exemplar) -> str:
    """An exemplar as it stands in a prompt."""
    return f"{form.ask(one.fields)}{form.reply(one.label)}{form.between}"


def orders(count: int, pool: int, shots: int, generator: torch.Generator) -> Tensor:
    """(count, shots) int64: tuples drawn without a place twice. Raises ValueError for a pool that is too small."""
    check_pool(pool, shots)
    return torch.rand(count, pool, generator=generator).argsort(1)[:, :shots]


def check_pool(pool: int, shots: int) -> None:
    """Raise ValueError for more exemplars than there are."""
    if shots > pool:
        raise ValueError(f"the pool has {pool} exemplars, too few for {shots} shots; lower shots or give a larger pool")


@dataclass
class Trials:
    """Evaluations of arms on some items, at most ``budget`` of them; an arm that is known is not evaluated again."""

    task: WordedTask
    system: System
    items: Sequence[Example]
    budget: int
    known: dict[Arm, float] = field(default_factory=dict)

    @property
    def left(self) -> int:
        return self.budget - len(self.known)

    @property
    def best(self) -> Arm:
        """Of equals the one found first."""
        return max(self.known, key=self.known.__getitem__)

    def reward(self, arm: Arm) -> float | None:
        """The accuracy of an arm; None for a new one where the budget is spent."""
        if arm not in self.known:
            if self.left < 1:
                return None
            self.known[arm] = accuracy(Changed(self.task, words=worded(self.task, arm)), self.system, self.items)
        return self.known[arm]


def accuracy(task: Changed, system: System, items: Sequence[Example]) -> float:
    """Share of items whose right label weighs most; of m that tie each counts 1/m."""
    labels, total = list(task.labels), 0.0
    for example, weights in zip(items, task.weigh_all(system, [task.ask(one) for one in items]), strict=True):
        best = [label for label, weight in zip(labels, weights, strict=True) if weight == max(weights)]
        total += (task.read(example).label in best) / len(best)
    return total / len(items)


def parted(task: Any, items: int, fresh: int, generator: torch.Generator) -> tuple[list[Example], list[Example]]:
    """Items of the validation split to choose on, and others, as far as there are more, to see what it is worth.
    Raises ValueError for a task without validation items."""
    examples = list(task.examples("validation"))
    if not examples:
        raise ValueError("the task has no validation items to choose exemplars on; give it some")
    dealt = [examples[at] for at in torch.randperm(len(examples), generator=generator).tolist()]
    return dealt[:items], dealt[items : items + fresh]


@dataclass(frozen=True)
class Found:
    """What a search found: the arm, its reward on the items of the search, and on fresh ones (None where there were
    none left), which alone is free of the luck of having been chosen; ``history``: every reward in turn."""

    arm: Arm
    reward: float
    fresh: float | None
    history: tuple[float, ...]


def found(trials: Trials, fresh: Sequence[Example]) -> Found:
    """The best arm of these trials, evaluated once more."""
    best = trials.best
    again = Changed(trials.task, words=worded(trials.task, best))
    worth = accuracy(again, trials.system, fresh) if fresh else None
    return Found(best, trials.known[best], worth, tuple(trials.known.values()))


Embedder = Callable[[Sequence[str]], Tensor]


def embedder(system: System, name: str) -> Embedder:
    """Texts -> (texts, width) float64 of length 1: by the encoder of that name, or for "" by the means of the system's
    own states. Raises ValueError for a text that is longer than is read, of which the end would not count."""
    own = _encoder(name) if name else None

    def vectors(texts: Sequence[str]) -> Tensor:
        for text in texts:
            length, most = _length(system, own, text)
            if most is not None and length > most:
                raise ValueError(
                    f"{name or system.name} reads {most} tokens of a text and {text[:40]!r}... has {length}, so that "
                    "the last exemplars would not count; take fewer or shorter ones, or another encoder"
                )
        made = embed(system, texts) if own is None else own(texts)
        return torch.nn.functional.normalize(made.double(), dim=-1)

    return vectors


def _length(system: System, own: Encoder | None, text: str) -> tuple[int, int | None]:
    """Tokens of a text, and how many of them are read."""
    if own is None:
        if not isinstance(system, System):  # a server, which knows its own lengths
            return 0, None
        return system.prompt(text).shape[1], system.model.max_positions
    if isinstance(own, SentenceEncoder):
        return len(own.tokenizer(text)["input_ids"]), own.longest
    most = own.system.model.max_positions
    return own.system.prompt(text).shape[1], own.longest if most is None else min(own.longest, most)


@lru_cache(maxsize=2)
def _encoder(name: str) -> Encoder:
    return encoder(name)
