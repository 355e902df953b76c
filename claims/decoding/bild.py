"""BiLD keeps most of the large model's quality for few of its passes."""

from claims.decoding._pair import better_than_a_mixture
from trivium.compare.claim import Claim
from trivium.decoding.bild import BiLD

claim = Claim(
    statement="With a small model that falls back and is rolled back, few passes of the large one keep most of its "
    "quality.",
    paper="Kim et al. 2023, table 1: 1.52 to 2.12 times faster at no loss, with about a fifth to two fifths of the "
    "large model's passes (shares from memory).",
    rule="Two byte models trained on stories, defaults. Share of the gap in surprise that is closed between the small "
    "and the large model's own greedy text, minus large passes per token: supported where the 95 % t-interval over 3 "
    "seeds is above 0, contradicted where it is below.",
    run=lambda bar: better_than_a_mixture(BiLD, lambda made: made.trace.total("rows") / int(made.lengths.sum()), bar),
)
