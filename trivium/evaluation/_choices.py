"""What a record shows of choices that were scored: each text token by token, how likely, right or taken; confidence."""

import math
from collections.abc import Sequence
from typing import Any

from trivium.core.nouns import Measure
from trivium.models.scoring import Scored, counts
from trivium.models.system import System

COUNTED = (
    Measure("identical", "Choices that are alike", None, binary=True),
    Measure("truncated", "Contexts cut to fit", None, binary=True),
    Measure("merged", "Continuations that begin within a token", None, binary=True),
    Measure("altered", "Texts that the tokenizer cannot spell", None, binary=True),
)
"""What is counted beside the scores of a question."""


def counted(options: Sequence[str], found: Sequence[Scored]) -> dict[str, float]:
    """Of a question with these choices and scores: whether it happened at all."""
    told = counts(found)
    happened = {"identical": len(set(options)) < len(options), "truncated": told["cut"] > 0}
    return {name: float(yes) for name, yes in happened.items()} | {n: float(told[n] > 0) for n in ("merged", "altered")}


def shown(system: System, options: Sequence[str], found: Sequence[Scored], answer: int, taken: int) -> dict[str, Any]:
    """Each choice with its tokens and their log-probabilities, for a report to shade. Of a server, which keeps its
    tokenizer to itself, each choice is shown whole."""
    tokenizer = getattr(system, "tokenizer", None)

    def pieces(option: str, one: Scored) -> list[list[Any]]:
        if tokenizer is None:
            return [[option, round(one.total, 3)]]
        return [[tokenizer.decode([id]), round(x, 3)] for id, x in zip(one.ids, one.logprobs, strict=True)]

    return {
        "choices": [
            {
                "text": option,
                "tokens": pieces(option, one),
                "right": at == answer,
                "taken": at == taken,
            }
            for at, (option, one) in enumerate(zip(options, found, strict=True))
        ]
    }


def confidence(numbers: Sequence[float]) -> float:
    """The softmax share of the largest number."""
    peak = max(numbers)
    return 1.0 / sum(math.exp(x - peak) for x in numbers)
