"""Contextual calibration: an answer counts by how much likelier it is than for a text without content.

Source
    Zhao, Wallace, Feng, Klein, Singh 2021, "Calibrate Before Use: Improving Few-Shot Performance of Language Models",
    arXiv:2102.09690, section 5; content-free texts and averaging as in arXiv:2305.14877.
Equation
    q(y | x) = exp w(y | x) / mean_c exp w(y | c),   renormalised;   c in "", "N/A", "[MASK]" in the place of the fields
Shapes
    task with fixed labels -> the task, with calibrated log-probabilities for weights
Cost
    Three prompts with their answers.
Caveats
    Needs no items at all, but trusts that texts without content show the bias that real ones do. Every field of an item
    is replaced, exemplars and instruction stay. The paper's matrix is the diagonal one here, as in its default.
"""

from dataclasses import dataclass

import torch

from trivium.core.method import method
from trivium.core.protocols import WordedTask
from trivium.models.system import System
from trivium.prompting._calibration import bias, without
from trivium.prompting._steps import Changed, require_worded


@method(title="Contextual calibration", source="arXiv:2102.09690", year=2021, needs=["causal", "state"])
@dataclass(frozen=True)
class ContextualCalibration:
    """The task's own wording, its answers against those to nothing."""

    def __call__(self, task: WordedTask, system: System, *, generator: torch.Generator) -> Changed:
        require_worded("contextual calibration", task)
        return Changed(task, turns=without(bias(task, system, task.wording, "contextual"), "contextual"))
