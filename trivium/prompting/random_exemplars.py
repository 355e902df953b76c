"""Random exemplars: an ordered tuple drawn from the pool, the same for every question.

Source
    Brown et al. 2020, "Language Models are Few-Shot Learners", arXiv:2005.14165, section 2.4.
Equation
    E = (e_1, .., e_k),   drawn without repetition
Shapes
    a worded task and a system -> the task with its exemplars
Cost
    Nothing to find.
Caveats
    What one draw is worth differs much from another; compare over seeds.
"""

from dataclasses import dataclass

import torch

from trivium.core.method import method
from trivium.core.protocols import WordedTask
from trivium.models.system import System
from trivium.prompting._exemplars import Arm, orders, worded
from trivium.prompting._steps import Changed, require_worded


@method(title="Random exemplars", source="arXiv:2005.14165", year=2020, needs=["causal", "state"])
@dataclass(frozen=True)
class RandomExemplars:
    """Any of them, in any order."""

    shots: int = 3
    """Exemplars before every question; 0 for none."""

    def __post_init__(self) -> None:
        if self.shots < 0:
            raise ValueError(f"shots must not be negative, got {self.shots}")

    def __call__(self, task: WordedTask, system: System, *, generator: torch.Generator) -> Changed:
        require_worded("random_exemplars", task)
        row = orders(1, len(task.pool), self.shots, generator)[0].tolist()
        return Changed(task, words=worded(task, Arm(tuple(row), task.wording.instruction)))
