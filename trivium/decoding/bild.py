"""Big Little Decoder: a small model writes, a large one steps in where it is unsure and takes bad tokens back.

Source
    Kim, Mangalam, Moon, Malik, Mahoney, Gholami, Keutzer 2023, "Speculative Decoding with Big Little Decoder",
    arXiv:2302.07863, section 3.
Equation
    fallback:  the small model writes on while  max_v p_S(v | y) >= fallback,  at most ``run`` tokens
    rollback:  in one pass of the large model, the first tentative y_i with  -log p_L(y_i | y_<i) > rollback  and
               y_i != argmax p_L  is replaced by argmax p_L, and what follows it is dropped
    with no such i, the large model's argmax follows the tentative tokens
Shapes
    prompt (batch, time) -> new tokens (batch, at most limit)
Cost
    One pass of the large model per run, over the run; one of the small model per tentative token. Two states.
Caveats
    Greedy, and not lossless: tentative tokens that the large model merely finds plausible stay. The log is natural.
    Each row has its own run, where the authors' code takes one maximum over the batch; the large model waits until
    every row has a reason for it. A tentative token that is itself the large model's argmax is never rolled back, and
    the scan goes on behind it. A run that reaches the limit or ends the text is checked like any other, so nothing
    leaves unchecked; the authors end at the small model's end token (``verify_end=False``, whose last tokens carry the
    small model's log-probabilities). With no small model the large one plays both parts, which is greedy decoding.
    The paper aligns the small model with the large one on the task; ``training.distil.make_draft`` does so.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.nouns import Generation, Stop, Trace
from trivium.core.protocols import LanguageModel
from trivium.decoding._loop import Clock, Prompts, Writer, checked_normaliser, prepare
from trivium.decoding._pair import Side, check_room, small_of


@method(title="Big Little Decoder", source="arXiv:2302.07863", year=2023, needs=["causal", "state", "truncate"])
@dataclass(frozen=True)
class BiLD:
    """A small model writes, the large one repairs."""

    small: LanguageModel | str | None = None
    """The small model: a model, a name or folder to load, or None for the large one itself."""
    fallback: float = 0.6
    """The large model is called where the small one's top probability is below this; above 1 always."""
    rollback: float = 5.0
    """Nats of surprise of the large model beyond which it takes a token back."""
    run: int = 10
    """Tokens that the small model may write before the large one looks at them."""
    verify_end: bool = True
    """Let the large model check a text that the small one would end."""

    def __post_init__(self) -> None:
        if isnan(self.fallback) or self.fallback < 0:
            raise ValueError(f"fallback is a probability, 0 or more (above 1 always falls back); got {self.fallback}")
        if isnan(self.rollback) or self.rollback < 0:
            raise ValueError(f"rollback is a surprise in nats, 0 or more (inf takes nothing back); got {self.rollback}")
        if self.run < 1:
            raise ValueError(f"run must be at least 1 token of the small model, got {self.run}")

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
        prompts = prepare(self, model, prompt, mask, limit, stop, structured=False)
        small = small_of("bild", self.small, model, ["causal", "state", "truncate"])
        check_room(small, max(prompts.lengths) + limit)
        with torch.inference_mode():
            return _Run(self, model, small, prompts, limit, stop).write()


class _Run:
    """One batch. ``texts``: what is committed, row by row; its last token is the one that the large model has not
    seen."""

    def __init__(
        self, settings: BiLD, large: LanguageModel, small: LanguageModel, prompts: Prompts, limit: int, stop: Stop
    ) -> None:
        batch = len(prompts.ids)
        self.settings, self.stops = settings, frozenset(stop.tokens)
        self.large, self.small = Side(large, batch), Side(small, batch)
        self.texts = [ids.tolist() for ids in prompts.rows]
        self.writer, self.trace = Writer(batch, limit, stop), Trace()
        self.clock = Clock(self.trace)

    def write(self) -> Generation:
        self._look({row: [] for row in self.writer.live}, {})
        self.clock.lap("prefill")
        while self.writer.live:
            for side in (self.large, self.small):
                side.focus(self.writer.live)
            runs, ended = self._little()
            self.clock.lap("draft")
            for row, logprobs in ended.items():
                run = runs.pop(row)
                self._commit(row, run, logprobs, drafted=len(run))
            self._look(runs, ended)
            self.clock.lap("verify")
        return self.writer.generation(self.large.model, self.trace, drafts=True)

    def _little(self) -> tuple[dict[int, list[int]], dict[int, list[float]]]:
        """The small phase: a tentative run per row; and the log-probabilities of runs that end their text unchecked."""
        runs: dict[int, list[int]] = {row: [] for row in self.writer.live}
        said: dict[int, list[float]] = {row: [] for row in self.writer.live}
        ended: dict[int, list[float]] = {}
        going = list(self.writer.live)
        while going:
            logits = self.small.feed({row: self.texts[row] + runs[row] for row in going})[:, -1]
            order = [row for row in self.small.order if row in set(going)]
            normaliser = checked_normaliser(logits, order, [len(self.texts[row]) + len(runs[row]) for row in order])
            best = logits.argmax(-1)
            logp = logits.gather(1, best[:, None])[:, 0].to(normaliser.dtype) - normaliser
            sure = (logp.exp() >= self.settings.fallback).tolist()
            going = []
            for row, token, value, confident in zip(order, best.tolist(), logp.tolist(), sure, strict=True):
                if not confident:
                    continue
                runs[row].append(token)
                said[row].append(value)
                if token in self.stops:
                    if not self.settings.verify_end:
                        ended[row] = said[row]
                elif len(runs[row]) < min(self.settings.run, self.writer.room(row)):
                    going.append(row)
        return runs, ended

    def _look(self, runs: Mapping[int, Sequence[int]], ended: Mapping[int, Sequence[float]]) -> None:
        """The large phase: check every run in one pass, repair it, and commit."""
        unchecked, passes, before = sum(map(len, ended.values())), self.large.passes, self.large.positions
        counts = {"accepted": 0, "rollbacks": 0, "committed": unchecked}
        for row, keep, tokens, logprobs in self._checked(runs) if runs else ():
            counts["rollbacks"] += keep < len(runs[row])
            taken = self._commit(row, tokens, logprobs, drafted=keep)
            counts["accepted"] += min(taken, keep)
            counts["committed"] += taken
        agreed = {row: len(self.texts[row]) - 1 for row in runs}
        for side in (self.large, self.small):
            side.cut(agreed)
        self.trace.note(
            rows=len(runs),
            drafted=sum(map(len, runs.values())) + unchecked,
            verified=sum(map(len, runs.values())),
            unverified=unchecked,
            target_passes=self.large.passes - passes,
            target_positions=self.large.positions - before,
            draft_passes=self.small.passes - self.trace.total("draft_passes"),
            draft_positions=self.small.positions - self.trace.total("draft_positions"),
            **counts,
        )

    def _checked(self, runs: Mapping[int, Sequence[int]]) -> Iterator[tuple[int, int, list[int], list[float]]]:
        """Per row: how much of its run stays, and that with the large model's own token behind it, log-probabilities
        beside."""
        longest = max(map(len, runs.values()))
        logits = self.large.feed({row: [*self.texts[row], *run] for row, run in runs.items()}, keep=longest + 1)
        order = [row for row in self.large.order if row in runs]
        places = [(at, step) for at, row in enumerate(order) for step in range(len(runs[row]) + 1)]
        rows = [order[at] for at, _ in places]
        columns = [logits.shape[1] - 1 - len(runs[row]) + step for row, (_, step) in zip(rows, places, strict=True)]
        used = logits[[at for at, _ in places], columns]  # (tentative tokens, and one more a row; vocab)
        lengths = [len(self.texts[row]) + step for row, (_, step) in zip(rows, places, strict=True)]
        normaliser = checked_normaliser(used, rows, lengths)
        best = used.argmax(-1)
        written = torch.tensor([token for row in order for token in (*runs[row], -1)], device=used.device)
        written = torch.where(written < 0, best, written)
        own, top = (used.gather(1, ids[:, None])[:, 0].to(normaliser.dtype) - normaliser for ids in (written, best))
        wrong = ((-own > self.settings.rollback) & (written != best)).tolist()
        own, top, best, start = own.tolist(), top.tolist(), best.tolist(), 0
        for row in order:
            run, end = list(runs[row]), start + len(runs[row])
            keep = wrong.index(True, start, end) - start if True in wrong[start:end] else len(run)
            at = start + keep
            yield row, keep, [*run[:keep], best[at]], [*own[start:at], top[at]]
            start = end + 1

    def _commit(self, row: int, tokens: Sequence[int], logprobs: Sequence[float], drafted: int) -> int:
        taken = self.writer.commit(row, tokens, logprobs, drafted=drafted)
        self.texts[row].extend(tokens[:taken])
        return taken
