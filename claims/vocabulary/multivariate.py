"""The multivariate normal with the released scale, beside random rows."""

from claims.vocabulary._cipher import arms
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.vocabulary.multivariate import Multivariate
from trivium.vocabulary.random import Random


def run(bar: Bar) -> ClaimResult:
    """Per seed both begin with the same model, see the same batches and make as many steps."""
    found = arms(bar, {"random": Random(), "multivariate": Multivariate()})
    gains = [base - own for base, own in zip(found["random"], found["multivariate"], strict=True)]
    return judge(
        gains, note="Stories and a cipher of them; what the old language lost is shown and judges nothing.", **found
    )


claim = Claim(
    statement="At equal steps on a new language, rows around the mean with 1e-5 of the covariance learn better than "
    "rows of N(0, 0.02^2).",
    paper="Mundra et al. 2024: it is on a par with constrained word2vec, and well above random rows.",
    rule="Bits per byte of held-out text in the new language after 200 steps, random minus multivariate, paired over "
    "5 seeds: "
    "the 95 % t-interval of the mean above 0 is supported, below 0 contradicted, otherwise not visible.",
    run=run,
)
