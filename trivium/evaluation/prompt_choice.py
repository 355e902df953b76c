"""Prompt choice: how near does a chosen prompt come to the best of the templates, which only labels can tell?

Source
    Yang, Kim, Jang, Ye, Lee, Seo 2024, "Improving Probability-based Prompt Selection Through Unified Evaluation and
    Analysis", arXiv:2305.14877, section 3: scaled F1 and scaled accuracy.
Equation
    scaled F1 = macro-F1 of the answers given / macro-F1 of the oracle;   scaled accuracy alike
    oracle: of the task's templates, uncalibrated, the one with the largest macro-F1 on the items asked, by their labels
    lost = 1[oracle right] - 1[right], per item
Shapes
    a task with its prompting, and one example -> an Observation with one number per measure
Cost
    Templates x items prompts to find the oracle, once for each model and split; charged to no prompting.
Caveats
    The oracle is chosen on the items that it is reported on, so it is a ceiling with luck in it; a scaled value may
    still exceed 1, by calibration or by a wording that is no template. Formats and exemplars are set against the same
    oracle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from trivium.core.method import find, method
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.prompt import PromptPlan, Question
from trivium.core.protocols import PromptTask
from trivium.core.wording import Exemplar, Form, Wording
from trivium.evaluation._together import together
from trivium.models.system import System
from trivium.nn.confusion import macro_f1


@method(title="Prompt choice", source="arXiv:2305.14877", year=2024, needs=["causal", "state"])
@dataclass(frozen=True)
class PromptChoice:
    """A task with fixed labels, whose answers are set against those in its best template."""

    task: Any = field(default_factory=lambda: find("evaluation", "classification")(), metadata={"kind": "evaluation"})  # noqa: PLW0108

    measures: ClassVar[Sequence[Measure]] = (
        Measure("accuracy", "Accuracy", True),
        Measure("lost", "Accuracy below the best template", False),
        Measure("scaled_f1", "Macro-F1, share of the best template's", True, pooled="scaled_f1"),
        Measure("scaled_accuracy", "Accuracy, share of the best template's", True, pooled="scaled_accuracy"),
    )

    # All that is asked is the task's ----------------------------------------------------------------------------------

    @property
    def labels(self) -> Sequence[str]:
        return self.task.labels

    @property
    def wording(self) -> Wording:
        return self.task.wording

    @property
    def templates(self) -> Sequence[Form]:
        return self.task.templates

    @property
    def pool(self) -> Sequence[Exemplar]:
        return self.task.pool

    def examples(self, split: str) -> Sequence[Example]:
        return self.task.examples(split)

    def formats(self, count: int, generator: torch.Generator) -> Sequence[Form]:
        return self.task.formats(count, generator)

    def read(self, example: Example) -> Exemplar:
        return self.task.read(example)

    def ask(self, example: Example) -> Question:
        return self.task.ask(example)

    def lay(self, system: System, question: Question) -> PromptPlan:
        return self.task.lay(system, question)

    def weigh(self, system: System, question: Question, plan: PromptPlan) -> Sequence[float]:
        return self.task.weigh(system, question, plan)

    def weigh_all(self, system: System, questions: Sequence[Question]) -> Sequence[Sequence[float]]:
        return self.task.weigh_all(system, questions)

    # Scoring ----------------------------------------------------------------------------------------------------------

    def score(self, system: System, example: Example, output: PromptTask | None = None) -> Observation:
        seen = self.task.score(system, example, output)
        said, right = seen.vectors["own"]
        template, answers = self.oracle(system, example.fields["split"])
        best = float(answers[example.fields["number"]])
        accuracy = float(said == right)
        return Observation(
            {"accuracy": accuracy, "lost": float(best == right) - accuracy},
            {"text": f"{seen.shown['text']}; the best template {template} says: {self.labels[int(best)]}"},
            {"own": (said, right), "reference": (best, right)},
        )

    @together
    def oracle(self, system: System, split: str) -> tuple[int, list[int]]:
        """Which template is the best on a split by its labels, the first of equals, and its answers."""
        read = [self.read(example) for example in self.examples(split)]
        right = torch.tensor([list(self.labels).index(one.label) for one in read])
        count, found = len(self.labels), []
        for form in self.templates:
            wording = Wording(form, self.wording.exemplars, self.wording.instruction)
            weights = self.weigh_all(system, [wording.ask(one.fields, self.labels) for one in read])
            said = torch.tensor([list(one) for one in weights], dtype=torch.float64).argmax(1)
            table = torch.bincount(said * count + right, minlength=count * count).double().unflatten(0, (count, -1))
            found.append((float(macro_f1(table)), said.tolist()))
        best = max(range(len(found)), key=lambda place: found[place][0])
        return best, found[best][1]
