"""Dynamic exit of M2R2: where the accelerated stream is sure of the next token, the upper layers are left out.

Source
    Bhendawade, Najibi, Naik, Belousova 2025, "M2R2: Mixture of Multi-rate Residuals for Efficient Transformer
    Inference", arXiv:2502.02040; from published summaries. The streams: see the drafter m2r2.
Equation
    q = softmax(head(norm(a_k)));   exit  iff  max_v q(v) >= threshold:  the next token's law is q's
    else layers k .. L-1 go on from h_k, and the law is the target's
    keys and values above k of a token that exits:  those that layers k .. L-1 make of a_k, which passes by unchanged
Shapes
    token (rows, 1) -> h_k, a_k (rows, 2, width) -> exits (rows,) bool -> logits (rows, 1, vocab)
Cost
    Per token k layers over two columns and the head, then for an exit the key, value and query products of L - k
    layers, else L - k layers and the head once more. Rows of a batch share a pass: as long as one of them goes on, all
    are carried along, so a batch saves only where all exit. Of each iteration the trace tells ``exits``, the
    position-layers that were run (``layers``) and those that only stored (``stored``).
Caveats
    Not lossless, whatever is sampled: exits follow another law, and later tokens read keys made of exit states; ``law``
    gives the whole. A threshold above 1 is never reached: then it is plain decoding, at a higher cost. One exit. The
    gate is the top probability before temperature and cuts; the authors' router, which is trained to foresee agreement
    from summaries of the accelerated states, is left out. Prompts run all layers. Tokens that exit also make queries
    which nobody uses. Without a folder the adapters add nothing, and the exit is the target's own early one.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trivium.core.method import card_of, find, method
from trivium.core.nouns import Generation, Stop
from trivium.core.protocols import Drafter, LanguageModel, LMOutput, State
from trivium.decoding._loop import prepare, step_by_step
from trivium.decoding._sampler import Sampler
from trivium.decoding.greedy import Greedy


@method(
    title="M2R2, dynamic exit",
    source="arXiv:2502.02040",
    year=2025,
    needs=["causal", "state", "gather", "tree", "layers", "sites"],
)
@dataclass(frozen=True)
class M2R2Exit:
    """Leaves the model early for tokens that an accelerated stream is sure of."""

    stream: Drafter = field(default_factory=lambda: find("drafting", "m2r2")(), metadata={"kind": "drafting"})  # noqa: PLW0108
    """An m2r2 drafter, such as m2r2(folder="there"): its adapters and its layers are used, it drafts nothing."""
    threshold: float = 0.9
    """Top probability of the exit from which it is trusted; above 1 never."""
    of: Sampler = field(default_factory=Greedy)
    """How a token is drawn: greedy, sampling, top_k, top_p or min_p."""

    def __post_init__(self) -> None:
        if card_of(self.stream).path != "drafting/m2r2":
            raise TypeError(f"'stream' must be an m2r2 drafter, got {card_of(self.stream).name}")
        if not self.threshold > 0:
            raise ValueError(
                f"threshold must be a positive probability, or above 1 to never exit; got {self.threshold}"
            )
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
        prepare(self, model, prompt, mask, limit, stop)
        module = self._opened(model)
        noted: list[dict[str, int]] = [{"exits": 0}]  # the first pass is that of the prompts
        made = step_by_step(
            self,
            model,
            prompt,
            self.of.pipeline,
            limit=limit,
            generator=generator,
            mask=mask,
            stop=stop,
            step=lambda tokens, state: self._step(module, model, tokens, state, noted),
        )
        for entry, notes in zip(made.trace.iterations, noted, strict=True):
            entry.update(notes)
        return made

    def _opened(self, model: LanguageModel) -> Any:
        stream: Any = self.stream
        return stream.opened(model)

    def _step(
        self, module: Any, model: LanguageModel, tokens: Tensor, state: State, noted: list[dict[str, int]]
    ) -> LMOutput:
        """One token of each row through the lower layers, and of those that do not exit through the upper ones."""
        k, depth, rows = module.layers, model.depth, len(tokens)
        hidden, state = module.pair(model, tokens[:, 0], torch.ones(rows, dtype=torch.bool), state)
        slow, fast = hidden[:, :1], hidden[:, 1:]
        logits = model.read_out(fast)
        exits = self._sure(logits)  # (rows, 1)
        if exits.all():
            top, state = model.go_on(k, depth, hidden=fast, state=state, storing=True)
        else:
            hold = {
                f"blocks.{layer}.out": lambda x: torch.where(exits[..., None], fast, x) for layer in range(k, depth)
            }
            with model.edit(hold if exits.any() else {}):
                top, state = model.go_on(k, depth, hidden=torch.where(exits[..., None], fast, slow), state=state)
            logits = model.read_out(top)
        ran = 0 if exits.all() else rows * (depth - k)
        noted.append(
            {"exits": int(exits.sum()), "layers": 2 * k * rows + ran, "stored": rows * (depth - k) if not ran else 0}
        )
        return LMOutput(logits, top, state)

    def _sure(self, logits: Tensor) -> Tensor:
        """(batch, time, vocab) of the exit -> (batch, time) bool"""
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return wide.softmax(-1).amax(-1) >= self.threshold

    @torch.no_grad()
    def law(self, model: LanguageModel, ids: Tensor, prompt: int) -> Tensor:
        """(batch, time, vocab): the logits that this decoder has after each token, by one pass over whole texts of
        which the first ``prompt`` columns were given. Above the exit layer by layer, exit states passing by."""
        module = self._opened(model)
        batch, time = ids.shape
        everywhere = torch.arange(time, device=ids.device).expand(batch, -1)
        slow, fast = module.streams(model, ids, None, everywhere)
        exits = (self._sure(model.read_out(fast)) & (everywhere >= prompt))[..., None]
        stream = torch.where(exits, fast, slow)
        for layer in range(module.layers, model.depth):
            stream = torch.where(exits, fast, model.layers(layer, layer + 1, stream))
        return model.read_out(stream)
