"""SkipDecode: the further a text has come, the fewer layers its tokens run, the same for every row of a batch.

Source
    Del Corro, Del Giorno, Agarwal, Yu, Awadallah, Mukherjee 2023, "SkipDecode: Autoregressive Skip Decoding with
    Batching and Caching for Efficient LLM Inference", arXiv:2307.02628, section 3.
Equation
    E(t) = round(most - (most - least) t / (length - 1))  for new token t = 0 .. length - 1, then least
    layers run at t:  {0 .. warm - 1}  and  {L - (E(t) - warm) .. L - 1};  the hidden state passes by the others
Shapes
    prompt (batch, time) -> new tokens (batch, at most limit)
Cost
    E(t) of L layers per token, hence E(t) / L of a pass but for embedding and head; the prompt runs all layers.
    Skipped layers write no keys, though their buffers keep the room that the prompt took.
Caveats
    Not lossless: the model is another one at every place of the text, and reported log-probabilities are that one's
    (``law`` gives it whole). Since E never rises, a layer that runs has run at every earlier token, so that no key is
    ever missing. A model that was not trained with skipping bears little of it: the paper fine-tunes first, and its
    pairs of ``most`` and ``least`` per speed-up are not known to us; the default third is ours. Whether the authors
    run the prompt at full depth is not settled; here it is, so that its keys are the model's own. Rows of a batch are
    aligned at their first new token.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from trivium.core.method import card_of, method
from trivium.core.nouns import Generation, Stop
from trivium.core.protocols import LanguageModel
from trivium.decoding._loop import prepare, step_by_step
from trivium.decoding._sampler import Sampler
from trivium.decoding.greedy import Greedy
from trivium.models.depths import FallingDepth


@method(title="SkipDecode", source="arXiv:2307.02628", year=2023, needs=["causal", "state", "layers", "sites"])
@dataclass(frozen=True)
class SkipDecode:
    """Fewer layers for later tokens, without a missing key."""

    most: int | None = None
    """Layers that the first new token runs; None for all."""
    least: int | None = None
    """Layers that the token at ``length`` and all later ones run; None for a third of the model's."""
    warm: int = 1
    """Layers at the bottom that always run."""
    length: int = 128
    """New tokens over which the depth falls."""
    of: Sampler = field(default_factory=Greedy)
    """How a token is drawn: greedy, sampling, top_k, top_p or min_p."""

    def __post_init__(self) -> None:
        _ = self.falling  # checks
        if not isinstance(self.of, Sampler):
            raise TypeError(f"'of' must draw each token from one distribution, got {card_of(self.of).name}")

    @property
    def falling(self) -> FallingDepth:
        return FallingDepth(self.most, self.least, self.warm, self.length)

    def depth(self, t: int, layers: int) -> int:
        """E(t): how many of the model's layers new token t runs."""
        return self.falling.at(t, layers)

    def skipped(self, t: int, layers: int) -> range:
        """The layers that new token t passes by."""
        return self.falling.skipped(t, layers)

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
        self.falling.check(model.depth)
        made = step_by_step(
            self,
            model,
            prompt,
            self.of.pipeline,
            limit=limit,
            generator=generator,
            mask=mask,
            stop=stop,
            within=lambda t: model.skipping(self.skipped(t, model.depth)),
        )
        for at, entry in enumerate(made.trace.iterations):  # the first pass is that of the prompts
            ran = model.depth - (len(self.skipped(at - 1, model.depth)) if at else 0)
            entry["layers"] = ran * entry["target_positions"]
        return made

    @torch.no_grad()
    def law(self, model: LanguageModel, ids: Tensor, prompt: int) -> Tensor:
        """(batch, time, vocab): the logits that this decoder has after each token, by one pass over whole texts of
        which the first ``prompt`` columns were given. No state: layer after layer, each token runs it or not."""
        self.falling.check(model.depth)
        time = ids.shape[1]
        passes = [set(self.skipped(at - prompt, model.depth)) if at >= prompt else set() for at in range(time)]
        with model.capture("blocks.0.in") as seen:
            model(ids)
        hidden = seen["blocks.0.in"]
        for layer in range(model.depth):
            runs = torch.tensor([layer not in skipped for skipped in passes], device=hidden.device)
            hidden = torch.where(runs[:, None], model.layers(layer, layer + 1, hidden), hidden)
        return model.read_out(hidden)
