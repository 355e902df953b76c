"""Calibration by marginalisation: an answer counts by how much likelier it is for this item than for items at large.

Source
    Yang, Kim, Jang, Ye, Lee, Seo 2024, "Improving Probability-based Prompt Selection Through Unified Evaluation and
    Analysis", arXiv:2305.14877, section 5.
Equation
    q(y | x) = p(y | x) / mean_x' p(y | x'),   answer = argmax_y q;   x' over the pool, p = softmax_y of the weights
Shapes
    task with fixed labels -> the task, with calibrated log-probabilities for weights
Cost
    One prompt with its answers per item of the pool.
Caveats
    Answers that the model gives to everything are taken back, so labels are taken to be about balanced in the pool:
    where they are not, a right preference is taken back as well (see the claim, where they are 9 to 1). No label of the
    pool is looked at. The pool here is of the validation split; the authors take the test inputs themselves.
    Renormalised by the sum, which changes no answer.
"""

from dataclasses import dataclass

import torch

from trivium.core.method import method
from trivium.core.protocols import WordedTask
from trivium.models.system import System
from trivium.prompting._calibration import bias, pool_questions, weights, without
from trivium.prompting._steps import Changed, require_worded


@method(title="Calibration by marginalisation", source="arXiv:2305.14877", year=2024, needs=["causal", "state"])
@dataclass(frozen=True)
class Cbm:
    """The task's own wording, its answers against what they have on average."""

    pool: int | None = 40
    """Items of the validation split to take the mean over; None takes all."""

    def __post_init__(self) -> None:
        if self.pool is not None and self.pool < 1:
            raise ValueError(f"pool must be at least 1 item, or None for all, got {self.pool}")

    def __call__(self, task: WordedTask, system: System, *, generator: torch.Generator) -> Changed:
        require_worded("calibration by marginalisation", task)
        asked = weights(task, system, pool_questions(task, task.wording, self.pool))
        return Changed(task, turns=without(bias(task, system, task.wording, "cbm", asked), "cbm"))
