"""Trained on 64 bytes, read at 256: another rotary base, a little training, both, and positions divided."""

from collections.abc import Callable

import torch

from claims.architectures._learning import corpus, held_out_bits, trained
from claims.architectures.softplus_attention import hidden_key, keys_found
from trivium.architectures.llama import Llama
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.method import find
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.data.batches import Batches
from trivium.models.lengthening import lengthen, octaves
from trivium.models.skeleton import Skeleton
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

SEEDS = 5
STEPS = 800
FURTHER = 60
SHORT, LONG = 64, 256
ROWS = 32
LONG_ROWS = 8
RATE = 3e-3
LOW = 3e-4
TIMES = 50.0
"""By which the rotary base grows."""

RECIPE = Llama(context=SHORT)
ARMS: dict[str, tuple[Callable[[Skeleton], object], bool]] = {
    "no change": (lambda model: lengthen(model, LONG), False),
    "base": (lambda model: lengthen(model, LONG, base=TIMES * RECIPE.base), False),
    "base, trained": (lambda model: lengthen(model, LONG, base=TIMES * RECIPE.base), True),
    "trained": (lambda model: lengthen(model, LONG), True),
    "divided, trained": (lambda model: lengthen(model, LONG, factor=LONG / SHORT), True),
}
"""How the context is made longer, and whether training goes on there."""


def run(bar: Bar) -> ClaimResult:
    """One model on short rows, then each way to a context four times as long."""
    bar.total = (len(ARMS) + 1) * SEEDS
    beyond: dict[str, list[float]] = {name: [] for name in ARMS}
    found: dict[str, dict[str, list[float]]] = {name: {str(SHORT): [], str(LONG): []} for name in ARMS}
    places: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
    for seed in range(SEEDS):
        bar.note(f"short rows, seed {seed}")
        documents = mixture(SHORT, STEPS * ROWS, seed)
        base = trained(RECIPE, seed=seed, length=SHORT, rows=ROWS, steps=STEPS, rate=RATE, bar=bar, documents=documents)
        longer = Batches(mixture(LONG, FURTHER * LONG_ROWS, SEEDS + seed), LONG, LONG_ROWS, seed)
        for name, (make, goes_on) in ARMS.items():
            bar.note(f"{name}, seed {seed}")
            model = make(base)
            assert isinstance(model, Skeleton)
            if goes_on:
                settings = TrainingSettings(steps=FURTHER, learning_rate=LOW, schedule="constant", seed=seed)
                train(model, find("objectives", "causal")(), longer, settings)
                model.eval()
            bits = held_out_bits(model, LONG).mean(0)
            beyond[name].append(float(bits[SHORT - 1 :].mean()))
            places[name].append(octaves(bits))
            for length in (SHORT, LONG):
                found[name][str(length)].append(keys_found(model, length))
            bar.advance()

    def gain(values: dict[str, list[float]], worse: str, better: str, sign: float = 1.0) -> ClaimResult:
        return judge([sign * (a - b) for a, b in zip(values[worse], values[better], strict=True)])

    at_the_end = {name: lengths[str(LONG)] for name, lengths in found.items()}
    parts = {
        "bits, no change minus base trained": gain(beyond, "no change", "base, trained"),
        "digits, base trained minus no change": gain(at_the_end, "no change", "base, trained", -1.0),
    }
    shown = {
        "bits, trained minus base trained": gain(beyond, "trained", "base, trained"),
        "bits, divided trained minus base trained": gain(beyond, "divided, trained", "base, trained"),
        "bits, no change minus base": gain(beyond, "no change", "base"),
    }
    words = {part.verdict for part in parts.values()}
    if words == {"supported"}:
        verdict = "supported"
    elif "contradicted" in words:
        verdict = "contradicted"
    else:
        verdict = "not visible at this scale"
    return ClaimResult(
        verdict,
        {
            "bits_beyond_64": beyond,
            "bits_by_place": places,
            "digits_found_at": found,
            "parts": {name: {"verdict": part.verdict, **part.figures} for name, part in (parts | shown).items()},
            "tokens": {"short": STEPS * SHORT * ROWS, "further": FURTHER * LONG * LONG_ROWS},
        },
        "Half stories of our own, half hidden keys, as bytes; 0.12 million parameters, no rate tuned. Keys say "
        "something only where they are found at the trained length.",
    )


def mixture(length: int, rows: int, seed: int) -> list[list[int]]:
    """So many documents of one length, in turns a stretch of a story and a hidden key."""
    draw = generator(seed, "mixture", length)
    stretches = [
        document[start : start + length]
        for document in corpus()[0]
        for start in range(0, len(document) - length + 1, length)
    ]
    order = torch.randperm(len(stretches), generator=draw).tolist()
    return [stretches[order[row // 2 % len(order)]] if row % 2 else hidden_key(length, draw) for row in range(rows)]


claim = Claim(
    statement=(
        "A larger rotary base and a little training on long texts make a model of 64 bytes of context predict, and "
        "find a hidden key, at 256 bytes."
    ),
    paper=(
        "01.AI 2024: the context is extended from 4K to 200K by lightweight continual pretraining, with strong "
        "needle-in-a-haystack retrieval."
    ),
    rule=(
        "Two paired differences over 5 seeds, each with a 95 % t-interval above 0: held-out bits per byte beyond the "
        "first 64, no change minus base times 50 with 60 steps of training; and the share of a key's digits found at "
        "256 bytes, the latter minus no change. Both: supported; any interval below 0: contradicted; otherwise not "
        "visible. The same training without the base, and with divided positions, is shown and does not decide."
    ),
    run=run,
)
