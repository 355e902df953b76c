"""What the claims about FlexiBERT and its search share: a table of small encoders of one size, taught to fill gaps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from claims.architectures._learning import TOKENIZER, corpus
from trivium.architectures.flexibert import EncoderLayer, FlexiBERT, Space
from trivium.compare.claim import recorded
from trivium.core.nouns import Batch, Loss
from trivium.core.progress import Bar
from trivium.core.protocols import LanguageModel
from trivium.core.seeds import generator
from trivium.data.batches import Batches
from trivium.models.skeleton import Skeleton
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

STEPS = 250
LENGTH = 64
ROWS = 16
RATE = 3e-3
SEEDS = 3
"""Over which each entry of the table is a mean."""
VOCABULARY = TOKENIZER.vocab_size + 1
MASK = TOKENIZER.vocab_size
SHARE = 0.15
WINDOWS = 512

SPACE = Space(
    (
        EncoderLayer("sdp", hidden=(256,)),
        EncoderLayer("wma", hidden=(248,)),
        EncoderLayer("dft", hidden=(384,)),
        EncoderLayer("dct", hidden=(384,)),
        EncoderLayer("conv", kernel=5, hidden=(243,)),
        EncoderLayer("conv", kernel=13, hidden=(223,)),
    ),
    depths=(4,),
    base=FlexiBERT(context=LENGTH),
)
"""Six layers of equal parameters: feed-forwards make up for what mixers lack."""


@dataclass(frozen=True)
class FillGaps:
    """Masked language modelling: of 15 % of the tokens 80 % are hidden, 10 % replaced, 10 % left, all predicted."""

    def __call__(self, model: LanguageModel, batch: Batch, *, generator: torch.Generator) -> Loss:
        ids, gaps = corrupted(batch.ids, generator)
        logits = model(ids, mask=batch.mask, segments=batch.segments).logits[gaps]
        total = F.cross_entropy(logits.float(), batch.ids[gaps], reduction="sum")
        return Loss(total, gaps.sum())


def corrupted(ids: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """The ids with gaps, and where these are; one in each row at least."""
    score, kind = torch.rand(ids.shape, generator=draw), torch.rand(ids.shape, generator=draw)
    gaps = (score < SHARE) | (score == score.amin(1, keepdim=True))
    other = torch.randint(256, ids.shape, generator=draw)
    shown = torch.where(kind < 0.8, MASK, torch.where(kind < 0.9, other, ids))
    return torch.where(gaps, shown, ids), gaps


def taught(recipe: FlexiBERT, seed: int) -> Skeleton:
    """An encoder after its training."""
    model = recipe.build(VOCABULARY, seed=seed)
    batches = Batches(corpus()[0], LENGTH, ROWS, seed)
    train(model, FillGaps(), batches, TrainingSettings(steps=STEPS, learning_rate=RATE, seed=seed))
    return model.eval()


@torch.no_grad()
def gap_bits(model: Skeleton) -> float:
    """Bits that a hidden byte of the held-out stories costs: the same gaps for every model."""
    stream = [id for document in corpus()[1] for id in document][: WINDOWS * LENGTH]
    rows = torch.tensor(stream[: len(stream) // LENGTH * LENGTH]).view(-1, LENGTH)
    ids, gaps = corrupted(rows, generator(0, "gaps"))
    nats = [
        F.cross_entropy(model(part).logits[at].float(), true[at], reduction="none")
        for part, true, at in zip(ids.split(64), rows.split(64), gaps.split(64), strict=True)
    ]
    return float(torch.cat(nats).mean()) / math.log(2)


@cache
def encoders() -> tuple[FlexiBERT, ...]:
    """The rough level of the space: every pair of stacks of two equal layers."""
    return tuple(SPACE.stacks())


def names() -> list[str]:
    """Each encoder by its two stacks."""
    return [f"{_name(recipe.stack[0])}, {_name(recipe.stack[2])}" for recipe in encoders()]


def _name(layer: EncoderLayer) -> str:
    return f"{layer.operation}{layer.kernel}" if layer.operation == "conv" else layer.operation


def made_with() -> dict[str, Any]:
    """What the table depends on; a recorded one that was made otherwise is made again."""
    return {"steps": STEPS, "length": LENGTH, "rows": ROWS, "rate": RATE, "seeds": SEEDS, "encoders": names()}


def table(bar: Bar) -> Mapping[str, list[float]]:
    """Name -> bits of a gap for each seed. That of the recorded claim of FlexiBERT where it is there, else made anew,
    with a step of the bar for each training."""
    found = recorded("architectures/flexibert")
    if found is not None and found["figures"].get("table_made_with") == made_with():
        bar.advance(SEEDS * len(encoders()), note="the table is recorded")
        return found["figures"]["table"]
    return {name: _row(name, recipe, bar) for name, recipe in zip(names(), encoders(), strict=True)}


def _row(name: str, recipe: FlexiBERT, bar: Bar) -> list[float]:
    bits = []
    for seed in range(SEEDS):
        bar.note(f"{name}, seed {seed}")
        bits.append(gap_bits(taught(recipe, seed)))
        bar.advance()
    return bits


def mean(values: Sequence[float]) -> float:
    """Of several seeds."""
    return sum(values) / len(values)
