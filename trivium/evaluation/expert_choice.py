"""Expert choice: of a library of models, does the router send each prompt to the one that loses least on it?

Source
    Hari and Thomson 2023, "Tryage: Real-time, intelligent Routing of User Prompts to Large Language Models",
    arXiv:2308.11601, section 4: selection accuracy over prompts of many domains; regret is ours beside it.
Equation
    L_i(x) = -log2 p_i(x) / bytes(x);   regret = L_chosen - min_i L_i;   right = 1[L_chosen = min_i L_i]
Shapes
    a router, and one example -> an Observation with one number per measure
Cost
    One pass of every model over every prompt, charged to no router; what routers are fitted to is the same for all.
Caveats
    Models are compared in bits per byte, whatever their vocabularies. The model of the comparison is one of the
    experts, the others are models of counted bytes unless others are named. Routers are fitted to prompts from the
    beginning of the validation split; those behind them are for tuning. Prompts carry no tag of where they come from,
    yet sources as different as prose and code are easy to tell apart. Where two experts are nearly as good, being right
    says little, regret more. A prompt that some expert gives no finite likelihood counts among those of the others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import Tensor

from trivium.core import meter
from trivium.core.method import method
from trivium.core.nouns import Example, Experts, Measure, Observation
from trivium.core.protocols import Router
from trivium.data.passages import Passage, passages
from trivium.models.library import COUNTED, Library, expert
from trivium.models.system import System

SOURCES = ("stories", "python_docs", "python_code", "needle", "regbench")


@method(title="Expert choice", source="arXiv:2308.11601", year=2023, needs=["causal"])
@dataclass(frozen=True)
class ExpertChoice:
    """Openings of texts of several sorts, each to be given to the model that finds it likeliest."""

    experts: tuple[str, ...] = tuple(COUNTED + source for source in SOURCES)
    """Models beside that of the comparison: names, folders, or ngrams:CORPUS for counted bytes."""
    sources: tuple[str, ...] = SOURCES
    """Corpora, or paths of text, to take prompts from."""
    items: int = 12
    """Prompts of each source and split."""
    lessons: int = 40
    """Prompts of each source that routers are fitted to."""
    length: int = 160
    """Characters of a prompt."""
    cost: str = "size"
    """Which cost of the chosen expert is reported."""
    batch_size: int = 16
    """Prompts per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("regret", "Bits per byte above the best expert's", False, "bits/byte"),
        Measure("right", "Best expert chosen", True, binary=True),
        Measure("loss", "Bits per byte of the chosen expert", False, "bits/byte"),
        Measure("cost", "Cost of the chosen expert", None),
    )

    def __post_init__(self) -> None:
        if not self.experts or len(set(self.experts)) < len(self.experts):
            raise ValueError(f"experts must be different models, at least one; got {list(self.experts)}")
        if not self.sources or len(set(self.sources)) < len(self.sources):
            raise ValueError(f"sources must be different corpora, at least one; got {list(self.sources)}")
        for name, least in (("items", 1), ("lessons", 2), ("length", 16), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def examples(self, split: str) -> list[Example]:
        if split not in ("validation", "test"):
            raise ValueError(f"the splits are 'validation' and 'test', got {split!r}")
        return [
            Example(
                f"{one.source}/{split}-{one.document:04d}-{one.number}",
                one.opening,
                cluster=f"{one.source}/{one.document}",
                fields={"group": one.source, "split": split, "number": number},
            )
            for number, one in enumerate(self._passages(split))
        ]

    def _passages(self, split: str) -> list[Passage]:
        """Of "lessons", "validation" or "test". Lessons and validation are of one split and have none in common."""
        skip = self.lessons if split == "validation" else 0
        count = self.lessons if split == "lessons" else self.items + skip
        of = "test" if split == "test" else "validation"
        return [
            one for source in self.sources for one in passages(source, of, count, opening=self.length, rest=1)[skip:]
        ]

    def library(self, system: System) -> Library:
        """The system and the experts. Raises ValueError where one of them is the system itself."""
        others = Library(tuple(expert(name) for name in self.experts))
        if system.name in others.experts.names:
            raise ValueError(f"{system.name} is the model of the comparison and an expert too; leave it out of experts")
        return Library((system, *others.systems))

    def taught(self, system: System) -> tuple[list[str], Tensor, Experts]:
        """What routers are fitted to: prompts, losses (prompts, experts), the experts."""
        return [one.opening for one in self._passages("lessons")], *self._losses(system, "lessons")

    def score(self, system: System, example: Example, output: Router) -> Observation:
        losses, experts = self._losses(system, example.fields["split"])
        mine = losses[example.fields["number"]]
        chosen = int(output([example.text])[0])
        if mine[chosen].isnan():
            raise ValueError(f"{experts.names[chosen]} gives {example.id!r} no finite likelihood")
        least = float(mine[~mine.isnan()].min())
        loss = float(mine[chosen])
        values = {"loss": loss, "regret": loss - least, "right": float(loss == least)}
        values["cost"] = float(experts.cost(self.cost)[chosen])
        best = experts.names[int(mine.nan_to_num(math.inf).argmin())]
        return Observation(values, {"text": f"{experts.names[chosen]}; best: {best}"})

    def _losses(self, system: System, split: str) -> tuple[Tensor, Experts]:
        key = (system.model.serial, split)
        if key not in self._known:
            models = self.library(system)
            with meter.aside():
                losses = models.losses([one.opening for one in self._passages(split)], batch_size=self.batch_size)
            self._known[key] = losses, models.experts
        return self._known[key]

    @cached_property
    def _known(self) -> dict[tuple[int, str], tuple[Tensor, Experts]]:
        return {}
