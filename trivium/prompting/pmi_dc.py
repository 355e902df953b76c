"""Domain-conditional mutual information: an answer counts by how much the item adds to its log-probability.

Source
    Holtzman, West, Shwartz, Choi, Zettlemoyer 2021, "Surface Form Competition: Why the Highest Probability Answer Isn't
    Always Right", arXiv:2104.08315, section 3; the domain is the wording without an item, as in arXiv:2305.14877.
Equation
    answer = argmax_y  w(y | x) - w(y | "" in the place of the fields)
Shapes
    task with fixed labels -> the task, with calibrated log-probabilities for weights
Cost
    One prompt with its answers.
Caveats
    One empty prompt tells the bias, so its own oddities (two line breaks where a text should be) go into every answer.
    The paper writes domain premises by hand; here exemplars and instruction stay, and every field is left empty.
"""

from dataclasses import dataclass

import torch

from trivium.core.method import method
from trivium.core.protocols import WordedTask
from trivium.models.system import System
from trivium.prompting._calibration import bias, without
from trivium.prompting._steps import Changed, require_worded


@method(title="Domain-conditional PMI", source="arXiv:2104.08315", year=2021, needs=["causal", "state"])
@dataclass(frozen=True)
class PmiDc:
    """The task's own wording, its answers against those to the wording alone."""

    def __call__(self, task: WordedTask, system: System, *, generator: torch.Generator) -> Changed:
        require_worded("domain-conditional PMI", task)
        return Changed(task, turns=without(bias(task, system, task.wording, "pmi_dc"), "pmi_dc"))
