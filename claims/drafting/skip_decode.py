"""Which layers to draft with: the first and the last, or the first ones only?"""

from claims.drafting._taught import lengths
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.drafting.m2r2 import M2R2
from trivium.drafting.skip_decode import SkipDecode

LAYERS = 2


def run(bar: Bar) -> ClaimResult:
    bar.total = 2
    found = {}
    for name, drafter in (("both ends", SkipDecode(most=LAYERS)), ("first layers", M2R2(layers=LAYERS))):
        found[name] = lengths(drafter)
        bar.advance(1, note=name)
    differences = [one - other for one, other in zip(found["both ends"], found["first layers"], strict=True)]
    means = {name: sum(each) / len(each) for name, each in found.items()}
    return judge(differences, note="tokens per pass of the target, one difference per prompt", **means)


claim = Claim(
    statement="Of one number of layers of a model that was not trained for it, the first and the last draft better "
    "than the first alone.",
    paper="Del Corro et al. 2023 skip layers in the middle; no figure of it as a drafter. Zhang et al. 2023 (from "
    "memory) draft with skipped layers of LLaMA-2 and are up to 2 times faster.",
    rule="Tokens per pass, greedy, 4 drafts with 2 of 4 layers each: those of SkipDecode minus those of an early exit "
    "after the second layer, one difference per story: supported where the 95 % interval is above 0, contradicted "
    "where it is below.",
    run=run,
)
