"""What answers have anyway, whatever is asked: three estimates of it, and how it is taken away from their weights."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from trivium.core.prompt import Question
from trivium.core.wording import Wording
from trivium.nn.prompt_selection import marginal

Calibration = Literal["none", "cbm", "contextual", "pmi_dc"]
CONTENT_FREE = ("", "N/A", "[MASK]")
"""What stands in the place of every text where nothing is asked."""


def weights(task: Any, system: Any, questions: Sequence[Question]) -> Tensor:
    """(questions, answers) in double precision."""
    return torch.tensor([list(one) for one in task.weigh_all(system, questions)], dtype=torch.float64)


def empty(task: Any, wording: Wording, text: str) -> Question:
    """The question with the same text in every field."""
    examples = task.examples("validation")
    if not examples:
        raise ValueError("the validation split is empty, so that nothing tells which fields there are")
    return wording.ask(dict.fromkeys(task.read(examples[0]).fields, text), task.labels)


def bias(task: Any, system: Any, wording: Wording, kind: Calibration, asked: Tensor | None = None) -> Tensor:
    """(answers,) what to take from the weights of every question in this wording.

    ``asked``: the weights (items, answers) of the pool, which only calibration by marginals looks at.
    """
    match kind:
        case "none":
            return torch.zeros(len(task.labels), dtype=torch.float64)
        case "cbm":
            assert asked is not None
            return marginal(asked.softmax(-1)[None])[0].log()
        case "contextual":
            found = weights(task, system, [empty(task, wording, text) for text in CONTENT_FREE])
            return found.logsumexp(0) - torch.log(torch.tensor(float(len(CONTENT_FREE)), dtype=torch.float64))
        case "pmi_dc":
            return weights(task, system, [empty(task, wording, "")])[0]
    raise ValueError(f"calibration must be none, cbm, contextual or pmi_dc; got {kind!r}")


def without(taken: Tensor, kind: Calibration) -> Callable[[Sequence[float]], list[float]] | None:
    """Weights of a question -> log-probabilities of its answers without what they have anyway; None for no change."""
    if kind == "none":
        return None

    def turn(found: Sequence[float]) -> list[float]:
        rest = torch.tensor(list(found), dtype=torch.float64).log_softmax(-1) - taken
        return rest.log_softmax(-1).tolist()

    return turn


def pool_questions(task: Any, wording: Wording, count: int | None) -> list[Question]:
    """The first items of the validation split in a wording, without a look at their labels."""
    items = task.examples("validation")[:count]
    if not items:
        raise ValueError("the validation split is empty, so that there are no items to look at; give the task more")
    return [wording.ask(task.read(one).fields, task.labels) for one in items]
