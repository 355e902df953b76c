"""Where half of the tokens leave the model early, trained adapters keep more of its text than none."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from claims.decoding._pair import surprise
from claims.drafting._taught import TEXTS, TRAINING, system
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.data.named import named
from trivium.decoding.m2r2_exit import M2R2Exit
from trivium.drafting.m2r2 import M2R2
from trivium.training.drafters import teach

STORIES, NEW, SHARE = 24, 64, 0.5


def run(bar: Bar) -> ClaimResult:
    bar.total = 2 * STORIES
    model, stories = system().model, named("stories")["test"][: 2 * STORIES]
    texts: dict[str, list[float]] = {}
    exits: dict[str, float] = {}
    thresholds: dict[str, float] = {}
    with TemporaryDirectory() as place:
        folder = Path(place)
        plain = M2R2(layers=1)
        teach(plain, system(), folder / "taught", texts=TEXTS, training=TRAINING, lessons=folder / "lessons")
        for name, stream in (("taught", replace(plain, folder=str(folder / "taught"))), ("untaught", plain)):
            thresholds[name] = sure(stream, stories[STORIES:])
            decoder, left, texts[name] = M2R2Exit(stream, threshold=thresholds[name]), 0, []
            for text in stories[:STORIES]:
                prompt = system().prompt(text[: text.find(".", 60) + 1])
                made = decoder(model, prompt, limit=NEW, generator=generator(0, "claim"))
                left += made.trace.total("exits")
                texts[name].append(surprise(model, prompt, made))
                bar.advance(1, note=name)
            exits[name] = left / (STORIES * (NEW - 1))
    gains = [other - one for one, other in zip(texts["taught"], texts["untaught"], strict=True)]
    means = {name: sum(each) / len(each) for name, each in texts.items()}
    return judge(
        gains, note="nats per byte of greedy text to the whole model", exits=exits, thresholds=thresholds, **means
    )


@torch.no_grad()
def sure(stream: Any, stories: Sequence[str]) -> float:
    """The top probability that the given share of the exits after tokens of these stories reaches."""
    model, tops = system().model, []
    module = stream.opened(model)
    for text in stories:
        ids = system().prompt(text)
        _, fast = module.streams(model, ids, None, torch.arange(ids.shape[1])[None])
        tops.append(model.read_out(fast).softmax(-1).amax(-1)[0])
    return float(torch.cat(tops).quantile(1 - SHARE))


claim = Claim(
    statement="Where the surer half of the tokens exits after one of four layers, text is more likely to the whole "
    "model with trained adapters than with none.",
    paper="Bhendawade et al. 2025: better trade-offs of quality and speed than other early exits; no figure at this "
    "size.",
    rule="Thresholds that half of the tokens of some stories reach, one for each. Surprise to the whole model of "
    "greedy text with adapters that add nothing, minus that with trained ones, one difference per story: supported "
    "where the 95 % interval is above 0, contradicted where it is below.",
    run=run,
)
