"""Min-p sampling: drop every token less likely than a fraction of the likeliest one.

Source
    Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs",
    arXiv:2407.01082.
Equation
    keep v  iff  p(v) >= floor * max_u p(u);   sample from p restricted to the kept tokens, renormalised.
Shapes
    logp (batch, vocab) -> mask (batch, vocab)
Cost
    One model call per new token, as for plain sampling; O(vocab) on top.
Caveats
    Temperature is applied before the cut; some implementations cut first, which keeps other tokens.
"""

from dataclasses import dataclass

from torch import Tensor

from trivium.core.method import method
from trivium.decoding._pipeline import Pipeline, keep_min_p
from trivium.decoding._sampler import Sampler, check_temperature


@method(title="Min-p sampling", source="arXiv:2407.01082", year=2024, needs=["causal", "state"])
@dataclass(frozen=True)
class MinP(Sampler):
    """Sampling restricted to tokens not far less likely than the likeliest."""

    floor: float = 0.1
    """Fraction of the top probability below which a token is dropped; 0 keeps all, 1 is greedy up to ties."""
    temperature: float = 1.0
    """Divides the logits before the cut."""

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor is a fraction of the top probability, so 0 to 1; got {self.floor}")

    def keep(self, logp: Tensor) -> Tensor:
        """(batch, vocab) log-probabilities -> (batch, vocab) bool"""
        return keep_min_p(logp / self.temperature, self.floor)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(temperature=self.temperature, min_p=self.floor)
