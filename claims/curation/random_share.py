"""A share by hash is as even as one by chance, and another seed's is another one."""

import numpy as np

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.curation.random_share import RandomShare
from trivium.data.marks import Texts
from trivium.data.stories import story

SEEDS, DOCUMENTS, SHARES = 10, 3000, (0.1, 0.5, 0.9)


def run(bar: Bar) -> ClaimResult:
    """Per seed the largest distance, in standard errors of a coin, of what stays from what should: of the shares, and
    of what two seeds keep together."""
    bar.total = SEEDS
    said = [story(70, number) for number in range(DOCUMENTS)]
    texts = Texts([str(n) for n in range(DOCUMENTS)], said, ["s"] * DOCUMENTS)
    numbers = [RandomShare(seed=seed).tag(texts).numbers["number"] for seed in range(SEEDS + 1)]
    furthest = []
    for seed in range(SEEDS):
        one, other = numbers[seed], numbers[seed + 1]
        kept = [((one < share).mean(), share) for share in SHARES]
        kept += [(((one < share) & (other < share)).mean(), share * share) for share in SHARES]
        furthest.append(max(abs(got - p) / (p * (1 - p) / DOCUMENTS) ** 0.5 for got, p in kept))
        bar.advance()
    return judge([3.0 - value for value in furthest], largest=max(furthest), mean=float(np.mean(furthest)))


claim = Claim(
    statement="Numbers hashed from the text and a seed keep the shares that coins would, and seeds are independent.",
    paper="Dolma's toolkit, random number tagger; no figure is given.",
    rule=f"{SEEDS} seeds of {DOCUMENTS} stories: furthest of six shares from what is due, in standard errors; 95 % "
    "t-interval below 3",
    run=run,
)
