"""A task of which some steps are done otherwise: what prompting methods make."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trivium.core.nouns import Example, Measure, Observation
from trivium.core.prompt import PromptPlan, Question


@dataclass(frozen=True)
class Changed:
    """Everything is the task's ``of`` but the steps that are given here."""

    of: Any
    asks: Callable[[Example], Question] | None = None
    lays: Callable[[Any, Question], PromptPlan] | None = None
    weighs: Callable[[Any, Question, PromptPlan], Sequence[float]] | None = None

    @property
    def measures(self) -> Sequence[Measure]:
        return self.of.measures

    def examples(self, split: str) -> Sequence[Example]:
        return self.of.examples(split)

    def ask(self, example: Example) -> Question:
        return self.of.ask(example) if self.asks is None else self.asks(example)

    def lay(self, system: Any, question: Question) -> PromptPlan:
        return self.of.lay(system, question) if self.lays is None else self.lays(system, question)

    def weigh(self, system: Any, question: Question, plan: PromptPlan) -> Sequence[float]:
        return self.of.weigh(system, question, plan) if self.weighs is None else self.weighs(system, question, plan)

    def score(self, system: Any, example: Example, output: Any) -> Observation:
        return self.of.score(system, example, output)
