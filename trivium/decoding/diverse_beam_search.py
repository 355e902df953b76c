"""Diverse beam search: groups of beams, each kept away from the tokens that earlier groups have just chosen.

Source
    Vijayakumar, Cogswell, Selvaraju, Sun, Lee, Crandall, Batra 2018, "Diverse Beam Search: Decoding Diverse Solutions
    from Neural Sequence Models", arXiv:1610.02424, equation 5 and algorithm 1, Hamming diversity (section 5.1).
Equation
    group g at step t:  the width / groups best of  { y v }  by  log p(y v | x) - sum of penalties
    penalty(v) = strength * |{ hypotheses of groups before g that chose v at step t }|
    answers: every group's finished texts, best first by  log p(y | x) / |y|^length_penalty
Shapes
    scores (beams, vocab) per row and group -> width / groups continuations each
Cost
    One pass per new token over all beams of all groups at once, as for a beam search of the same width.
Caveats
    Penalties stay on a hypothesis while it grows, as in the paper's algorithm and in transformers, but final texts are
    ranked by their probability alone. The first group is a plain beam search of its width, so the best text of all is
    at least as likely as its; who wants the variety asks for ``n_best``. A generation holds one text per row. A
    finished hypothesis takes its place in its group with it. Only Hamming diversity, the authors' choice, is offered.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from trivium.core.method import method
from trivium.decoding._beams import BeamDecoder, Hypothesis, Live
from trivium.decoding._pipeline import top_ids


@method(title="Diverse beam search", source="arXiv:1610.02424", year=2016, needs=["causal", "state"])
@dataclass(frozen=True)
class DiverseBeamSearch(BeamDecoder):
    """Several beam searches side by side that avoid each other's tokens; deterministic."""

    width: int = 6
    """Hypotheses kept, over all groups."""
    groups: int = 3
    """Groups that the beams are divided into; 1 is beam search."""
    strength: float = 0.5
    """Taken off a log-probability for each time the token was chosen by an earlier group at the same step."""
    length_penalty: float = 1.0
    """Exponent of the length that scores are divided by: 0 compares sums, 1 means, more favours long texts."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.groups < 1 or self.width % self.groups:
            raise ValueError(f"width {self.width} must be a positive multiple of the {self.groups} groups")
        if not 0 <= self.strength < float("inf"):
            raise ValueError(f"strength must be at least 0 and finite, got {self.strength}; 0 makes all groups equal")
        if not abs(self.length_penalty) < float("inf"):
            raise ValueError(f"length_penalty must be finite, got {self.length_penalty}")

    def _extend(
        self, live: Live, logp: Tensor, finished: Sequence[Sequence[Hypothesis]]
    ) -> tuple[list[tuple[int, Hypothesis]], list[int]]:
        """The best continuations of each row and group, one group after another."""
        grown: list[tuple[int, Hypothesis]] = []
        parents: list[int] = []
        for row in sorted({row for row, _ in live}):
            chosen: Counter[int] = Counter()
            for group in range(self.groups):
                first = not live[0][1].tokens  # the prompt's one hypothesis belongs to every group
                beams = [at for at, (owner, one) in enumerate(live) if owner == row and (first or one.group == group)]
                left = self.width // self.groups - sum(one.group == group for one in finished[row])
                if not beams or not left:
                    continue
                penalty = logp.new_zeros(logp.shape[1])
                penalty[list(chosen)] = self.strength * logp.new_tensor(list(chosen.values()))
                before = logp.new_tensor([live[at][1].total - live[at][1].penalty for at in beams])
                scores = (logp[beams] + before[:, None] - penalty).reshape(1, -1)
                for place in top_ids(scores, min(left, scores.shape[1]))[0].tolist():
                    parent, token = beams[place // logp.shape[1]], place % logp.shape[1]
                    step, taken = float(logp[parent, token]), float(penalty[token])
                    grown.append((row, live[parent][1].grown(token, step, taken, group)))
                    parents.append(parent)
                chosen.update(beam.tokens[-1] for owner, beam in grown if owner == row and beam.group == group)
        return grown, parents
