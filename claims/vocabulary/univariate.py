"""Rows with the spread of the old ones, beside rows with a spread of their own."""

from claims.vocabulary._cipher import arms
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.vocabulary.random import Random
from trivium.vocabulary.univariate import Univariate


def run(bar: Bar) -> ClaimResult:
    """Per seed both begin with the same model, see the same batches and make as many steps."""
    found = arms(bar, {"random": Random(), "univariate": Univariate()})
    gains = [base - own for base, own in zip(found["random"], found["univariate"], strict=True)]
    return judge(
        gains, note="Stories and a cipher of them; what the old language lost is shown and judges nothing.", **found
    )


claim = Claim(
    statement="At equal steps on a new language, rows with the mean and spread of the old ones learn better than "
    "rows of N(0, 0.02^2).",
    paper="Minixhofer et al. 2022 use it where nothing is known of a token; no figure of its own.",
    rule="Bits per byte of held-out text in the new language after 200 steps, random minus univariate, paired over 5 "
    "seeds: "
    "the 95 % t-interval of the mean above 0 is supported, below 0 contradicted, otherwise not visible.",
    run=run,
)
