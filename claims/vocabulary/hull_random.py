"""Greedy text in the old language, before any training: rows in the hull of the old ones beside random ones."""

from typing import Any

from claims.vocabulary._cipher import SEEDS, changed, prepare
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.vocabulary.hull_random import HullRandom
from trivium.vocabulary.random import Random


def run(bar: Bar) -> ClaimResult:
    """Per seed all are rows of the same model."""
    bar.total = SEEDS
    found: dict[str, Any] = {"random": [], "hull_random": []}
    for seed in range(SEEDS):
        pair = prepare(seed)
        found["random"].append(changed(pair, Random(), seed))
        found["hull_random"].append(changed(pair, HullRandom(), seed))
        bar.advance(note=f"seed {seed}")
    gains = [other - own for other, own in zip(found["random"], found["hull_random"], strict=True)]
    kept = "Share of the tokens of greedy texts that change. "
    kept += "The method itself changes none." if not any(found["hull_random"]) else "THE METHOD ITSELF CHANGES SOME."
    return judge(gains, more_than=0.0, note=kept, **found)


claim = Claim(
    statement="Random rows change greedy text in the old language at once; random points of the convex hull of the "
    "old rows change nothing.",
    paper="Mundra et al. 2024: a row in the hull never has the largest logit.",
    rule="Share of greedy tokens that change, random rows minus hull points, paired over 5 seeds: the 95 % "
    "t-interval of the mean above 0 is supported. The note says whether a hull point changed any, which it must not.",
    run=run,
)
