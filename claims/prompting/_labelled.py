"""What the claims about exemplars share: intents under other names, with some labels of the pool wrong."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from trivium.core.seeds import generator
from trivium.core.wording import Exemplar, Form, Template, Wording
from trivium.evaluation.classification import Classification
from trivium.evaluation.stats.intervals import mean_interval
from trivium.models.system import System

SNIPS = Path(__file__).resolve().parents[3] / "shared" / "data" / "snips"
NOISY = 0.1
"""Share of the pool whose label is another one."""
NAMES = ("alpha", "beta", "gamma", "delta", "omega")
"""What stands for the labels, so that exemplars alone tell which is which."""


def snips(**settings: Any) -> Classification:
    """SNIPS where it is beside the checkout, else intents of our own."""
    return Classification(path=str(SNIPS) if SNIPS.is_dir() else "", form="intents", **settings)


class Mapped:
    """A task whose labels are called by names that mean nothing, with a noisy pool of so many exemplars."""

    def __init__(self, of: Classification, seed: int, pool: int = 60) -> None:
        self.of, self.seed, self.count = of, seed, pool
        self.measures = of.measures

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)

    @cached_property
    def wording(self) -> Wording:
        names = tuple(zip(self.of.labels, NAMES, strict=False))
        form: Form = Template("Input: {text}\nOutput:", names)
        return Wording(form, ())

    @cached_property
    def pool(self) -> tuple[Exemplar, ...]:
        draws, labels = generator(self.seed, "pool"), list(self.of.labels)
        order = torch.randperm(len(self.of.pool), generator=draws).tolist()[: self.count]
        found = []
        for place in order:
            one = self.of.pool[place]
            if float(torch.rand((), generator=draws)) < NOISY:
                others = [label for label in labels if label != one.label]
                one = replace(one, label=others[int(torch.randint(len(others), (), generator=draws))])
            found.append(one)
        return tuple(found)

    def ask(self, example: Any) -> Any:
        return self.wording.ask(self.of.read(example).fields, self.of.labels)


def mapped(seed: int, items: int) -> Mapped:
    """Two labels, so that three exemplars can show both."""
    labels = tuple(snips().labels[:2])
    return Mapped(snips(labels_kept=labels, items=items), seed)


def held_out(method: Any, task: Mapped, system: System, seed: int) -> float:
    """Accuracy of the test items, asked as the method says."""
    steps = method(task, system, generator=generator(seed, "claim"))
    seen = [task.of.score(system, example, steps).values["accuracy"] for example in task.of.examples("test")]
    return sum(seen) / len(seen)


def interval(values: list[float]) -> dict[str, float]:
    """Mean and 95 % interval of at least two numbers."""
    found = mean_interval(values)
    assert found.low is not None
    assert found.high is not None
    return {"mean": found.mean, "low": found.low, "high": found.high}
