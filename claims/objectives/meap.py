"""A key hidden in a story and asked for at its end, learned with and without holes in the text."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trivium.architectures.llama import Llama
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.protocols import LanguageModel
from trivium.core.seeds import generator
from trivium.data.batches import Batches
from trivium.data.packing import tokenised
from trivium.data.stories import stories
from trivium.models.likelihood import bits_per_byte
from trivium.objectives.meap import Meap
from trivium.tokenization.byte import ByteTokenizer
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

SEEDS, STEPS, ROWS, LENGTH = 10, 1200, 16, 128
DIGITS, DEPTHS, ASKED = 4, 4, 512
TOKENIZER = ByteTokenizer()
NEEDLE = tuple(b"0123456789<>")
"""What a key is written in: hidden, it could not be found, so it never is."""
ARMS = {"plain": 0.0, "holes": 0.15}


def needle(stream: Sequence[int], draw: torch.Generator) -> tuple[list[int], int]:
    """A stretch of text, somewhere in it '<' and digits, at the end '>' and the same digits; and where the '<' is."""
    digits = (torch.randint(10, (DIGITS,), generator=draw) + ord("0")).tolist()
    filler = LENGTH - 2 * DIGITS - 2
    start = int(torch.randint(len(stream) - filler, (), generator=draw))
    text = list(stream[start : start + filler])
    at = int(torch.randint(filler + 1, (), generator=draw))
    return [*text[:at], ord("<"), *digits, *text[at:], ord(">"), *digits], at


@torch.no_grad()
def found(model: LanguageModel, stream: Sequence[int]) -> list[float]:
    """Share of the digits at the end that the model would have said, by where the key stands: early to late."""
    draw = generator(0, "asked")
    rows, places = zip(*(needle(stream, draw) for _ in range(ASKED)), strict=True)
    ids, parts = torch.tensor(rows), [[] for _ in range(DEPTHS)]
    said: list[Tensor] = [model(part).logits[:, -DIGITS - 1 : -1].argmax(-1) for part in ids.split(64)]
    right = (torch.cat(said) == ids[:, -DIGITS:]).double().mean(1).tolist()
    for share, at in zip(right, places, strict=True):
        parts[DEPTHS * at // (LENGTH - 2 * DIGITS - 1)].append(share)
    return [sum(part) / max(len(part), 1) for part in parts]


def run(bar: Bar) -> ClaimResult:
    """Per seed both models have the same initial weights and see the same rows in the same order."""
    corpus = stories(3000, seed=0)
    streams = {
        name: [id for document in tokenised(corpus[name], TOKENIZER) for id in document] for name in ("train", "test")
    }
    held_out = list(corpus["test"])[:60]
    accuracy: dict[str, list[float]] = {name: [] for name in ARMS}
    bits: dict[str, list[float]] = {name: [] for name in ARMS}
    by_depth: dict[str, list[list[float]]] = {name: [] for name in ARMS}
    bar.total = SEEDS * len(ARMS)
    for seed in range(SEEDS):
        draw = generator(seed, "needles")
        rows = [needle(streams["train"], draw)[0] for _ in range(STEPS * ROWS)]
        for name, rate in ARMS.items():
            model = Llama(context=LENGTH).build(TOKENIZER.vocab_size, seed=seed)
            settings = TrainingSettings(steps=STEPS, learning_rate=3e-3, seed=seed)
            objective = Meap(rate=rate, special=(*NEEDLE, 256, 257))
            train(model, objective, Batches(rows, LENGTH, ROWS, seed), settings)
            model.eval()
            by_depth[name].append(found(model, streams["test"]))
            accuracy[name].append(sum(by_depth[name][-1]) / DEPTHS)
            bits[name].append(bits_per_byte(model, held_out, TOKENIZER, LENGTH))
            bar.advance(note=f"seed {seed}, {name}")
    gain = judge([own - plain for plain, own in zip(accuracy["plain"], accuracy["holes"], strict=True)])
    price = judge([plain - own for plain, own in zip(bits["plain"], bits["holes"], strict=True)])
    verdict = "contradicted" if price.verdict == "contradicted" else gain.verdict
    figures: dict[str, Any] = {
        **gain.figures,
        "digits_found": accuracy,
        "digits_found_early_to_late": by_depth,
        "bits_per_byte": bits,
        "bits_saved": {"verdict": price.verdict, **price.figures},
    }
    note = (
        "Byte-level stories of our own, 0.12 million parameters, equal steps, one untuned rate. Digits say something "
        "only where an arm finds more than one in ten."
    )
    return ClaimResult(verdict, figures, note)


claim = Claim(
    statement="At equal steps a model that was trained with 15 % of its text hidden finds more of the digits of a key "
    "that stands in a story, and predicts plain text no worse.",
    paper="Zhuang et al. 2025: large gains on finding key information and on reasoning over long contexts, at par or "
    "better on commonsense; fine-tuned, 11.77 points more where the key is lost in the middle.",
    rule="Share of the digits found at the end of held-out rows, mean over four depths of the key, with holes minus "
    "without, paired over 10 seeds: the 95 % t-interval of the mean above 0 is supported, below 0 contradicted, "
    "otherwise not visible. Contradicted, too, where bits per byte of held-out stories without holes are higher with "
    "the interval of their difference off 0.",
    run=run,
)
