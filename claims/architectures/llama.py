"""Scale and the use of context, the two observations behind large decoders, at 30 to 450 thousand parameters."""

from claims.architectures._learning import held_out_bits, trained
from trivium.architectures.llama import Llama
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar

WIDTHS = (32, 64, 128)
SEEDS = 3
STEPS = 300
LENGTH = 256
ROWS = 8
PLACES = (8, 64, 250)
"""Bytes of context after which the loss is read, as a mean over four positions to either side."""


def run(bar: Bar) -> ClaimResult:
    """Three widths at equal tokens; the drop of the loss from little to much context, small against large."""
    bar.total = len(WIDTHS) * SEEDS
    bits: dict[int, list[float]] = {width: [] for width in WIDTHS}
    places: dict[int, list[list[float]]] = {width: [] for width in WIDTHS}
    for seed in range(SEEDS):
        for width in WIDTHS:
            bar.note(f"width {width}, seed {seed}")
            recipe = Llama(width=width, depth=2, heads=4, context=LENGTH)
            model = trained(recipe, seed=seed, length=LENGTH, rows=ROWS, steps=STEPS, rate=3e-3, bar=bar)
            losses = held_out_bits(model, LENGTH)
            bits[width].append(float(losses.mean()))
            places[width].append([float(losses[:, at - 5 : at + 4].mean()) for at in PLACES])

    def gains(a: int, b: int) -> list[float]:
        return [small - large for small, large in zip(bits[a], bits[b], strict=True)]

    drops = {width: [row[0] - row[-1] for row in places[width]] for width in WIDTHS}
    parts = {
        "width 32 to 64": judge(gains(32, 64)),
        "width 64 to 128": judge(gains(64, 128)),
        "context": judge([large - small for large, small in zip(drops[128], drops[32], strict=True)]),
    }
    words = {name: part.verdict for name, part in parts.items()}
    if all(word == "supported" for word in words.values()):
        verdict = "supported"
    elif any(word == "contradicted" for word in words.values()):
        verdict = "contradicted"
    else:
        verdict = "not visible at this scale"
    return ClaimResult(
        verdict,
        {
            "bits_per_byte": bits,
            "bits_at_places": {
                width: dict(zip(map(str, PLACES), zip(*rows, strict=True), strict=True))
                for width, rows in places.items()
            },
            "parts": {name: {"verdict": part.verdict, **part.figures} for name, part in parts.items()},
            "tokens": STEPS * LENGTH * ROWS,
        },
        "Byte-level stories of our own; one learning rate for all widths; 28 to 440 thousand parameters.",
    )


claim = Claim(
    statement="At equal training tokens a wider decoder needs fewer bits per byte, and gains more from a long context.",
    paper=(
        "Brown et al. 2020: loss falls smoothly with size, and larger models make better use of what stands in their "
        "context (175 billion parameters, ten times the largest dense model before)."
    ),
    rule=(
        "Three paired differences over 3 seeds, each with a 95 % t-interval above 0: bits per byte of width 32 minus "
        "64, of 64 minus 128, and the drop of the loss from 8 to 250 bytes of context, width 128 minus 32. All three: "
        "supported; any interval below 0: contradicted; otherwise not visible."
    ),
    run=run,
)
