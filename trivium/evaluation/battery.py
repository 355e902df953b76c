"""Battery: several tasks that a model is put to one after another, as one task.

Source
    Liang et al. 2022, "Holistic Evaluation of Language Models", arXiv:2211.09110, section 2: scenarios by metrics, with
    the same ones for every model. In lm-evaluation-harness: a group.
Equation
    The measures of a battery are those of its tasks; the first of each task is its leading one, and the leading ones
    together are the family in which differences between models are corrected for their number.
Shapes
    System and an example of one of the tasks -> the Observation of that task, its numbers under the task's label
Cost
    That of the tasks.
Caveats
    No mean over tasks: accuracies and bits do not add up, so a report gives each model's mean rate of wins instead.
    Only tasks that score a system by itself take part; a task that asks questions is asked plainly. What the model
    lacks for a task is said at that task and nowhere else.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from inspect import signature
from pathlib import PurePath
from typing import Any

from trivium.core.capabilities import lacking
from trivium.core.errors import NotOffered
from trivium.core.method import card_of, find, method
from trivium.core.nouns import Example, Measure, Observation
from trivium.models.system import System


@method(title="Battery", source="arXiv:2211.09110", year=2022)
@dataclass(frozen=True)
class Battery:
    """Tasks, and their examples one after another."""

    tasks: tuple[Any, ...] = field(
        default_factory=lambda: (find("evaluation", "multiple_choice")(), find("evaluation", "bits_per_byte")()),
        metadata={"kind": "evaluation"},
    )
    """Tasks that score a system by itself."""
    labels: tuple[str, ...] = ()
    """What a report calls the tasks, in their order; by default their names, and the settings that tell them apart."""
    items: int | None = None
    """Of each task the first so many examples; None takes all. A task's own ``items`` saves its work as well."""

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError("a battery needs at least one task, such as multiple_choice")
        if self.items is not None and self.items < 1:
            raise ValueError(f"items must be at least 1, or None for all, got {self.items}")
        if self.labels and len(self.labels) != len(self.tasks):
            raise ValueError(f"{len(self.tasks)} tasks need as many labels, got {len(self.labels)}")
        for label, count in Counter(self.labels or map(_words, self.tasks)).items():
            if count > 1 or not label:
                raise ValueError(f"{count} tasks are called {label!r}; each needs a name or settings of its own")
        for task in self.tasks:
            if not alone(task):
                raise ValueError(
                    f"{card_of(task).name} does not score a system by itself but what a contender of another kind "
                    "makes; compare that kind, such as decoding, by it"
                )

    @cached_property
    def of(self) -> Mapping[str, Any]:
        """Label -> task."""
        bare = Counter(card_of(task).name for task in self.tasks)
        own = [card_of(t).name if bare[card_of(t).name] == 1 else _words(t) for t in self.tasks]
        return dict(zip(self.labels or own, self.tasks, strict=True))

    @cached_property
    def measures(self) -> tuple[Measure, ...]:
        """Those of all tasks, each under its task's label."""
        return tuple(
            replace(measure, name=_name(label, measure.name), title=f"{label}: {measure.title}")
            for label, task in self.of.items()
            for measure in task.measures
        )

    @cached_property
    def homes(self) -> Mapping[str, str]:
        """Measure -> the label of its task."""
        return {_name(label, measure.name): label for label, task in self.of.items() for measure in task.measures}

    @cached_property
    def leading(self) -> tuple[str, ...]:
        """The first measure of each task: the family of a comparison."""
        return tuple(_name(label, task.measures[0].name) for label, task in self.of.items())

    @cached_property
    def weighted_by(self) -> Mapping[str, str]:
        """Measure -> the value by which examples weigh in."""
        return {
            _name(label, measure): _name(label, weight)
            for label, task in self.of.items()
            for measure, weight in getattr(task, "weighted_by", {}).items()
        }

    def examples(self, split: str) -> list[Example]:
        return [
            Example(f"{label}/{one.id}", one.text, f"{label}/{one.cluster or one.id}", {"group": label, "example": one})
            for label, task in self.of.items()
            for one in list(task.examples(split))[: self.items]
        ]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Let the example's task score it. Raises NotOffered where the model lacks what the task needs."""
        label = example.fields["group"]
        task = self.of[label]
        if words := lacking(system.model, card_of(task).needs) if hasattr(system, "model") else ():
            raise NotOffered(f"{card_of(task).name} needs {', '.join(words)}, which {system.name} lacks")
        seen = task.score(system, example.fields["example"], task if hasattr(task, "ask") else output)
        named = lambda numbers: {_name(label, name): value for name, value in numbers.items()}  # noqa: E731
        absent = seen.shown.get("absent", {})
        shown = {**seen.shown, **({"absent": named(absent)} if absent else {})}
        return Observation(named(seen.values), shown, seen.vectors)


def alone(task: Any) -> bool:
    """Whether a task scores a system by itself: it wants no output of an open arrow, or asks questions of its own."""
    output = signature(task.score).parameters.get("output")
    return hasattr(task, "ask") or (output is not None and output.default is None)


def _name(label: str, measure: str) -> str:
    return f"{label}.{measure}"


def _words(task: Any) -> str:
    """A task by its name and whatever differs from its defaults: 'multiple_choice piqa/validation, piqa'."""
    if not is_dataclass(task):
        return card_of(task).name
    said = []
    for one in fields(task):
        value = getattr(task, one.name)
        if one.init and one.name not in ("items", "batch_size") and value != one.default:
            text = str(value)
            path = PurePath(text)
            said.append(f"{path.parent.name}/{path.name.partition('.')[0]}" if len(path.parts) > 1 else text)
    return " ".join([card_of(task).name, ", ".join(said)]).strip()
