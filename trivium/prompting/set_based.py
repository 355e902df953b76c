"""Set-based prompting: the parts of a set stand side by side and do not see each other, so that their order is lost.

Source
    McIlroy-Young, Brown, Olson, Zhang, Dwork 2024, "Order-Independence Without Fine Tuning" (first posted as
    "Set-Based Prompting: Provably Solving the Language Model Order Dependency Problem"), arXiv:2406.06581, section 3;
    positions and mask as in the authors' code.
Equation
    prompt  a, {s_1, .., s_m}, c:   positions  a: 0 .. |a|-1;   s_i: |a| .. |a|+|s_i|-1;   c from |a| + max_i |s_i|
    token t sees u <= t,   unless t and u lie in different parts of one set
    so that  p(y | a, {s_1 .. s_m}, c)  is a function of the multiset {s_1 .. s_m}
Shapes
    segments of a question -> ids (time,), positions (time,), visible (time, time)
Cost
    Two passes over eleven tokens to check the model; then one pass over the prompt under a 4-D mask, with no more
    attention than the causal one. Decoding behind it costs what it always does. Kernels that know causal masks only
    cannot be used for the prompt.
Caveats
    Models were trained on text in an order, so this is a prompt that they have not seen the like of; accuracy may go
    either way. Bit for bit the same with ``canonical``, which sorts parts by their ids; without it to rounding, since
    sums run in another order. Parts are told apart by their tokens only: labels such as "A." and "B." inside them
    bring an order back, and are refused. The model must honour positions and masks, which is checked by swapping two
    parts; attention windows follow positions. Accuracy was compared here at 135 M parameters, in the paper from 7 B.
"""

import re
from dataclasses import dataclass
from typing import Literal

import torch

from trivium.core.method import method
from trivium.core.prompt import Parts, PromptPlan, Question
from trivium.core.protocols import PromptTask
from trivium.models.planned import check_orders
from trivium.models.system import System
from trivium.prompting._steps import Changed

LABEL = re.compile(r"\s*(\W*)(\d+|[A-Za-z]|[ivxIVX]+)([.):\]>]+)(?=\s|$)")
"""An item's label at the start of a part: 'A.', '(b)', ' - 3)', 'iv.'."""


@method(title="Set-based prompting", source="arXiv:2406.06581", year=2024, needs=["causal", "state", "tree", "gather"])
@dataclass(frozen=True)
class SetBased:
    """The same question whatever the order of its parts."""

    canonical: bool = True
    """Sort the parts of a set by their ids: permutations give the same bits; else the same up to rounding."""
    padded: bool = False
    """Fill parts up to the longest of their set with padding that nobody sees, as a variant of the authors' code does;
    the same numbers, for more work."""
    labels: Literal["refuse", "keep"] = "refuse"
    """What becomes of parts that are labelled 'A.', 'B.' ...: the labels are an order that no mask hides."""

    def __post_init__(self) -> None:
        if self.labels not in ("refuse", "keep"):
            raise ValueError(f"labels must be 'refuse' or 'keep', got {self.labels!r}")

    def __call__(self, task: PromptTask, system: System, *, generator: torch.Generator) -> PromptTask:
        check_orders(system.model)
        return Changed(task, lays=self.lay)

    def lay(self, system: System, question: Question) -> PromptPlan:
        """The plan of one question. Raises ValueError for one without a set, or with labelled parts."""
        sets = [one for one in question.segments if isinstance(one, Parts)]
        if not sets:
            raise ValueError(f"the question {question.text[:60]!r} has no set of parts; use plain prompting")
        for parts in sets:
            label = labelled(parts)
            if label is not None and self.labels == "refuse":
                raise ValueError(
                    f"the parts are labelled like {label!r}, which brings back the order that a set has not; leave the "
                    "labels out, or keep them with set_based(labels='keep')"
                )
        plan = PromptPlan.of(system.blocks(question.segments), canonical=self.canonical, padded=self.padded)
        return plan.to(system.model.device)


def labelled(parts: Parts) -> str | None:
    """The label of the first part, where every part has a label of its own in one pattern; None elsewhere."""
    found = [LABEL.match(text) for text in parts.texts]
    seen = [match.groups() for match in found if match]
    same = len({(before, after) for before, _, after in seen}) == 1
    if len(seen) < max(len(found), 2) or not same or len({label for _, label, _ in seen}) < len(seen):
        return None
    return "".join(seen[0]).strip()
