"""The mean row beside random ones, in what is learnt afterwards."""

from claims.vocabulary._cipher import arms
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.vocabulary.mean import Mean
from trivium.vocabulary.random import Random


def run(bar: Bar) -> ClaimResult:
    """Per seed both begin with the same model, see the same batches and make as many steps."""
    found = arms(bar, {"random": Random(), "mean": Mean()})
    gains = [base - own for base, own in zip(found["random"], found["mean"], strict=True)]
    return judge(
        gains, note="Stories and a cipher of them; what the old language lost is shown and judges nothing.", **found
    )


claim = Claim(
    statement="At equal steps on a new language, rows that begin at the mean of the old ones learn better than rows "
    "of N(0, 0.02^2).",
    paper="Hewitt 2021: with random rows new tokens take over the output of a model, with the mean they do not.",
    rule="Bits per byte of held-out text in the new language after 200 steps, random minus mean, paired over 5 seeds: "
    "the 95 % t-interval of the mean above 0 is supported, below 0 contradicted, otherwise not visible.",
    run=run,
)
