"""Top-p (nucleus) sampling: draw from the smallest set of likeliest tokens whose probability reaches p.

Source
    Holtzman, Buys, Du, Forbes, Choi 2020, "The Curious Case of Neural Text Degeneration", arXiv:1904.09751,
    section 3.1 (p = 0.95 in its main comparison).
Equation
    V_p = smallest set of likeliest tokens with sum_{v in V_p} p(v) >= p;   sample from p restricted to V_p.
Shapes
    logp (batch, vocab) -> mask (batch, vocab)
Cost
    One model call per new token, as for plain sampling; a partial sort on top, a full one where the nucleus has more
    than 256 tokens.
Caveats
    Temperature acts before the cut; cutting first would keep other tokens. The token that reaches p is kept, so the set
    is never empty.
"""

from dataclasses import dataclass

from torch import Tensor

from trivium.core.method import method
from trivium.decoding._pipeline import Pipeline, keep_top_p
from trivium.decoding._sampler import Sampler, check_temperature


@method(title="Top-p sampling", source="arXiv:1904.09751", year=2020, needs=["causal", "state"])
@dataclass(frozen=True)
class TopP(Sampler):
    """Sampling restricted to the nucleus of the distribution."""

    p: float = 0.95
    """Probability that the kept tokens reach; 1 is plain sampling."""
    temperature: float = 1.0
    """Divides the logits before the cut."""

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if not 0 < self.p <= 1:
            raise ValueError(f"p is a probability above 0 and at most 1, got {self.p}; for the limit 0 use greedy")

    def keep(self, logp: Tensor) -> Tensor:
        """(batch, vocab) log-probabilities -> (batch, vocab) bool"""
        return keep_top_p(logp / self.temperature, self.p)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(temperature=self.temperature, top_p=self.p)
