"""Entropy says where the large model is worth its price."""

from claims.decoding._pair import better_than_a_mixture
from trivium.compare.claim import Claim
from trivium.decoding.ead import EAD

claim = Claim(
    statement="Letting the large model write where entropy is high keeps more of its quality than its share of tokens.",
    paper="Simonds 2025: 92.9 % of the large model's MATH score with 25 % of tokens from it (Qwen 14B), 96.7 % with "
    "43 % (LLaMA 11B).",
    rule="Two byte models trained on stories; window 5, threshold 0.5 bits, dwell 10. Share of the gap in surprise "
    "that is closed between the small and the large model's own greedy text, minus the large model's share of tokens: "
    "supported where the 95 % t-interval over 3 seeds is above 0, contradicted where it is below.",
    run=lambda bar: better_than_a_mixture(
        lambda small: EAD(small, threshold=0.5),
        lambda made: made.trace.total("large") / int(made.lengths.sum()),
        bar,
    ),
)
