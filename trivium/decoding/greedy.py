"""Greedy decoding: always take the likeliest token.

Source
    Textbook; no single paper. The baseline that every decoding paper compares with.
Equation
    x_{t+1} = argmax_v p(v | x_1 .. x_t)
Shapes
    logits (batch, vocab) -> tokens (batch,)
Cost
    One model call per new token; O(vocab) on top.
Caveats
    Ties go to the lowest token id. In half precision near-ties depend on how many positions a pass holds, so the same
    prompt may continue differently in another batch shape. The likeliest next token at each step does not give the
    likeliest text, and open-ended text from small models falls into loops (see the claim).
"""

from dataclasses import dataclass

from trivium.core.method import method
from trivium.decoding._pipeline import Pipeline
from trivium.decoding._sampler import Sampler


@method(title="Greedy decoding", source="textbook", year=0, needs=["causal", "state"])
@dataclass(frozen=True)
class Greedy(Sampler):
    """The likeliest token at every step."""

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(temperature=0.0)
