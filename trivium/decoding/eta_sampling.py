"""Eta sampling: drop tokens below a probability threshold that falls where the model is unsure.

Source
    Hewitt, Manning, Liang 2022, "Truncation Sampling as Language Model Desmoothing", arXiv:2210.15191, section 3.3
    (alpha = sqrt(epsilon), as the authors set it).
Equation
    H = -sum_v p(v) log p(v);   eta = min(epsilon, sqrt(epsilon) exp(-H))
    keep v  iff  p(v) >= eta  or  v = argmax p;   sample from p restricted to the kept tokens, renormalised.
Shapes
    logp (batch, vocab) -> mask (batch, vocab)
Cost
    One model call per new token, as for plain sampling; O(vocab) on top.
Caveats
    The paper's truncation is p > eta, its code and transformers keep p = eta; so do we. The threshold is relative
    (half the rule) only where H > -log(epsilon) / 2; below that it is epsilon sampling. Temperature acts before the
    cut and so changes H.
"""

from dataclasses import dataclass

from torch import Tensor

from trivium.core.method import method
from trivium.decoding._pipeline import Pipeline, keep_eta
from trivium.decoding._sampler import Sampler, check_temperature


@method(title="Eta sampling", source="arXiv:2210.15191", year=2022, needs=["causal", "state"])
@dataclass(frozen=True)
class EtaSampling(Sampler):
    """Sampling restricted to tokens above a probability that depends on the entropy."""

    epsilon: float = 0.0009
    """Largest threshold, and the square of the factor of the relative one; 0 is plain sampling."""
    temperature: float = 1.0
    """Divides the logits before the cut."""

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if not 0 <= self.epsilon < 1:
            raise ValueError(f"epsilon is the largest threshold, so at least 0 and below 1; got {self.epsilon}")

    def keep(self, logp: Tensor) -> Tensor:
        """(batch, vocab) log-probabilities -> (batch, vocab) bool"""
        return keep_eta(logp / self.temperature, self.epsilon)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(temperature=self.temperature, eta=self.epsilon)
