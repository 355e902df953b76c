"""Means of subwords beside univariate rows."""

from claims.vocabulary._cipher import arms
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.vocabulary.subword_mean import SubwordMean
from trivium.vocabulary.univariate import Univariate


def run(bar: Bar) -> ClaimResult:
    """Per seed both begin with the same model, see the same batches and make as many steps."""
    found = arms(bar, {"univariate": Univariate(), "subword_mean": SubwordMean()})
    gains = [base - own for base, own in zip(found["univariate"], found["subword_mean"], strict=True)]
    return judge(
        gains, note="Stories and a cipher of them; what the old language lost is shown and judges nothing.", **found
    )


claim = Claim(
    statement="At equal steps on a new language, means of the subwords that spelt a token so far learn better than "
    "rows that know the spread of the old ones only.",
    paper="Komodo and others extend vocabularies so; the specification calls it the strongest trivial baseline. No "
    "figure.",
    rule="Bits per byte of held-out text in the new language after 200 steps, univariate minus subword_mean, paired "
    "over 5 seeds: "
    "the 95 % t-interval of the mean above 0 is supported, below 0 contradicted, otherwise not visible.",
    run=run,
)
