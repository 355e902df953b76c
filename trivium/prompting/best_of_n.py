"""Best of N: of so many random tuples of exemplars the one that does best on validation items.

Source
    Textbook; no single paper. Random search, the baseline of every search for exemplars.
Equation
    E* = argmax over E_1 .. E_N of accuracy(validation items behind E),   E_i ordered tuples, drawn without repetition
Shapes
    a worded task and a system -> the task with its exemplars
Cost
    ``evaluations`` times ``items`` prompts.
Caveats
    The best of many is partly lucky: what it is worth is measured once more, on items that did not choose it.
"""

from dataclasses import dataclass

import torch

from trivium.core.method import method
from trivium.core.protocols import WordedTask
from trivium.models.system import System
from trivium.prompting._exemplars import Arm, Found, Trials, found, orders, parted, worded
from trivium.prompting._steps import Changed, require_worded


@method(title="Best of N", source="textbook", year=0, needs=["causal", "state"])
@dataclass(frozen=True)
class BestOfN:
    """The luckiest of them."""

    shots: int = 3
    """Exemplars of a tuple."""
    evaluations: int = 40
    """Tuples that are evaluated."""
    items: int = 20
    """Validation items that a tuple is evaluated on."""
    fresh: int = 20
    """Further ones for the winner, as far as there are any."""

    def __post_init__(self) -> None:
        for name, least in (("shots", 1), ("evaluations", 1), ("items", 1), ("fresh", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def __call__(self, task: WordedTask, system: System, *, generator: torch.Generator) -> Changed:
        return Changed(task, words=worded(task, self.search(task, system, generator=generator).arm))

    def search(self, task: WordedTask, system: System, *, generator: torch.Generator) -> Found:
        """The best tuple, and what every trial was worth."""
        require_worded("best_of_n", task)
        items, fresh = parted(task, self.items, self.fresh, generator)
        trials = Trials(task, system, items, self.evaluations)
        for row in orders(self.evaluations, len(task.pool), self.shots, generator).tolist():
            trials.reward(Arm(tuple(row), task.wording.instruction))
        return found(trials, fresh)
