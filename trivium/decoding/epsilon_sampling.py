"""Epsilon sampling: drop every token whose probability is below a fixed threshold.

Source
    Hewitt, Manning, Liang 2022, "Truncation Sampling as Language Model Desmoothing", arXiv:2210.15191, section 3.2.
Equation
    keep v  iff  p(v) >= epsilon  or  v = argmax p;   sample from p restricted to the kept tokens, renormalised.
Shapes
    logp (batch, vocab) -> mask (batch, vocab)
Cost
    One model call per new token, as for plain sampling; O(vocab) on top.
Caveats
    The absolute half of the authors' rule; where the distribution is wide it cuts tokens that belong there, which
    eta sampling mends. Where no token reaches epsilon the likeliest alone is kept, the lowest id among equals.
    Temperature acts before the cut.
"""

from dataclasses import dataclass

from torch import Tensor

from trivium.core.method import method
from trivium.decoding._pipeline import Pipeline, keep_epsilon
from trivium.decoding._sampler import Sampler, check_temperature


@method(title="Epsilon sampling", source="arXiv:2210.15191", year=2022, needs=["causal", "state"])
@dataclass(frozen=True)
class EpsilonSampling(Sampler):
    """Sampling restricted to tokens above a fixed probability."""

    epsilon: float = 0.0009
    """Least probability kept; 0 is plain sampling."""
    temperature: float = 1.0
    """Divides the logits before the cut."""

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if not 0 <= self.epsilon < 1:
            raise ValueError(f"epsilon is the least probability kept, so at least 0 and below 1; got {self.epsilon}")

    def keep(self, logp: Tensor) -> Tensor:
        """(batch, vocab) log-probabilities -> (batch, vocab) bool"""
        return keep_epsilon(logp / self.temperature, self.epsilon)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(temperature=self.temperature, epsilon=self.epsilon)
