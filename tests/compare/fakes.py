"""A model that costs nothing, decoders that are easy to reason about, and a task that can be computed by hand."""

import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from trivium.core import meter
from trivium.core.nouns import Example, Generation, Measure, Observation, Stop, Trace
from trivium.core.protocols import LanguageModel, LMOutput
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer


class Uniform(LanguageModel):
    """Every token is equally likely, whatever came before."""

    vocab_size, width, depth = 259, 4, 1
    max_positions = 512

    def __init__(self, offers: Sequence[str] = ("causal",)) -> None:
        super().__init__()
        self.offers = frozenset(offers)
        self.table = nn.Parameter(torch.zeros(259, 4))

    def run(self, ids, *, embeds, mask, positions, segments, state, keep_state, logits_to_keep):
        return LMOutput(torch.zeros(*ids.shape, 259), self.table[ids])

    def embed(self, ids: Tensor) -> Tensor:
        return self.table[ids]

    def sites(self) -> tuple[str, ...]:
        return ()

    def capture(self, *names):
        return nullcontext({})

    def edit(self, edits):
        return nullcontext()


def system(offers: Sequence[str] = ("causal",), name: str = "uniform") -> System:
    return System(Uniform(offers), ByteTokenizer(), name)


@dataclass(frozen=True)
class Writes:
    """A decoder that draws bytes up to ``top`` from its generator, one call of the model per token."""

    top: int = 10
    tokens: int | None = None
    fails_at: str = ""
    pause: float = 0.0

    def __call__(self, model, prompt, *, limit, generator, mask=None, stop=Stop()) -> Generation:
        if self.fails_at and self.fails_at.encode() in bytes(prompt[0, 1:].tolist()):
            raise ValueError("this prompt is refused")
        count = limit if self.tokens is None else self.tokens
        for _ in range(count):
            model(prompt)
            time.sleep(self.pause)
        ids = torch.randint(self.top, (1, count), generator=generator)
        meter.spend(new_tokens=count)
        trace = Trace([{"committed": 1, "rows": 1}] * count)
        return Generation(ids, torch.full((1, count), -1.0), torch.tensor([count]), trace)


@dataclass(frozen=True)
class Needy:
    """A decoder that needs trees."""

    def __call__(self, model, prompt, *, limit, generator, mask=None, stop=Stop()) -> Generation:
        raise AssertionError("must not run")


@dataclass(frozen=True)
class Killer:
    """Writes like ``Writes(top)``, but ends the process, as SIGKILL would, once so many units are recorded."""

    folder: str
    after: int
    top: int = 7

    def __call__(self, model, prompt, *, limit, generator, mask=None, stop=Stop()) -> Generation:
        records = Path(self.folder) / "records.jsonl"
        if records.exists() and len(records.read_bytes().splitlines()) >= self.after:
            os.kill(os.getpid(), 9)
        return Writes(self.top)(model, prompt, limit=limit, generator=generator)


@dataclass(frozen=True)
class Mean:
    """The mean of the ids that were written."""

    count: int = 8
    limit: int = 6
    groups: bool = False
    higher: bool = True

    measures: ClassVar[Sequence[Measure]] = (Measure("mean", "Mean id", True), Measure("first", "First id", None))

    def examples(self, split: str) -> list[Example]:
        start = {"test": 0, "validation": 100}[split]
        return [
            Example(f"{split}-{n}", f"prompt {n}", fields={"group": "odd" if n % 2 else "even"} if self.groups else {})
            for n in range(start, start + self.count)
        ]

    def score(self, system: System, example: Example, output: Generation) -> Observation:
        ids = output.row(0).tolist()
        return Observation(
            {"mean": sum(ids) / len(ids), "first": float(ids[0])}, {"text": system.tokenizer.decode(ids)}
        )
