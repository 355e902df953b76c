"""SkipDecode as a drafter: the target itself drafts with some of its layers skipped, then verifies with all of them.

Source
    The layers: Del Corro, Del Giorno, Agarwal, Yu, Awadallah, Mukherjee 2023, "SkipDecode: Autoregressive Skip Decoding
    with Batching and Caching for Efficient LLM Inference", arXiv:2307.02628, section 3. A target that drafts with
    skipped layers: Zhang et al. 2023, "Draft & Verify: Lossless Large Language Model Acceleration via Self-Speculative
    Decoding", arXiv:2309.08168 (from memory).
Equation
    E(t) = round(most - (most - least) t / (fall - 1)) for new token t = 0 .. fall - 1, then least
    a draft at t runs the layers  {0 .. warm - 1}  and  {L - (E(t) - warm) .. L - 1};  verification runs all
Shapes
    token (rows, 1) -> logits (rows, vocab) -> token, ``length`` times: a chain for each row
Cost
    E(t) of L layers and the head for each draft, nothing trained, no memory of its own: drafts read the keys that the
    target has written of the text so far, write theirs behind them, and are forgotten.
Caveats
    Lossless, which SkipDecode as a decoder is not. All rows of a batch draft at the depth of the longest. Every layer
    has run on every verified token, so any schedule will do here; the falling one is the paper's, but by default the
    depth stays at half of the layers, for want of a model that was trained to fall. Which layers an untrained model
    misses least differs from model to model (Draft & Verify searches them); ours are always in the middle, right above
    the warm ones. Passes with skipped layers are never compiled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trivium.core.capabilities import require_offers
from trivium.core.method import card_of, method
from trivium.core.protocols import LanguageModel
from trivium.drafting._own import Chaining, Logits, check_drafts
from trivium.models.depths import FallingDepth


@method(
    title="SkipDecode, drafting",
    source="arXiv:2307.02628",
    year=2023,
    needs=["causal", "state", "truncate", "layers"],
    lossless=True,
)
@dataclass(frozen=True)
class SkipDecode:
    """Drafts with the target's own first and last layers."""

    length: int = 4
    """Tokens drafted before each verification."""
    most: int | None = None
    """Layers that drafts run at first; None for half of the target's."""
    least: int | None = None
    """Layers that drafts run after ``fall`` new tokens; None for as many as at first."""
    warm: int = 1
    """Layers at the bottom that always run."""
    fall: int = 128
    """New tokens over which the depth falls."""
    draws: Literal["deterministic", "independent"] = "deterministic"
    """The likeliest token (for matching), or one drawn from the draft's distribution (for rejection)."""

    def __post_init__(self) -> None:
        check_drafts(self.length, self.draws)
        if self.fall < 1:
            raise ValueError(f"fall must be at least 1 new token, got {self.fall}")
        FallingDepth(self.most, self.least, self.warm, self.fall)  # checks

    def falling(self, layers: int) -> FallingDepth:
        """The depths for a target of so many layers."""
        most = max(self.warm + 1, round(layers / 2)) if self.most is None else self.most
        depths = FallingDepth(most, most if self.least is None else self.least, self.warm, self.fall)
        depths.check(layers)
        return depths

    def start(self, model: LanguageModel, *, generator: torch.Generator, logits: Logits) -> "Skipping":
        require_offers("skip_decode", model, card_of(self).needs)
        return Skipping(self, model, generator, logits)


class Skipping(Chaining):
    """One batch. Every row feeds at every step; what rows without a draft feed is not seen."""

    name, keeps = "skip_decode", False

    def __init__(
        self,
        settings: SkipDecode,
        model: LanguageModel,
        generator: torch.Generator,
        logits: Logits,
    ) -> None:
        super().__init__(settings.length, settings.draws, model, generator, logits)
        self.falling = settings.falling(model.depth)

    def feed(self, step: int, tokens: Tensor, real: Tensor, on: Sequence[int]) -> Tensor:
        device = self.model.device
        mask = None if real.all() else real[:, None].to(device)
        with self.model.skipping(self.falling.skipped(self.past + step, self.model.depth)):
            out = self.model(tokens[:, None].to(device), mask=mask, state=self.state, keep_state=True)
        self.state = out.state
        return out.logits[on, -1]
