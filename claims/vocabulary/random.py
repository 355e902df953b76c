"""What random rows do to greedy text in the old language, before any training."""

from typing import Any

from claims.vocabulary._cipher import SEEDS, changed, prepare
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.vocabulary.mean import Mean
from trivium.vocabulary.random import Random


def run(bar: Bar) -> ClaimResult:
    """Per seed all are rows of the same model."""
    bar.total = SEEDS
    found: dict[str, Any] = {"random": [], "mean": []}
    for seed in range(SEEDS):
        pair = prepare(seed)
        found["random"].append(changed(pair, Random(), seed))
        found["mean"].append(changed(pair, Mean(), seed))
        bar.advance(note=f"seed {seed}")
    gains = [other - own for other, own in zip(found["random"], found["mean"], strict=True)]
    kept = "Share of the tokens of greedy texts that change. "
    kept += "The method itself changes none." if not any(found["mean"]) else "THE METHOD ITSELF CHANGES SOME."
    return judge(gains, more_than=0.05, note=kept, **found)


claim = Claim(
    statement="A model that is given new tokens with rows of N(0, 0.02^2) writes other greedy text in the old "
    "language, in more than 5 % of the tokens, before anything is trained.",
    paper="Hewitt 2021 and Mundra et al. 2024: random rows break the output of a model. No figure.",
    rule="Share of greedy tokens that change, random rows minus the mean row, paired over 5 seeds: the 95 % "
    "t-interval of the mean above 0.05 is supported, below it contradicted, otherwise not visible.",
    run=run,
)
