"""Guesses that travel through the upper layers are right more often than those read off the last one."""

from claims.drafting._taught import farther
from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.drafting.hidden_transfer import HiddenTransfer
from trivium.drafting.medusa import Medusa


def run(bar: Bar) -> ClaimResult:
    return farther(HiddenTransfer(guesses=3, nodes=16), Medusa(heads=3, nodes=16), bar)


claim = Claim(
    statement="With trees of one size, taught alike, Hidden Transfer needs fewer passes of the target than Medusa.",
    paper="Wu et al. 2024: faster than Medusa and self-speculative decoding on Vicuna and LLaMA-2-Chat.",
    rule="Tokens per pass minus those of Medusa, greedy, trees of 16 nodes, one difference per story: supported where "
    "the 95 % interval is above 0, contradicted where it is below.",
    run=run,
)
