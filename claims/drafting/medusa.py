"""Medusa's heads learn to guess what their target says."""

from claims.drafting._taught import farther
from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.drafting.medusa import Medusa


def run(bar: Bar) -> ClaimResult:
    heads = Medusa(heads=4, nodes=32)
    return farther(heads, heads, bar, teach_usual=False)


claim = Claim(
    statement="Heads trained on what the target writes need fewer of its passes than heads that repeat its own.",
    paper="Cai et al. 2024: more than 2.2 times faster with Medusa-1 and 2.3 to 3.6 times with Medusa-2, on Vicuna.",
    rule="Tokens per pass with trained heads minus those with untrained ones, greedy, one difference per story: "
    "supported where the 95 % interval is above 0, contradicted where it is below.",
    run=run,
)
