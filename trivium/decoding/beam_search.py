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

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core import meter
from trivium.core.method import method
from trivium.core.nouns import Generation, Stop, Trace
from trivium.core.protocols import LanguageModel
from trivium.decoding._loop import Prompts, checked_normaliser, prefill, prepare
from trivium.decoding._pipeline import top_ids


@dataclass(frozen=True)
class Hypothesis:
    """A partial or finished text: new tokens, the log-probability of each, and their sum."""

    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    total: float = 0.0

    def score(self, length_penalty: float) -> float:
        return self.total / len(self.tokens) ** length_penalty


@method(title="Beam search", source="arXiv:1409.3215", year=2014, needs=["causal", "state"])
@dataclass(frozen=True)
class BeamSearch:
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
        best = [ranked[0] for ranked in self.n_best(model, prompt, limit=limit, mask=mask, stop=stop, trace=trace)]
        longest = max(len(hypothesis.tokens) for hypothesis in best)
        full = lambda values: list(values) + [0] * (longest - len(values))  # noqa: E731
        meter.spend(new_tokens=sum(len(hypothesis.tokens) for hypothesis in best))
        return Generation(
            torch.tensor([full(hypothesis.tokens) for hypothesis in best], dtype=torch.int64, device=model.device),
            torch.tensor(
                [full(hypothesis.logprobs) for hypothesis in best],
                dtype=torch.float64 if model.dtype == torch.float64 else torch.float32,
                device=model.device,
            ),
            torch.tensor([len(hypothesis.tokens) for hypothesis in best]),
            trace,
        )

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
        """Per row every hypothesis of the final beam, best first."""
        prompts = prepare(self, model, prompt, mask, limit, stop)
        with torch.inference_mode():
            return self._search(model, prompts, limit, stop, trace or Trace())

    def _search(
        self, model: LanguageModel, prompts: Prompts, limit: int, stop: Stop, trace: Trace
    ) -> list[list[Hypothesis]]:
        started = time.perf_counter()
        out = prefill(model, prompts)
        trace.seconds["prefill"] = time.perf_counter() - started
        live = [(row, Hypothesis()) for row in range(len(prompts.ids))]  # one flat batch of beams, row after row
        finished: list[list[Hypothesis]] = [[] for _ in live]
        while True:
            logits, state = out.logits[:, -1], out.state
            del out
            lengths = [prompts.lengths[row] + len(beam.tokens) for row, beam in live]
            normaliser = checked_normaliser(logits, [row for row, _ in live], lengths)
            logp = (logits.to(normaliser.dtype) - normaliser[:, None]).double()
            trace.note(
                rows=len({row for row, _ in live}), committed=len({row for row, _ in live}), target_positions=len(live)
            )
            grown, parents = self._extend(live, logp, finished)
            live, kept = [], []
            for (row, beam), parent in zip(grown, parents, strict=True):
                if len(beam.tokens) >= limit or _ends(beam.tokens, stop):
                    finished[row].append(beam)
                else:
                    live.append((row, beam))
                    kept.append(parent)
            if not live:
                break
            assert state is not None
            state = state.select(torch.tensor(kept))
            tokens = torch.tensor([[beam.tokens[-1]] for _, beam in live], device=model.device)
            out = model(tokens, state=state, keep_state=True)
        trace.seconds["choose"] = time.perf_counter() - started - trace.seconds["prefill"]
        return [sorted(row, key=lambda beam: beam.score(self.length_penalty), reverse=True) for row in finished]

    def _extend(
        self, live: list[tuple[int, Hypothesis]], logp: Tensor, finished: list[list[Hypothesis]]
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
                step, beam = float(logp[parent, token]), live[parent][1]
                grown.append((row, Hypothesis((*beam.tokens, token), (*beam.logprobs, step), beam.total + step)))
                parents.append(parent)
        return grown, parents


def _ends(tokens: tuple[int, ...], stop: Stop) -> bool:
    if tokens[-1] in stop.tokens:
        return True
    if not stop.texts or stop.decode is None:
        return False
    text = stop.decode(tokens)
    return any(ending in text for ending in stop.texts)
