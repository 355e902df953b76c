"""Locally typical sampling: keep the tokens that are about as surprising as the model expects a token to be.

Source
    Meister, Pimentel, Wiher, Cotterell 2022, "Locally Typical Sampling", arXiv:2202.00666, equation 11.
Equation
    H = -sum_v p(v) log p(v)
    C = argmin over sets with p(C) >= mass of  sum_{v in C} |H + log p(v)|;   sample from p restricted to C.
Shapes
    logp (batch, vocab) -> mask (batch, vocab)
Cost
    One model call per new token, as for plain sampling; a full sort of the vocabulary on top.
Caveats
    The set is filled in order of |H + log p(v)|, among equals the lowest ids first, up to the token that reaches the
    mass; this is how the authors' code reads the minimum, too. The likeliest token may be dropped: that is the idea.
    Temperature acts before the cut and so changes H.
"""

from dataclasses import dataclass

from torch import Tensor

from trivium.core.method import method
from trivium.decoding._pipeline import Pipeline, keep_typical
from trivium.decoding._sampler import Sampler, check_temperature


@method(title="Locally typical sampling", source="arXiv:2202.00666", year=2022, needs=["causal", "state"])
@dataclass(frozen=True)
class TypicalSampling(Sampler):
    """Sampling restricted to tokens whose surprise is near the entropy."""

    mass: float = 0.95
    """Probability that the kept tokens reach; 1 is plain sampling."""
    temperature: float = 1.0
    """Divides the logits before the cut."""

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if not 0 < self.mass <= 1:
            raise ValueError(f"mass is a probability above 0 and at most 1, got {self.mass}")

    def keep(self, logp: Tensor) -> Tensor:
        """(batch, vocab) log-probabilities -> (batch, vocab) bool"""
        return keep_typical(logp / self.temperature, self.mass)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(temperature=self.temperature, typical_p=self.mass)
