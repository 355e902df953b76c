"""Conditional beam search: the likeliest text among those that have an attribute, such as a length or no repetition.

Source
    Yoshida, Goyal, Gimpel 2024, "MAP's not dead yet: Uncovering true language model modes by conditioning away
    degeneracy", arXiv:2311.08817, and Yoshida's thesis, arXiv:2408.16241. Defaults and details are ours.
Equation
    argmax_y log p(y | x, a) = argmax_y log p(y | x) + log p(a | x, y)
    score(y v) = log p(y v | x) + weight log c(y v),   c(y v) ~ p(a | x, y v):  replaced at each step, never summed
    a complete text:  c is 1 or 0 where the attribute can be decided, else c of the whole text
Shapes
    log-probabilities (beams, vocab) -> candidates (beams, n) -> width continuations per row
Cost
    A beam search, and width x candidates values of c per step; a trained c is a small head and needs no further pass.
Caveats
    A decidable attribute without a classifier says of a beginning only what is possible, which guides little: a beam
    may then hold nothing that gets there. Such a row, and one whose attribute is impossible, is empty, and the
    generation says why; a text without the attribute is never returned. Stop tokens always compete, also outside the
    best candidates, else a length could not be met. No length normalisation: it would change what is maximised.
    Finished texts take their place in the beam with them, as in beam_search. The search ends once no live text can win.
    A text that the limit cuts off is complete, and as long as the limit. A trained classifier has seen the model's
    samples, and a beam is likelier than those: its card says how well it is calibrated on samples only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.nouns import Generation, Stop, Trace
from trivium.core.protocols import LanguageModel
from trivium.decoding._attributes import Attribute, Exact, Judge, Length, NonDegenerate, Step, checked, written
from trivium.decoding._beams import Hypothesis, Live, ends, generation, search
from trivium.decoding._classifier import Learned
from trivium.decoding._loop import prepare
from trivium.decoding._pipeline import top_ids


@method(title="Conditional beam search", source="arXiv:2311.08817", year=2024, needs=["causal", "state"])
@dataclass(frozen=True)
class ConditionalBeamSearch:
    """A beam search for the mode given an attribute; deterministic."""

    width: int = 5
    """Hypotheses kept; 1 is greedy within the attribute."""
    candidates: int = 100
    """Likeliest tokens by which each is extended, stop tokens aside."""
    attribute: Length | NonDegenerate | Learned | Exact | Attribute = field(default_factory=NonDegenerate)
    """length(at_least=12, at_most=12), non_degenerate(n=4, share=0.2), learned(folder="judge/") with a classifier, as
    `trivium decoder train` makes one, or an Attribute of one's own."""
    weight: float = 1.0
    """Of the classifier's log-probability; a complete text without the attribute is out at any weight."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width must be at least 1 hypothesis, got {self.width}")
        if self.candidates < self.width:
            raise ValueError(f"candidates must be at least the width {self.width}, got {self.candidates}")
        if not 0.0 <= self.weight < float("inf"):
            raise ValueError(f"weight must be at least 0 and finite, got {self.weight}")

    @property
    def learner(self) -> Learned | None:
        """What `trivium decoder train` trains; None where there is nothing to train."""
        return self.attribute if isinstance(self.attribute, Learned) else None

    def __call__(
        self,
        model: LanguageModel,
        prompt: Tensor,
        *,
        limit: int,
        generator: torch.Generator,
        mask: Tensor | None = None,
        stop: Stop = Stop(),
    ) -> Generation:
        trace = Trace()
        rows = self.n_best(model, prompt, limit=limit, mask=mask, stop=stop, trace=trace)
        why = self.attribute.impossible(limit, bool(stop.tokens or stop.texts)) or (
            f"no text that a beam of {self.width} reached has {self.attribute}; widen the beam, raise the limit, or "
            "ask for less"
        )
        made = generation(model, [found[0] if found else Hypothesis() for found in rows], trace)
        return replace(made, reasons={row: why for row, found in enumerate(rows) if not found})

    def n_best(
        self,
        model: LanguageModel,
        prompt: Tensor,
        *,
        limit: int,
        mask: Tensor | None = None,
        stop: Stop = Stop(),
        trace: Trace | None = None,
    ) -> list[list[Hypothesis]]:
        """Per row every complete text with the attribute that was found, best first; none where there is none."""
        prompts = prepare(self, model, prompt, mask, limit, stop)
        if self.attribute.impossible(limit, bool(stop.tokens or stop.texts)):
            return [[] for _ in prompts.lengths]
        with torch.inference_mode():
            beam = _Beam(self, self.attribute.judge(model, prompts, limit, stop), limit, stop)
            found = search(
                model, prompts, beam.extend, limit=limit, stop=stop, trace=trace or Trace(), watch=beam.watch
            )
        return [sorted(row, key=score, reverse=True) for row in found]


def score(one: Hypothesis) -> float:
    """Log-probability of the text plus the weighted one of the attribute, which is kept as a penalty."""
    return one.total - one.penalty


class _Beam:
    """One search on its way."""

    def __init__(self, settings: ConditionalBeamSearch, judge: Judge, limit: int, stop: Stop) -> None:
        self.settings, self.judge, self.limit, self.stop = settings, judge, limit, stop
        self.hidden = torch.empty(0)

    def watch(self, hidden: Tensor) -> None:
        self.hidden = hidden

    def extend(
        self, live: Live, logp: Tensor, finished: Sequence[Sequence[Hypothesis]]
    ) -> tuple[list[tuple[int, Hypothesis]], list[int]]:
        """The best continuations of each row that could still win, with the beam that each comes from."""
        grown: list[tuple[int, Hypothesis]] = []
        parents: list[int] = []
        for row in sorted({row for row, _ in live}):
            beams = [at for at, (owner, _) in enumerate(live) if owner == row]
            left = self.settings.width - len(finished[row])
            # What goes on only falls, and no attribute adds to it.
            if finished[row] and max(map(score, finished[row])) >= max(live[at][1].total for at in beams):
                continue
            for parent, one in self._best(row, [live[at][1] for at in beams], logp[beams], self.hidden[beams], left):
                grown.append((row, one))
                parents.append(beams[parent])
        return grown, parents

    def _best(
        self, row: int, beams: Sequence[Hypothesis], logp: Tensor, hidden: Tensor, count: int
    ) -> list[tuple[int, Hypothesis]]:
        """The best ``count`` extensions of one row's beams that can have the attribute: place of the beam, and text."""
        tokens, twice = self._candidates(logp)
        steps = logp.gather(1, tokens).masked_fill(twice, float("-inf")).cpu()
        prefixes = [one.tokens for one in beams]
        room = self.limit - len(prefixes[0]) - 1
        step = Step([row] * len(beams), prefixes, tokens, hidden, room)
        chances = self._settled(row, step, checked(self.judge.chances(step), tuple(tokens.shape)))
        penalties = torch.where(chances > 0, -self.settings.weight * chances.clamp(min=1e-300).log(), float("inf"))
        totals = torch.tensor([one.total for one in beams], dtype=torch.float64)[:, None] + steps
        scores = (totals - penalties).flatten()
        order = scores.argsort(descending=True, stable=True)[:count]
        width, names = tokens.shape[1], tokens.tolist()
        best = []
        for place in order[scores[order] > float("-inf")].tolist():
            parent, at = divmod(place, width)
            one = beams[parent].grown(names[parent][at], float(steps[parent, at]))
            best.append((parent, replace(one, penalty=float(penalties[parent, at]))))
        return best

    def _candidates(self, logp: Tensor) -> tuple[Tensor, Tensor]:
        """(beams, n): the likeliest tokens, best first, then the stop tokens; and which of these come a second time."""
        top = top_ids(logp, min(self.settings.candidates, logp.shape[1]))
        stops = torch.tensor(sorted({*self.stop.tokens}), dtype=torch.int64, device=logp.device)
        twice = torch.cat([torch.zeros_like(top, dtype=torch.bool), (top[..., None] == stops).any(1)], 1)
        return torch.cat([top, stops.expand(len(top), -1)], 1), twice

    def _settled(self, row: int, step: Step, chances: Tensor) -> Tensor:
        """The chances, exact for candidates that complete a text where the attribute can be decided."""
        chances = chances.clone()
        for at, (prefix, own) in enumerate(zip(step.prefixes, step.tokens.tolist(), strict=True)):
            if step.room == 0 or self.stop.texts:
                complete = [n for n, token in enumerate(own) if step.room == 0 or ends((*prefix, token), self.stop)]
            else:
                complete = [n for n, token in enumerate(own) if token in self.stop.tokens]
            for n in complete:
                if (known := self.judge.holds(row, written((*prefix, own[n]), self.stop))) is not None:
                    chances[at, n] = float(known)
        return chances
