"""Plain prompting: the parts of a prompt stand one after another, in the order in which they were given.

Source
    Textbook; no single paper. The baseline of every prompting method.
Equation
    x = a, s_1, .., s_m, c;   position of token t = t;   token t sees tokens 0 .. t
Shapes
    segments of a question -> ids (time,), positions (time,)
Cost
    Nothing to find; one pass over the prompt.
Caveats
    Each segment is cut into tokens by itself, as set-based prompting must do, so that the two differ in nothing but
    positions and mask. Where a segment ends within what would be one token of the whole text, the tokens differ from
    those of the whole text; keep spaces at the beginning of parts. The answer depends on an order that means nothing
    (see the claim).
"""

from dataclasses import dataclass

import torch

from trivium.core.method import method
from trivium.core.prompt import PromptPlan, Question
from trivium.core.protocols import PromptTask
from trivium.models.system import System
from trivium.prompting._steps import Changed


@method(title="Plain prompting", source="textbook", year=0, needs=["causal", "state"])
@dataclass(frozen=True)
class Plain:
    """The ordinary text."""

    def __call__(self, task: PromptTask, system: System, *, generator: torch.Generator) -> PromptTask:
        return Changed(task, lays=_lay)


def _lay(system: System, question: Question) -> PromptPlan:
    return PromptPlan.flat(system.blocks(question.segments)).to(system.model.device)
