"""A task of which some steps are done otherwise: what prompting methods make."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trivium.core.errors import NotOffered
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.prompt import PromptPlan, Question
from trivium.core.wording import Exemplar, Form, Wording

WORDED = ("labels", "wording", "templates", "pool", "formats", "read", "weigh_all")
"""What a ``WordedTask`` has beyond the three steps."""


@dataclass(frozen=True)
class Changed:
    """Everything is the task's ``of`` but the steps that are given here, and of a worded task its ``words``."""

    of: Any
    asks: Callable[[Example], Question] | None = None
    lays: Callable[[Any, Question], PromptPlan] | None = None
    weighs: Callable[[Any, Question, PromptPlan], Sequence[float]] | None = None
    words: Wording | None = None
    """Another wording, which ``ask`` then uses."""
    turns: Callable[[Sequence[float]], Sequence[float]] | None = None
    """What becomes of the weights of a question's answers, such as their calibration."""
    tells: Callable[[], Mapping[str, str]] | None = None
    """What the method says of itself in every record, such as the privacy that has been spent."""

    @property
    def measures(self) -> Sequence[Measure]:
        return self.of.measures

    def examples(self, split: str) -> Sequence[Example]:
        return self.of.examples(split)

    def ask(self, example: Example) -> Question:
        if self.asks is not None:
            return self.asks(example)
        return self.of.ask(example) if self.words is None else self.words.ask(self.read(example).fields, self.labels)

    def lay(self, system: Any, question: Question) -> PromptPlan:
        return self.of.lay(system, question) if self.lays is None else self.lays(system, question)

    def weigh(self, system: Any, question: Question, plan: PromptPlan) -> Sequence[float]:
        found = self.of.weigh(system, question, plan) if self.weighs is None else self.weighs(system, question, plan)
        return found if self.turns is None else self.turns(found)

    def score(self, system: Any, example: Example, output: Any) -> Observation:
        return self.of.score(system, example, output)

    # Of worded tasks --------------------------------------------------------------------------------------------------

    @property
    def labels(self) -> Sequence[str]:
        return self.of.labels

    @property
    def wording(self) -> Wording:
        return self.of.wording if self.words is None else self.words

    @property
    def templates(self) -> Sequence[Form]:
        return self.of.templates

    @property
    def pool(self) -> Sequence[Exemplar]:
        return self.of.pool

    def formats(self, count: int, generator: torch.Generator) -> Sequence[Form]:
        return self.of.formats(count, generator)

    def read(self, example: Example) -> Exemplar:
        return self.of.read(example)

    def weigh_all(self, system: Any, questions: Sequence[Question]) -> list[Sequence[float]]:
        """In the passes of the task itself, unless how questions are laid or weighed is changed."""
        if self.lays is None and self.weighs is None:
            found = self.of.weigh_all(system, questions)
            return [one if self.turns is None else self.turns(one) for one in found]
        return [self.weigh(system, question, self.lay(system, question)) for question in questions]


def require_worded(what: str, task: Any) -> None:
    """Raise NotOffered for a task whose questions cannot be put in other words."""
    missing = [name for name in WORDED if not hasattr(task, name)]
    if missing:
        raise NotOffered(
            f"{what} puts questions in other words, and this task has no {', '.join(missing)}; use one with fixed "
            "labels, such as classification"
        )
