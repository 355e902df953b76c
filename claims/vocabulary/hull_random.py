"""Greedy text in the old language, before any training: rows in the hull of the old ones beside random ones."""

from claims.vocabulary._cipher import greedy_kept
from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.vocabulary.hull_random import HullRandom


def run(bar: Bar) -> ClaimResult:
    """Random rows beside those of hull_random."""
    return greedy_kept(bar, "hull_random", HullRandom(), more_than=0.0)


claim = Claim(
    statement="Random rows change greedy text in the old language at once; random points of the convex hull of the "
    "old rows change nothing.",
    paper="Mundra et al. 2024: a row in the hull never has the largest logit.",
    rule="Share of greedy tokens that change, random rows minus hull points, paired over 5 seeds: the 95 % "
    "t-interval of the mean above 0 is supported. The note says whether a hull point changed any, which it must not.",
    run=run,
)
