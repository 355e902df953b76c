"""What the decoding claims share: one model, its prompts, and plain measures of the text that comes out."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from trivium.compare.claim import ClaimResult, judge
from trivium.core.nouns import Generation
from trivium.core.progress import Bar
from trivium.core.protocols import Decoder
from trivium.core.seeds import generator
from trivium.data.prompts import prompts
from trivium.models.sources import load
from trivium.models.system import System

NEW = 96
"""New tokens per text; the end of the text is ignored, so that all texts are equally long."""


@cache
def system() -> System:
    """The model of the claims, in float32."""
    return load("smollm2-135m")


def questions(*kinds: str, split: str = "test") -> list[Tensor]:
    """The built-in prompts of these kinds, (1, time) ids each, as chat messages."""
    found = [example for example in prompts(split) if not kinds or example.fields["kind"] in kinds]
    return [system().prompt(system().chat(example.text)) for example in found]


def write(decoder: Decoder, asked: Sequence[Tensor], bar: Bar, *, seed: int = 0, new: int = NEW) -> list[list[int]]:
    """The continuation of each prompt; all prompts in one padded batch."""
    made = batch(decoder, asked, seed=seed, new=new)
    bar.advance(len(asked))
    return [made.row(row).tolist() for row in range(len(asked))]


def batch(decoder: Decoder, asked: Sequence[Tensor], *, seed: int = 0, new: int = NEW) -> Generation:
    """One generation over all prompts."""
    longest = max(prompt.shape[1] for prompt in asked)
    ids = torch.zeros(len(asked), longest, dtype=torch.int64)
    mask = torch.zeros(len(asked), longest, dtype=torch.bool)
    for row, prompt in enumerate(asked):
        ids[row, longest - prompt.shape[1] :] = prompt[0]
        mask[row, longest - prompt.shape[1] :] = True
    return decoder(system().model, ids, mask=mask, limit=new, generator=generator(seed, "claim"))


def repetition(text: Sequence[int], n: int = 4) -> float:
    """Share of n-grams that occurred before in the same text: 0 for none, near 1 for a loop."""
    grams = [tuple(text[at : at + n]) for at in range(len(text) - n + 1)]
    return 1 - len(set(grams)) / len(grams)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


def less_repetition(usual: Decoder, better: Decoder, bar: Bar, seeds: Sequence[int] = (0, 1, 2)) -> ClaimResult:
    """Whether ``better`` repeats fewer 4-grams than ``usual``: one difference per prompt, means over seeds."""
    asked = questions("chat", "code")
    rates = {}
    for name, decoder in (("usual", usual), ("better", better)):
        runs = [[repetition(text) for text in write(decoder, asked, bar, seed=seed)] for seed in seeds]
        rates[name] = [mean(column) for column in zip(*runs, strict=True)]
    differences = [a - b for a, b in zip(rates["usual"], rates["better"], strict=True)]
    note = "one difference per prompt, each a mean over seeds; repetition is the share of repeated 4-grams"
    return judge(differences, note=note, usual=mean(rates["usual"]), better=mean(rates["better"]))
