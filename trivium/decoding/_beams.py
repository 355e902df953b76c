"""What beam searches share: hypotheses, the passes over all live ones at once, and how the best become a generation."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core import meter, streaming
from trivium.core.nouns import Generation, Stop, Trace
from trivium.core.protocols import LanguageModel
from trivium.decoding._loop import Prompts, checked_normaliser, prefill, prepare


@dataclass(frozen=True)
class Hypothesis:
    """A partial or finished text: new tokens, the log-probability of each, their sum, what a search took off it while
    it grew, and the group of the beam that it grew in."""

    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    total: float = 0.0
    penalty: float = 0.0
    group: int = 0

    def score(self, length_penalty: float) -> float:
        """Log-probability over a power of the length; what a search took off does not count."""
        return self.total / len(self.tokens) ** length_penalty

    def grown(self, token: int, logprob: float, penalty: float = 0.0, group: int = 0) -> "Hypothesis":
        """The same, one token longer."""
        total, taken = self.total + logprob, self.penalty + penalty
        return Hypothesis((*self.tokens, token), (*self.logprobs, logprob), total, taken, group)


Live = Sequence[tuple[int, Hypothesis]]
"""Hypotheses that go on, with the row that each belongs to: one flat batch, row after row."""
Extend = Callable[[Live, Tensor, Sequence[Sequence[Hypothesis]]], tuple[list[tuple[int, Hypothesis]], list[int]]]
"""(live, log-probabilities (live, vocab), finished ones per row) -> those that are kept, and the place that each grew
from."""


def search(
    model: LanguageModel,
    prompts: Prompts,
    extend: Extend,
    *,
    limit: int,
    stop: Stop,
    trace: Trace,
    watch: Callable[[Tensor], None] | None = None,
) -> list[list[Hypothesis]]:
    """Per row every hypothesis that finished, in the order of finishing. A row of which nothing is kept has ended.

    ``watch``: told the hidden states (live, width) behind the live ones, before they are extended.
    """
    started = time.perf_counter()
    out = prefill(model, prompts)
    trace.seconds["prefill"] = time.perf_counter() - started
    live = [(row, Hypothesis()) for row in range(len(prompts.ids))]
    finished: list[list[Hypothesis]] = [[] for _ in live]
    while True:
        logits, state = out.logits[:, -1], out.state
        if watch is not None:
            watch(out.hidden[:, -1])
        del out
        lengths = [prompts.lengths[row] + len(beam.tokens) for row, beam in live]
        normaliser = checked_normaliser(logits, [row for row, _ in live], lengths)
        logp = (logits.to(normaliser.dtype) - normaliser[:, None]).double()
        rows = len({row for row, _ in live})
        trace.note(rows=rows, committed=rows, target_positions=len(live))
        grown, parents = extend(live, logp, finished)
        live, kept = [], []
        for (row, beam), parent in zip(grown, parents, strict=True):
            if len(beam.tokens) >= limit or ends(beam.tokens, stop):
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
    return finished


class BeamDecoder(ABC):
    """A decoder that searches with beams and returns the best text; its subclass says how live beams are extended."""

    length_penalty: float

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
        return generation(model, [beams[0] for beams in rows], trace)

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
        """Per row every hypothesis that was kept, best first."""
        prompts = prepare(self, model, prompt, mask, limit, stop)
        with torch.inference_mode():
            found = search(model, prompts, self._extend, limit=limit, stop=stop, trace=trace or Trace())
        return [ranked(row, self.length_penalty) for row in found]

    @abstractmethod
    def _extend(
        self, live: Live, logp: Tensor, finished: Sequence[Sequence[Hypothesis]]
    ) -> tuple[list[tuple[int, Hypothesis]], list[int]]:
        """The best continuations of each row, with the beam that each comes from."""


def ranked(finished: Sequence[Hypothesis], length_penalty: float) -> list[Hypothesis]:
    """Best first; among equals the one that finished first."""
    return sorted(finished, key=lambda beam: beam.score(length_penalty), reverse=True)


def generation(model: LanguageModel, best: Sequence[Hypothesis], trace: Trace) -> Generation:
    """One hypothesis per row."""
    for row, hypothesis in enumerate(best):
        streaming.tell(row, hypothesis.tokens)
    longest = max(len(hypothesis.tokens) for hypothesis in best)
    full = lambda values: list(values) + [0] * (longest - len(values))  # noqa: E731
    meter.spend(new_tokens=sum(len(hypothesis.tokens) for hypothesis in best))
    dtype = torch.float64 if model.dtype == torch.float64 else torch.float32
    return Generation(
        torch.tensor([full(hypothesis.tokens) for hypothesis in best], dtype=torch.int64, device=model.device),
        torch.tensor([full(hypothesis.logprobs) for hypothesis in best], dtype=dtype, device=model.device),
        torch.tensor([len(hypothesis.tokens) for hypothesis in best]),
        trace,
    )


def ends(tokens: tuple[int, ...], stop: Stop) -> bool:
    """Whether the last token ends the text, or completes a text that does."""
    if tokens[-1] in stop.tokens:
        return True
    if not stop.texts or stop.decode is None:
        return False
    text = stop.decode(tokens)
    return any(ending in text for ending in stop.texts)
