"""An untrained block gives a decoder more to read with many heads than with one."""

from dataclasses import replace

from claims.architectures._learning import TOKENIZER, held_out_bits, trained
from trivium.architectures.suma import SUMA
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.seeds import generator

SEEDS, STEPS, LENGTH, ROWS, UNITS = 5, 250, 128, 12, 64
PLAIN = SUMA(width=64, depth=2, shallow_width=128, shallow_heads=32, cycles=2)


def arms() -> dict[str, SUMA]:
    """At equal trained parameters, but for those that say otherwise: half of the units, localised and at random."""
    import torch

    some = tuple(torch.randperm(PLAIN.shallow_width, generator=generator(0, "units"))[:UNITS].sort().values.tolist())
    return {
        "32 heads": PLAIN,
        "1 head": replace(PLAIN, shallow_heads=1),
        "1 cycle": replace(PLAIN, cycles=1),
        "64 localised units": PLAIN.localised(TOKENIZER, UNITS, stimuli=120),
        "64 random units": replace(PLAIN, units=some),
    }


def run(bar: Bar) -> ClaimResult:
    """The decoder alone is trained, on the same stories in the same order."""
    recipes = arms()
    bar.total = SEEDS * len(recipes)
    bits: dict[str, list[float]] = {name: [] for name in recipes}
    for seed in range(SEEDS):
        for name, recipe in recipes.items():
            bar.note(f"{name}, seed {seed}")
            model = trained(recipe, seed=seed, length=LENGTH, rows=ROWS, steps=STEPS, rate=3e-3, bar=bar)
            bits[name].append(float(held_out_bits(model, LENGTH, windows=128).mean()))

    def apart(worse: str, better: str) -> list[float]:
        return [a - b for a, b in zip(bits[worse], bits[better], strict=True)]

    found = judge(apart("1 head", "32 heads"))
    others = {
        "a second cycle": judge(apart("1 cycle", "32 heads")),
        "localised rather than random units": judge(apart("64 random units", "64 localised units")),
    }
    return ClaimResult(
        found.verdict,
        {
            **found.figures,
            "bits_per_byte": bits,
            "saved_by": {name: dict(each.figures) | {"verdict": each.verdict} for name, each in others.items()},
        },
        "Byte-level stories of our own; the paper's ablation is of alignment with recordings, which are not here, "
        "and its tokenisation is of subwords.",
    )


claim = Claim(
    statement="A small decoder on an untrained block with 32 heads learns stories better than on one with a single "
    "head of the same width.",
    paper="AlKhamissi et al. 2024 (arXiv:2406.15109), abstract: tokenisation and multihead attention drive the "
    "alignment of an untrained model, recurrence helps; figures unverified.",
    rule=f"Paired difference over {SEEDS} seeds in held-out bits per byte, one head less 32: 95 % t-interval above 0 "
    "for supported, below for contradicted. A second cycle, and localised against random units, are shown beside.",
    run=run,
)
