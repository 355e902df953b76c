"""DoLa: what the last layer says beyond an earlier one, the one that disagrees most with it.

Source
    Chuang, Xie, Luo, Kim, Glass, He 2024, "DoLa: Decoding by Contrasting Layers Improves Factuality in Large Language
    Models", arXiv:2309.03883, equations 1 to 5; layers in buckets of every second one as in the authors' code.
Equation
    q_j = softmax(head(norm(h_j)));   M = argmax_{j in J} JSD(q_N || q_j)
    F(v) = log q_N(v) - log q_M(v)  where  q_N(v) >= alpha max_u q_N(u),  else -inf;   p = softmax(F)
Shapes
    hidden (layers, rows, width) -> logits (layers, rows, vocab) -> F (rows, vocab)
Cost
    One model call per new token, and the head once more for every candidate layer.
Caveats
    Layer j is the stream after j blocks, 0 the embeddings; 'low' is the lower half, 'high' the upper one without the
    last layer, at most 20 layers each, every second. We put the final norm before the head, for every layer: the paper
    writes the head alone, and code that does so contrasts with a stream whose scale the head never saw. The earlier
    layer is chosen for each row by itself; in transformers one serves the whole batch. Where head and embeddings are
    tied, layer 0 mostly says its own token again. The greedy choice under a repetition penalty of 1.2 is the paper's.
    The law needs inner layers at every node, which a draft tree's verifier does not see: speculative decoding refuses
    this decoder.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from trivium.core.method import card_of, method
from trivium.core.nouns import Generation, Stop
from trivium.core.protocols import LanguageModel
from trivium.decoding._loop import prepare, step_by_step
from trivium.decoding._sampler import Sampler
from trivium.decoding.sampling import Sampling

SPAN = 20
"""Layers that a bucket spans at most."""


def divergence(final: Tensor, early: Tensor) -> Tensor:
    """Jensen-Shannon divergence of log-probabilities (rows, vocab) and (layers, rows, vocab) -> (layers, rows)."""
    middle = torch.stack([final.expand_as(early), early]).logsumexp(0) - math.log(2)
    towards = lambda logp: (logp.exp() * (logp - middle)).sum(-1)  # noqa: E731
    return 0.5 * (towards(final) + towards(early))


def contrast(final: Tensor, early: Tensor, alpha: float) -> Tensor:
    """Log-probabilities of the last layer (rows, vocab) and of the candidates (layers, rows, vocab) -> F."""
    chosen = divergence(final, early).argmax(0)  # (rows,); among equals the lowest layer
    premature = early[chosen, torch.arange(len(chosen), device=early.device)]
    plausible = final.exp() >= alpha * final.amax(-1, keepdim=True).exp()
    return (final - premature).masked_fill(~plausible, -torch.inf)


@method(title="DoLa", source="arXiv:2309.03883", year=2023, needs=["causal", "state", "layers", "sites"])
@dataclass(frozen=True)
class DoLa:
    """Decoding by contrasting the last layer with an earlier one."""

    layers: Literal["low", "high"] | tuple[int, ...] = "high"
    """Candidates for the earlier layer: half of the model, or numbers of blocks passed."""
    alpha: float = 0.1
    """Fraction of the top probability below which the last layer rules a token out; 1 leaves the likeliest only."""
    of: Sampler = field(
        default_factory=lambda: Sampling(temperature=0.0, repetition_penalty=1.2), metadata={"kind": "decoding"}
    )
    """The plain decoder that chooses from the contrasted distribution."""

    def __post_init__(self) -> None:
        if not isinstance(self.of, Sampler):
            raise TypeError(f"'of' must draw each token from one distribution, got {card_of(self.of).name}")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha is a fraction of the top probability, so 0 to 1; got {self.alpha}")
        if isinstance(self.layers, str):
            if self.layers not in ("low", "high"):
                raise ValueError(f"layers must be 'low', 'high' or numbers of layers, got {self.layers!r}")
        elif not self.layers or min(self.layers) < 0 or len(set(self.layers)) < len(self.layers):
            raise ValueError(f"layers must be distinct numbers from 0 up, at least one; got {self.layers}")

    def candidates(self, depth: int) -> tuple[int, ...]:
        """The layers to choose from in a model of so many. Raises ValueError where it has none of them."""
        if self.layers == "high":
            return tuple(range(max(depth // 2, depth - SPAN), depth, 2))
        if self.layers == "low":
            found = tuple(range(0, min(depth // 2, SPAN), 2))
            if not found:
                raise ValueError(f"a model of {depth} layers has no lower half; use layers='high' or (0,)")
            return found
        if max(self.layers) >= depth:
            raise ValueError(f"layer {max(self.layers)} is not before the last of this model of {depth} layers")
        return tuple(self.layers)  # type: ignore[arg-type]

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
        prepare(self, model, prompt, mask, limit, stop)  # before any hook is set
        sites = [f"blocks.{layer}.in" for layer in self.candidates(model.depth)]
        with model.capture(*sites) as seen:

            def read(logits: Tensor, rows: Sequence[int]) -> Tensor:
                wide = torch.float32 if logits.dtype in (torch.float16, torch.bfloat16) else logits.dtype
                early = torch.stack([model.read_out(seen[site][:, -1:])[:, 0] for site in sites])
                return contrast(logits.to(wide).log_softmax(-1), early.to(wide).log_softmax(-1), self.alpha)

            return step_by_step(
                self,
                model,
                prompt,
                self.of.pipeline,
                limit=limit,
                generator=generator,
                mask=mask,
                stop=stop,
                read=read,
            )
