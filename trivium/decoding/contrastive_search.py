"""Contrastive search: a token that is likely, and whose representation is no near copy of an earlier one.

Source
    Su, Lan, Wang, Yogatama, Kong, Collier 2022, "A Contrastive Framework for Neural Text Generation",
    arXiv:2202.06417; Su and Collier 2023, "Contrastive Search Is What You Need For Neural Text Generation",
    arXiv:2210.14140, equation 1.
Equation
    x_{T+1} = argmax_{v in top-k of p} (1 - alpha) p(v) - alpha max_{j <= T} cos(h_v, h_j)
    h_j: what entered the head at token j (after the final norm);   h_v: the same for candidate v after the context
Shapes
    candidates (batch, k), states (batch, k, width), memory (batch, time, width) -> tokens (batch,)
Cost
    One pass of k positions per token on the tree route, one of 1 position for each of k + 1 on the sequential route.
    Memory of time x width numbers per row; similarities of k x time x width.
Caveats
    The candidates of a step are k siblings that share the cache and do not see each other, so no copy of the cache is
    made; the original repeats the cache k times. The chosen candidate's logits serve the next step. Padding never
    enters the penalty (in transformers it once did). The sequential route also runs on models without masks or
    droppable states. A state of norm 0 has cosine 0. alpha 0.6 and k 4 are the authors'
    example for GPT-2 large; other models want other values. The claim was shown for models whose states are isotropic.
"""

import time
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.nouns import Generation, Stop, Trace
from trivium.core.protocols import LanguageModel, State
from trivium.decoding._loop import Prompts, Writer, checked_normaliser, prefill, prepare
from trivium.decoding._pipeline import top_ids


def scores(p: Tensor, similarity: Tensor, alpha: float) -> Tensor:
    """(batch, k) probabilities and (batch, k) largest cosines -> (batch, k)"""
    return (1 - alpha) * p - alpha * similarity


@method(title="Contrastive search", source="arXiv:2202.06417", year=2022, needs=["causal", "state", "tree", "gather"])
@dataclass(frozen=True)
class ContrastiveSearch:
    """Deterministic search that trades likelihood against repetition in representation space."""

    k: int = 4
    """Candidates per step."""
    alpha: float = 0.6
    """Weight of the degeneration penalty; 0 is greedy."""
    route: Literal["tree", "sequential"] = "tree"
    """All candidates in one pass as siblings, or one after another with the memory of plain decoding."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1 candidate, got {self.k}")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha weighs the penalty against the probability, so 0 to 1; got {self.alpha}")
        if self.route not in ("tree", "sequential"):
            raise ValueError(f"route must be 'tree' or 'sequential', got {self.route!r}")

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
        needs = ["causal", "state"] if self.route == "sequential" else []
        prompts = prepare(self, model, prompt, mask, limit, stop, needs)
        if self.k > model.vocab_size:
            raise ValueError(f"k is {self.k} candidates, but the vocabulary has only {model.vocab_size} tokens")
        with torch.inference_mode():
            return self._search(model, prompts, limit, stop)

    def _search(self, model: LanguageModel, prompts: Prompts, limit: int, stop: Stop) -> Generation:
        writer, trace = Writer(len(prompts.ids), limit, stop), Trace()
        started = time.perf_counter()
        out = prefill(model, prompts, whole=True)
        logits, state = out.logits[:, -1], out.state
        memory = Memory(out.hidden, prompts.mask, limit)
        trace.seconds["prefill"] = time.perf_counter() - started
        del out
        rows = list(writer.live)
        while True:
            normaliser = checked_normaliser(logits, rows, [prompts.lengths[row] + len(writer.ids[row]) for row in rows])
            candidates = top_ids(logits, self.k)  # (batch, k)
            logp = logits.gather(1, candidates).to(normaliser.dtype) - normaliser[:, None]
            assert state is not None
            step = _siblings if self.route == "tree" else _one_by_one
            hidden, after, longer = step(model, candidates, state)
            best = scores(logp.exp(), memory.similarity(hidden), self.alpha).argmax(1)  # among equals the likelier
            each = torch.arange(len(rows), device=best.device)
            for at, row in enumerate(rows):
                if row in writer.live:
                    writer.commit(row, (int(candidates[at, best[at]]),), (float(logp[at, best[at]]),))
            trace.note(rows=len(rows), committed=len(rows), target_positions=candidates.numel())
            if not writer.live:
                break
            memory.append(hidden[each, best])
            if longer is None:  # the sequential route kept no state: feed what was chosen
                state = model(candidates[each, best][:, None], state=state, keep_state=True, logits_to_keep=1).state
            else:
                state = longer.gather(torch.nn.functional.one_hot(best, self.k).bool())
                del longer  # a longer state that is still held would force a copy of the cache
            logits = after[each, best]
            left = [at for at, row in enumerate(rows) if row in writer.live]
            if len(left) < len(rows):
                index = torch.tensor(left)
                assert state is not None
                rows, logits, state = [rows[at] for at in left], logits[index], state.select(index)
                memory.select(index)
        trace.seconds["choose"] = time.perf_counter() - started - trace.seconds["prefill"]
        return writer.generation(model, trace)


class Memory:
    """Unit states of the real tokens so far, (batch, time, width), in a buffer that fits all that will come."""

    def __init__(self, hidden: Tensor, mask: Tensor | None, limit: int) -> None:
        batch, self.time, width = hidden.shape
        self.units = hidden.new_zeros(batch, self.time + limit, width, dtype=_wide(hidden.dtype))
        self.real = torch.ones(batch, self.time + limit, dtype=torch.bool, device=hidden.device)
        self.units[:, : self.time] = _unit(hidden)
        if mask is not None:
            self.real[:, : self.time] = mask

    def similarity(self, hidden: Tensor) -> Tensor:
        """(batch, k, width) -> (batch, k): the largest cosine with any state held."""
        cosines = _unit(hidden) @ self.units[:, : self.time].mT  # (batch, k, time)
        return cosines.masked_fill(~self.real[:, None, : self.time], -torch.inf).amax(-1)

    def append(self, hidden: Tensor) -> None:
        """(batch, width)"""
        self.units[:, self.time] = _unit(hidden)
        self.time += 1

    def select(self, rows: Tensor) -> None:
        self.units, self.real = self.units[rows], self.real[rows]


def _siblings(model: LanguageModel, candidates: Tensor, state: State) -> tuple[Tensor, Tensor, State | None]:
    """One pass: each candidate sees the past and itself. States (batch, k, width), logits (batch, k, vocab)."""
    batch, k = candidates.shape
    past = torch.ones(k, state.slots, dtype=torch.bool, device=candidates.device)
    alone = torch.eye(k, dtype=torch.bool, device=candidates.device)
    mask = torch.cat([past, alone], 1).expand(batch, 1, -1, -1)
    positions = state.next_position.to(candidates.device)[:, None].expand(-1, k)
    out = model(candidates, mask=mask, positions=positions, state=state, keep_state=True)
    return out.hidden, out.logits, out.state


def _one_by_one(model: LanguageModel, candidates: Tensor, state: State) -> tuple[Tensor, Tensor, State | None]:
    """The same by one pass for each candidate, whose states are let go."""
    hidden, logits = [], []
    for column in candidates.unbind(1):
        out = model(column[:, None], state=state, logits_to_keep=1)
        hidden.append(out.hidden)
        logits.append(out.logits)
    return torch.cat(hidden, 1), torch.cat(logits, 1), None


def _unit(hidden: Tensor) -> Tensor:
    """Rows of length 1; a row of zeros stays one, so that its cosine with anything is 0."""
    return torch.nn.functional.normalize(hidden.to(_wide(hidden.dtype)), dim=-1)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
