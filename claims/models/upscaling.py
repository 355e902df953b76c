"""A deeper model from a trained one against one from scratch, at equal total compute; and which layers to copy."""

from dataclasses import replace

import torch

from claims.architectures._learning import TOKENIZER, corpus, held_out_bits
from trivium.architectures.llama import Llama
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.budget import Budget
from trivium.core.method import find
from trivium.core.progress import Bar
from trivium.data.batches import Batches
from trivium.models.skeleton import Skeleton
from trivium.models.upscaling import most_alike, similarity, upscale
from trivium.training.loop import TrainingResult, train
from trivium.training.settings import TrainingSettings

SEEDS = 5
STEPS = 600
FURTHER = 300
LENGTH = 128
ROWS = 8
RATE = 3e-3
LOW = 3e-4
"""The constant rate of what is trained further: the one at which the cosine of the first training ended."""
COPIES = 2
SHALLOW = Llama(depth=4, context=LENGTH)
DEEP = replace(SHALLOW, depth=SHALLOW.depth + COPIES)
ARMS = ("duplicate", "identity", "random", "shallow", "scratch")


def run(bar: Bar) -> ClaimResult:
    """Four layers trained, then six by each way and four as they are, against six from scratch."""
    bar.total = (len(ARMS) + 1) * SEEDS
    bits: dict[str, list[float]] = {name: [] for name in ARMS}
    at_first: list[dict[str, float]] = []
    chosen: list[int] = []
    profiles: list[list[float]] = []
    flops: dict[str, list[float]] = {name: [] for name in ARMS}
    for seed in range(SEEDS):
        bar.note(f"four layers, seed {seed}")
        base = SHALLOW.build(TOKENIZER.vocab_size, seed=seed)
        first = learn(base, seed, TrainingSettings(steps=STEPS, learning_rate=RATE, seed=seed)).spent.flops
        bar.advance()
        profiles.append(similarity(base, batches(SEEDS + seed).batch(0).split(4)))
        start = most_alike(profiles[-1], COPIES)[0]
        chosen.append(start)
        at_first.append(
            {str(place): bits_of(deeper(base, place, "duplicate", seed)) for place in range(SHALLOW.depth - COPIES + 1)}
        )
        further = TrainingSettings(steps=FURTHER, learning_rate=LOW, schedule="constant", seed=seed)
        for name in ("duplicate", "identity", "random"):
            bar.note(f"{name}, seed {seed}")
            model = deeper(base, start, name, seed)
            spent = learn(model, SEEDS + seed, further).spent.flops
            bits[name].append(bits_of(model))
            flops[name].append(first + spent)
            bar.advance()
        bar.note(f"shallow, seed {seed}")
        spent = learn(base, SEEDS + seed, replace(further, steps=None), flops["duplicate"][-1] - first).spent.flops
        bits["shallow"].append(bits_of(base))
        flops["shallow"].append(first + spent)
        bar.advance()
        bar.note(f"scratch, seed {seed}")
        model = DEEP.build(TOKENIZER.vocab_size, seed=seed)
        settings = TrainingSettings(learning_rate=RATE, seed=seed)
        flops["scratch"].append(learn(model, seed, settings, flops["duplicate"][-1]).spent.flops)
        bits["scratch"].append(bits_of(model))
        bar.advance()

    others = [
        sum(value for place, value in found.items() if place != str(start)) / (len(found) - 1) - found[str(start)]
        for found, start in zip(at_first, chosen, strict=True)
    ]
    choice = judge(others)
    against = {
        f"{name} minus duplicate": judge([a - b for a, b in zip(bits[name], bits["duplicate"], strict=True)])
        for name in ARMS
        if name != "duplicate"
    }
    words = {choice.verdict, against["scratch minus duplicate"].verdict}
    if words == {"supported"}:
        verdict = "supported"
    elif "contradicted" in words:
        verdict = "contradicted"
    else:
        verdict = "not visible at this scale"
    return ClaimResult(
        verdict,
        {
            "bits_per_byte": bits,
            "bits_before_training_by_first_layer": at_first,
            "first_layer_chosen": chosen,
            "similarity": profiles,
            "choice": {"verdict": choice.verdict, **choice.figures},
            "parts": {name: {"verdict": part.verdict, **part.figures} for name, part in against.items()},
            "flops": flops,
        },
        "Byte-level stories of our own, 0.2 and 0.3 million parameters. What goes on does so at a constant low rate, "
        "from scratch is trained on a whole cosine; neither rate was tuned.",
    )


def batches(seed: int) -> Batches:
    """The training stories in the order of a seed; further training takes another order than the first."""
    return Batches(corpus()[0], LENGTH, ROWS, seed)


def learn(model: Skeleton, order: int, settings: TrainingSettings, flops: float | None = None) -> TrainingResult:
    """Train in place, for the steps of the settings or for so many FLOPs."""
    budget = None if flops is None else Budget("flops", flops)
    result = train(model, find("objectives", "causal")(), batches(order), settings, budget=budget)
    model.eval()
    return result


def deeper(base: Skeleton, first: int, name: str, seed: int) -> Skeleton:
    """The base with copies of its layers from ``first`` on, or with fresh layers in their place."""
    made = upscale(base, first, first + COPIES, "identity" if name == "identity" else "duplicate")
    assert isinstance(made, Skeleton)
    if name == "random":
        fresh = DEEP.build(TOKENIZER.vocab_size, seed=seed)
        with torch.no_grad():
            for place in range(first + COPIES, first + 2 * COPIES):
                made.blocks[place].load_state_dict(fresh.blocks[place].state_dict())
    return made


def bits_of(model: Skeleton) -> float:
    """Held-out bits per byte."""
    return float(held_out_bits(model, LENGTH).mean())


claim = Claim(
    statement=(
        "A model of six layers made from one of four by copying the most identity-like two and trained further is "
        "better than one trained from scratch with the same total compute, and these two are the ones to copy."
    ),
    paper="01.AI 2024: depth-upscaling the pretrained checkpoint, and continual pretraining, improve it further (9B).",
    rule=(
        "Two paired differences over 5 seeds, each with a 95 % t-interval above 0: held-out bits per byte from scratch "
        "minus duplicated, at equal measured FLOPs; and before further training, bits with the other blocks copied "
        "minus with the most similar one. Both: supported; any interval below 0: contradicted; otherwise not visible. "
        "The other arms do not decide."
    ),
    run=run,
)
