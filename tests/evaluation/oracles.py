"""What answers as it is told to: a table of bytes, a writer of given answers, a scorer of given numbers."""

import itertools
from collections.abc import Callable, Sequence

import torch

from tests.compare.fakes import Uniform
from trivium.models.scoring import Request, Scored
from trivium.models.system import System
from trivium.models.writing import Prompt, Written
from trivium.tokenization.byte import ByteTokenizer

_serial = itertools.count(10**9)  # above every model's


class Bytes(Uniform):
    """The next byte depends on the last one by a fixed random table."""

    def __init__(self) -> None:
        super().__init__()
        self.law = torch.randn(259, 259, generator=torch.Generator().manual_seed(0)).double().log_softmax(-1)

    def run(self, ids, **given):
        out = super().run(ids, **given)
        return type(out)(self.law[ids], out.hidden)

    def cost(self, context: str, continuation: str) -> float:
        """The log-probability of a continuation, byte by byte."""
        before, text = context.encode()[-1], continuation.encode()
        return sum(float(self.law[a, b]) for a, b in zip([before, *text[:-1]], text, strict=True))


def of_bytes() -> System:
    return System(Bytes(), ByteTokenizer(), "bytes")


class Writer:
    """Answers each prompt by a function of it; remembers what it was asked."""

    def __init__(self, answers: Callable[[Prompt], str]) -> None:
        self.answers = answers
        self.serial = next(_serial)
        self.asked: list[Prompt] = []

    def written(self, prompts: Sequence[Prompt], *, batch_size, cache, bar) -> list[Written]:
        self.asked += prompts
        return [Written(self.answers(prompt), (), (), True) for prompt in prompts]


def scoring(numbers: Callable[[Request], float]) -> Callable[..., list[Scored]]:
    """In place of ``models.scoring.score``: one token per request, of the number given to it."""
    return lambda system, requests, **settings: [Scored((0,), (numbers(one),), (True,)) for one in requests]
