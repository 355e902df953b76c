"""The use of context, the mechanism behind learning from examples in the prompt: whether size gains more from it.

That a wider decoder needs fewer bits at all is tested with the Llama-style decoder.
"""

from claims.architectures._learning import TOKENIZER, held_out_bits, trained
from trivium.architectures.gpt import GPT
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar

WIDTHS = (32, 64, 128)
SEEDS = 3
STEPS = 400
LENGTH = 256
ROWS = 8
RATE = 3e-3
PLACES = (8, 64, 250)
"""Bytes of context after which the loss is read, as a mean over four positions to either side."""


def run(bar: Bar) -> ClaimResult:
    """Three widths at equal tokens; the drop of the loss from little to much context, large against small."""
    bar.total = len(WIDTHS) * SEEDS
    places: dict[int, list[list[float]]] = {width: [] for width in WIDTHS}
    bits: dict[int, list[float]] = {width: [] for width in WIDTHS}
    for seed in range(SEEDS):
        for width in WIDTHS:
            bar.note(f"width {width}, seed {seed}")
            recipe = GPT(width=width, context=LENGTH)
            model = trained(recipe, seed=seed, length=LENGTH, rows=ROWS, steps=STEPS, rate=RATE, bar=bar)
            losses = held_out_bits(model, LENGTH)
            bits[width].append(float(losses.mean()))
            places[width].append([float(losses[:, at - 5 : at + 4].mean()) for at in PLACES])

    def more(large: int, small: int, first: int = 0, last: int = -1) -> ClaimResult:
        drops = [[row[first] - row[last] for row in places[width]] for width in (large, small)]
        return judge([a - b for a, b in zip(*drops, strict=True)])

    decisive = more(128, 32)
    shown = {
        "width 64 minus 32": more(64, 32),
        "width 128 minus 64": more(128, 64),
        "width 128 minus 32, from 8 to 64 bytes": more(128, 32, 0, 1),
        "width 128 minus 32, from 64 to 250 bytes": more(128, 32, 1, 2),
    }
    return ClaimResult(
        decisive.verdict,
        {
            **decisive.figures,
            "shown": {name: {"verdict": part.verdict, **part.figures} for name, part in shown.items()},
            "bits_at_places": {
                width: dict(zip(map(str, PLACES), zip(*rows, strict=True), strict=True))
                for width, rows in places.items()
            },
            "bits_per_byte": bits,
            "parameters": {
                width: sum(p.numel() for p in GPT(width=width, context=LENGTH).build(TOKENIZER.vocab_size).parameters())
                for width in WIDTHS
            },
            "tokens": STEPS * LENGTH * ROWS,
        },
        "Byte-level stories of our own; one untuned learning rate for all widths; every second layer sees 128 bytes.",
    )


claim = Claim(
    statement="At equal training tokens a wider decoder gains more from a long context than a narrow one.",
    paper=(
        "Brown et al. 2020: larger models make increasingly efficient use of what stands in their context; at 175 "
        "billion parameters, ten times the largest dense model before, a few examples in the prompt do for training."
    ),
    rule=(
        "Paired difference over 3 seeds of the drop in bits from 8 to 250 bytes of context, width 128 minus width 32, "
        "95 % t-interval above 0 for supported, below 0 for contradicted, otherwise not visible. Other widths and "
        "places are shown and do not decide."
    ),
    run=run,
)
