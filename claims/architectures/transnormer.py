"""Linear attention that fades: what the decay and the gate bring, and what a longer context costs."""

import statistics
import time

import torch

from claims.architectures._learning import TOKENIZER, held_out_bits, trained
from trivium.architectures.llama import Llama
from trivium.architectures.transnormer import TransNormer
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.meter import count_flops
from trivium.core.progress import Bar

SEEDS = 5
STEPS = 250
LENGTH = 128
ROWS = 16
LENGTHS = (512, 8192)
FLAT = 1.05
"""Operations per token at the longer length over those at the shorter one, up to which a cost counts as flat."""

ARMS = {
    "softmax": Llama(hidden=192, tied=False, context=LENGTHS[-1]),
    "fading": TransNormer(hidden=171),
    "not fading": TransNormer(hidden=171, decay="none"),
    "without gate": TransNormer(hidden=192, gate=False),
}
"""Widths of the feed-forward that make the parameters of all arms equal to within 1 %."""


def run(bar: Bar) -> ClaimResult:
    """Four arms at equal parameters and tokens; operations and seconds per token at two lengths."""
    bar.total = len(ARMS) * SEEDS + 1
    bits: dict[str, list[float]] = {name: [] for name in ARMS}
    for seed in range(SEEDS):
        for name, recipe in ARMS.items():
            bar.note(f"{name}, seed {seed}")
            model = trained(recipe, seed=seed, length=LENGTH, rows=ROWS, steps=STEPS, rate=3e-3, bar=bar)
            bits[name].append(float(held_out_bits(model, LENGTH).mean()))
    bar.note("cost")
    costs = {name: cost(ARMS[name]) for name in ("softmax", "fading")}
    bar.advance()

    def against(worse: str, better: str) -> ClaimResult:
        return judge([a - b for a, b in zip(bits[worse], bits[better], strict=True)])

    decay, gate, parity = (
        against("not fading", "fading"),
        against("without gate", "fading"),
        against("softmax", "fading"),
    )
    cheap = costs["fading"]["operations"] <= FLAT < costs["softmax"]["operations"]
    verdict = decay.verdict if cheap else "contradicted"
    return ClaimResult(
        verdict,
        {
            **decay.figures,
            "bits_per_byte": bits,
            "cost_of_the_longer_context": costs,
            "gate": {"verdict": gate.verdict, **gate.figures},
            "better_than_softmax": {"verdict": parity.verdict, **parity.figures},
            "parameters": {
                name: sum(p.numel() for p in recipe.build(TOKENIZER.vocab_size).parameters())
                for name, recipe in ARMS.items()
            },
            "tokens": STEPS * LENGTH * ROWS,
        },
        "Byte-level stories of our own, 0.14 million parameters, one learning rate for all arms; seconds are of a CPU.",
    )


@torch.no_grad()
def cost(recipe: Llama | TransNormer) -> dict[str, float]:
    """Per token at the longer length over per token at the shorter one: operations, and seconds taken in turns."""
    model = recipe.build(TOKENIZER.vocab_size).eval()
    inputs = {length: torch.zeros(1, length, dtype=torch.int64) for length in LENGTHS}
    operations = {length: count_flops(lambda ids=ids: model(ids)) / length for length, ids in inputs.items()}
    ratios = []
    for _ in range(5):
        seconds = {}
        for length, ids in inputs.items():
            start = time.perf_counter()
            for _ in range(LENGTHS[-1] // length):
                model(ids)
            seconds[length] = time.perf_counter() - start  # each way the same number of tokens
        ratios.append(seconds[LENGTHS[1]] / seconds[LENGTHS[0]])
    return {"operations": operations[LENGTHS[1]] / operations[LENGTHS[0]], "seconds": statistics.median(ratios)}


claim = Claim(
    statement="Fading helps linear attention, whose cost per token, unlike that of softmax, does not grow with length.",
    paper=(
        "Qin et al. 2023: better than softmax transformers at 385M to 7B parameters, over twice as fast at a quarter "
        "of the memory with lightning attention, over 20 % faster by gating and the simple norm."
    ),
    rule=(
        "Paired difference over 5 seeds of held-out bits per byte, decay 'none' minus 'alibi', 95 % t-interval above 0 "
        "for supported, below 0 for contradicted; and operations per token at 8192 tokens at most 1.05 times those at "
        "512 where softmax exceeds that, else contradicted. Gate and softmax arms are shown and do not decide."
    ),
    run=run,
)
