"""Entropy adaptive decoding: the large model writes where the text is uncertain, the small one elsewhere.

Source
    Simonds 2025, "Entropy Adaptive Decoding: Dynamic Model Switching for Efficient Inference", arXiv:2502.06833,
    section 3.
Equation
    H_t = - sum_v p(v) log2 p(v), p the active model's softmax before temperature and cuts
    H-bar = mean of the last min(window, available) values
    after ``dwell`` tokens of one model:  small -> large  iff  H-bar > threshold;  large -> small  iff  H-bar <= down
Shapes
    prompt (batch, time) -> new tokens (batch, at most limit); entropies (rows,)
Cost
    One pass of the active model per token, and at each switch the other one's pass over what was written meanwhile,
    which the share of tokens hides: the trace counts these as ``catch_up``. Two states.
Caveats
    Not lossless. The paper leaves open which model begins, the dwell, the threshold and whether the window outlasts a
    switch; here all are fields, and the defaults are ours. Entropies of two models are not on one scale, so that near
    the threshold they may swing to and fro: ``down`` sets a lower one for the way back. Each row of a batch switches
    by itself; where rows differ, both models make a pass. Reported log-probabilities are those of the model that wrote
    the token. With no small model the large one plays both parts.
"""

from collections import deque
from dataclasses import dataclass, field
from math import isnan, log
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from trivium.core.method import card_of, method
from trivium.core.nouns import Generation, Stop, Trace
from trivium.core.protocols import LanguageModel
from trivium.decoding._loop import Clock, Prompts, Streams, Writer, checked_normaliser, prepare
from trivium.decoding._pair import Side, check_room, small_of
from trivium.decoding._pipeline import draw, likeliest
from trivium.decoding._sampler import Sampler
from trivium.decoding.greedy import Greedy


@method(title="Entropy adaptive decoding", source="arXiv:2502.06833", year=2025, needs=["causal", "state"])
@dataclass(frozen=True)
class EAD:
    """Switches between a small and the large model by a rolling mean of the entropy."""

    small: LanguageModel | str | None = None
    """The small model: a model, a name or folder to load, or None for the large one itself."""
    threshold: float = 1.0
    """Bits of mean entropy above which the large model takes over; inf never."""
    down: float | None = None
    """Bits at or below which the small one does; None: the same threshold."""
    window: int = 5
    """Tokens over which the entropy is averaged."""
    dwell: int = 10
    """Tokens that a model writes at least before the other takes over."""
    start: Literal["small", "large"] = "small"
    """Which model begins."""
    carry: bool = True
    """The window outlasts a switch; else it begins anew."""
    of: Sampler = field(default_factory=Greedy)
    """How a token is drawn from the active model: greedy, sampling, top_k, top_p or min_p."""

    def __post_init__(self) -> None:
        if isnan(self.threshold):
            raise ValueError("threshold must be a number of bits, got nan; inf never calls the large model")
        if self.down is not None and not self.down <= self.threshold:
            raise ValueError(f"down must be at most the threshold {self.threshold}, got {self.down}")
        for name in ("window", "dwell"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1 token, got {getattr(self, name)}")
        if self.start not in ("small", "large"):
            raise ValueError(f"start must be 'small' or 'large', got {self.start!r}")
        if not isinstance(self.of, Sampler):
            raise TypeError(f"'of' must draw each token from one distribution, got {card_of(self.of).name}")

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
        self.of.pipeline.check(model.vocab_size)
        small = small_of("ead", self.small, model, ["causal", "state"])
        check_room(small, max(prompts.lengths) + limit)
        with torch.inference_mode():
            return _Run(self, model, small, prompts, limit, stop, generator).write()


def entropy_bits(logits: Float[Tensor, "rows vocab"]) -> Float[Tensor, " rows"]:
    """- sum p log2 p, from 0 for a point mass to log2 of the vocabulary."""
    logp = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    return torch.special.entr(logp.exp()).sum(-1) / log(2)


@dataclass
class Row:
    """One row's place: its text, the model at work, and since how many tokens."""

    text: list[int]
    large: bool
    window: deque[float]
    since: int = 0


class _Run:
    """One batch on its way."""

    def __init__(
        self,
        settings: EAD,
        large: LanguageModel,
        small: LanguageModel,
        prompts: Prompts,
        limit: int,
        stop: Stop,
        generator: torch.Generator,
    ) -> None:
        batch = len(prompts.ids)
        self.settings, self.pipeline = settings, settings.of.pipeline
        self.sides = {True: Side(large, batch), False: Side(small, batch)}
        self.rows = [
            Row(ids.tolist(), settings.start == "large", deque(maxlen=settings.window)) for ids in prompts.rows
        ]
        self.writer, self.streams, self.trace = Writer(batch, limit, stop), Streams(generator, batch), Trace()

    def write(self) -> Generation:
        clock = Clock(self.trace)
        while self.writer.live:
            live, counts, fed = list(self.writer.live), {"committed": 0, "large": 0, "switches": 0, "catch_up": 0}, {}
            passes = {}
            at_work = {large: [row for row in live if self.rows[row].large == large] for large in self.sides}
            for large, side in self.sides.items():
                side.focus(live)
                active, before = at_work[large], (side.passes, side.positions)
                if active:
                    counts["catch_up"] += sum(len(self.rows[row].text) - side.held[row] - 1 for row in active)
                    logits = side.feed({row: self.rows[row].text for row in active})[:, -1]
                    counts["committed"] += len(active)
                    counts["large"] += large * len(active)
                    counts["switches"] += self._step(active, logits)
                passes[large], fed[large] = side.passes - before[0], side.positions - before[1]
                clock.lap("large" if large else "small")
            self.trace.note(
                rows=len(live),
                target_passes=passes[True],
                target_positions=fed[True],
                draft_passes=passes[False],
                draft_positions=fed[False],
                **counts,
            )
        return self.writer.generation(self.sides[True].model, self.trace)

    def _step(self, active: list[int], logits: Tensor) -> int:
        """One token for each of these rows, which one model writes: (rows, vocab) -> how many rows switch."""
        lengths = [len(self.rows[row].text) for row in active]
        normaliser = checked_normaliser(logits, active, lengths)
        written = [self.writer.ids[row] for row in active]
        given = [torch.tensor(self.rows[row].text) for row in active], [*map(len, written)], self.writer.stop.tokens
        if self.pipeline.greedy:
            tokens = likeliest(self.pipeline.penalised(logits, *given))
        else:
            points = torch.tensor([self.streams(row) for row in active], dtype=torch.float64)
            tokens = draw(self.pipeline.probabilities(logits, *given), points.to(logits.device))
        logp = logits.gather(1, tokens[:, None])[:, 0].to(normaliser.dtype) - normaliser
        entropies = entropy_bits(logits).tolist()
        switches = 0
        for row, token, value, bits in zip(active, tokens.tolist(), logp.tolist(), entropies, strict=True):
            self.rows[row].text.append(token)
            self.writer.commit(row, (token,), (value,))
            switches += self._switch(self.rows[row], bits)
        return switches

    def _switch(self, row: Row, bits: float) -> bool:
        """Note an entropy; hand the row over where it is time to."""
        row.window.append(bits)
        row.since += 1
        mean = sum(row.window) / len(row.window)
        settings = self.settings
        down = settings.threshold if settings.down is None else settings.down
        if row.since < settings.dwell or not (mean <= down if row.large else mean > settings.threshold):
            return False
        row.large, row.since = not row.large, 0
        if not settings.carry:
            row.window.clear()
        return True
