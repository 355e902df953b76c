"""Beam search: keep the most probable partial texts and extend them all.

Source
    Lowerre 1976, "The HARPY Speech Recognition System"; for neural models Sutskever, Vinyals, Le 2014,
    arXiv:1409.3215, section 3.2 (a finished hypothesis leaves the beam and shrinks it). Length normalisation as
    exponent on the length: Wu et al. 2016, arXiv:1609.08144, section 7, in the simpler form lp(Y) = |Y|^penalty.
Equation
    live_{t+1} = the (width - finished) best of  { y v : y in live_t, v in V }  by  log p(y v | x)
    answer     = argmax over finished and live at the limit of  log p(y | x) / |y|^length_penalty
Shapes
    scores (beams, vocab) per row -> width continuations per row
Cost
    One pass per new token over width rows; the cache is reordered (copied) wherever beams do not simply go on.
Caveats
    Likelihood is not quality: wide beams give shorter, more repetitive open-ended text. A hypothesis that reaches a
    stop takes one place of the beam with it, so width 1 is greedy decoding, and a beam as wide as the tree of all
    texts finds the best one. Scores add up in float64. Stop texts end hypotheses as stop tokens do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.decoding._beams import BeamDecoder, Hypothesis, Live
from trivium.decoding._pipeline import top_ids


@method(title="Beam search", source="arXiv:1409.3215", year=2014, needs=["causal", "state"])
@dataclass(frozen=True)
class BeamSearch(BeamDecoder):
    """Breadth-limited search for the most probable text; deterministic."""

    width: int = 4
    """Hypotheses kept; 1 is greedy."""
    length_penalty: float = 1.0
    """Exponent of the length that scores are divided by: 0 compares sums, 1 means, more favours long texts."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width must be at least 1 hypothesis, got {self.width}")
        if not abs(self.length_penalty) < float("inf"):
            raise ValueError(f"length_penalty must be finite, got {self.length_penalty}")

    def _extend(
        self, live: Live, logp: Tensor, finished: Sequence[Sequence[Hypothesis]]
    ) -> tuple[list[tuple[int, Hypothesis]], list[int]]:
        """The best continuations of each row, with the beam that each comes from."""
        grown: list[tuple[int, Hypothesis]] = []
        parents: list[int] = []
        vocab = logp.shape[1]
        for row in sorted({row for row, _ in live}):
            beams = [at for at, (owner, _) in enumerate(live) if owner == row]
            totals = torch.tensor([live[at][1].total for at in beams], dtype=torch.float64, device=logp.device)
            sums = (logp[beams] + totals[:, None]).reshape(1, -1)
            width = min(self.width - len(finished[row]), sums.shape[1])
            for place in top_ids(sums, width)[0].tolist():
                parent, token = beams[place // vocab], place % vocab
                grown.append((row, live[parent][1].grown(token, float(logp[parent, token]))))
                parents.append(parent)
        return grown, parents
