"""What the claims of prompt selection and calibration share: two intents of SNIPS, twelve templates, one model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trivium.compare.pooled import Pooled
from trivium.core.nouns import Observation
from trivium.core.protocols import Prompting
from trivium.core.seeds import generator
from trivium.evaluation.classification import Classification
from trivium.evaluation.stats.paired import Pair
from trivium.models.system import System

SNIPS = Path(__file__).resolve().parents[3] / "shared" / "data" / "snips"
ITEMS = 150
PAIR = ("weather", "music")


def task(items: int = ITEMS, **settings: Any) -> Classification:
    """Two intents, so many items of each split."""
    return Classification(str(SNIPS) if SNIPS.is_dir() else "", labels_kept=PAIR, items=items, **settings)


@dataclass(frozen=True)
class Templates:
    """What a system answers in each template of a task, without any calibration."""

    task: Classification
    system: System
    seen: Sequence[Sequence[Observation]]

    @classmethod
    def of(cls, system: System, task: Classification) -> "Templates":
        seen = [answers(replace(task, template=n), system, None) for n in range(len(task.templates))]
        return cls(task, system, seen)

    @property
    def f1(self) -> list[float]:
        return [number("macro_f1", one) for one in self.seen]

    @property
    def bias(self) -> list[float]:
        return [number("label_bias", one) for one in self.seen]

    @property
    def most_biased(self) -> int:
        """The template with the largest label bias on the validation split, the first of equals."""
        biases = [
            number("label_bias", answers(replace(self.task, template=n), self.system, None, "validation"))
            for n in range(len(self.task.templates))
        ]
        return biases.index(max(biases))


def answers(
    task: Classification, system: System, prompting: Prompting | None, split: str = "test"
) -> list[Observation]:
    """Of every item of a split, in the task's own wording or as a prompting has it."""
    put = None if prompting is None else prompting(task, system, generator=generator(0, "claim"))
    return [task.score(system, example, put) for example in task.examples(split)]


def _pooled(measure: str, rows: dict[str, Sequence[Observation]]) -> Pooled:
    names = [f"{n:04d}" for n in range(len(next(iter(rows.values()))))]
    own = {who: {e: [one.vectors["own"]] for e, one in zip(names, seen, strict=True)} for who, seen in rows.items()}
    reference = {e: one.vectors["reference"] for e, one in zip(names, next(iter(rows.values())), strict=True)}
    return Pooled(measure, own, reference, {e: e for e in names})


def number(measure: str, seen: Sequence[Observation]) -> float:
    """A number of all answers together."""
    found = _pooled(measure, {"a": seen}).summary("a")
    assert found is not None
    return found.mean


def paired(measure: str, one: Sequence[Observation], other: Sequence[Observation]) -> Pair:
    """Its difference, first minus second, with an interval over items."""
    found = _pooled(measure, {"a": one, "b": other}).pair("a", "b")
    assert found is not None
    return found
