"""What random rows do to greedy text in the old language, before any training."""

from claims.vocabulary._cipher import greedy_kept
from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.vocabulary.mean import Mean


def run(bar: Bar) -> ClaimResult:
    """Random rows beside those of mean."""
    return greedy_kept(bar, "mean", Mean(), more_than=0.05)


claim = Claim(
    statement="A model that is given new tokens with rows of N(0, 0.02^2) writes other greedy text in the old "
    "language, in more than 5 % of the tokens, before anything is trained.",
    paper="Hewitt 2021 and Mundra et al. 2024: random rows break the output of a model. No figure.",
    rule="Share of greedy tokens that change, random rows minus the mean row, paired over 5 seeds: the 95 % "
    "t-interval of the mean above 0.05 is supported, below it contradicted, otherwise not visible.",
    run=run,
)
