"""Top-k sampling: draw from the k likeliest tokens.

Source
    Fan, Lewis, Dauphin 2018, "Hierarchical Neural Story Generation", arXiv:1805.04833, section 5.4 (k = 10).
Equation
    keep v  iff  p(v) is among the k largest;   sample from p restricted to the kept tokens, renormalised.
Shapes
    logp (batch, vocab) -> mask (batch, vocab)
Cost
    One model call per new token, as for plain sampling; O(vocab) on top.
Caveats
    Exactly k tokens are kept: among equals at the edge, those with the lowest ids (implementations that compare with
    the k-th value keep them all). Temperature acts before the cut, which changes nothing about who is kept.
"""

from dataclasses import dataclass

from torch import Tensor

from trivium.core.method import method
from trivium.decoding._pipeline import Pipeline, keep_top_k
from trivium.decoding._sampler import Sampler, check_temperature


@method(title="Top-k sampling", source="arXiv:1805.04833", year=2018, needs=["causal", "state"])
@dataclass(frozen=True)
class TopK(Sampler):
    """Sampling restricted to the k likeliest tokens."""

    k: int = 10
    """Tokens kept; 1 is greedy, the vocabulary size is plain sampling."""
    temperature: float = 1.0
    """Divides the logits before the cut."""

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if self.k < 1:
            raise ValueError(f"k must keep at least 1 token, got {self.k}")

    def keep(self, logp: Tensor) -> Tensor:
        """(batch, vocab) log-probabilities -> (batch, vocab) bool"""
        return keep_top_k(logp, self.k)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(temperature=self.temperature, top_k=self.k)
