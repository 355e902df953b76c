"""M2R2: a second, faster residual stream through the target's first layers drafts, the other layers verify.

Source
    Bhendawade, Najibi, Naik, Belousova 2025, "M2R2: Mixture of Multi-rate Residuals for Efficient Transformer
    Inference", arXiv:2502.02040; from published summaries, since we had neither the paper's text nor code.
Equation
    slow:         h_{l+1} = h_l + F_l(h_l),   l = 0 .. L-1
    accelerated:  a_0 = h_0,   a_{l+1} = a_l + F_l(a_l) + B_l silu(C_l a_l),   l = 0 .. k-1
    draft of the next token:  head(norm(a_k));   loss = KL( head(norm(h_L)) || head(norm(a_k)) ), the target frozen
Shapes
    token -> two columns of one pass through k layers -> logits (rows, vocab) -> token, ``length`` times; then the kept
    h_k (rows, 1 + length, width) -> layers k .. L-1 in one pass -> logits (rows, 1 + length, vocab) to verify
Cost
    With g drafts per iteration: L (g + 1) position-layers of the slow stream, of which k g while drafting, and k g of
    the accelerated one; g + 1 passes over k layers and one over L - k. 2 rank width parameters per layer. Nothing of
    the accelerated stream stays in the state, and no layer is run twice on a token. ``draft_positions`` of a trace are
    columns of the accelerated stream.
Caveats
    Structure partly reconstructed. A column of the accelerated stream sees the slow keys of earlier positions and its
    own at its own (which of the two the authors read there is not known to us). k, rank and length are ours. One
    interval only, hence one exit; no squared distance in the loss; no loading of experts ahead, which is for
    mixture-of-expert models. Stretches of layers run outside of a compiled step. Without a folder B is 0: then the
    draft is the target's own early exit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from trivium.core import seeds
from trivium.core.method import method
from trivium.core.nouns import Loss
from trivium.core.protocols import LanguageModel, LMOutput, State
from trivium.core.tree import TokenTree
from trivium.data.lessons import Lesson
from trivium.drafting._own import Chaining, Logits, check_drafts
from trivium.drafting._shape import Shape
from trivium.drafting._trained import Trained, rank
from trivium.models.trained import Module
from trivium.models.unembedding import read_off, unembedding

ROWS, PLACES = 4, 32
"""Texts, and positions of each, that one step of training looks at."""


@method(
    title="M2R2, multi-rate residuals",
    source="arXiv:2502.02040",
    year=2025,
    needs=["causal", "state", "gather", "tree", "layers", "sites"],
    lossless=True,
)
@dataclass(frozen=True)
class M2R2(Trained):
    """Self-speculation with an accelerated residual stream."""

    folder: str | None = None
    """Trained adapters, as `trivium draft train m2r2` writes them; None for adapters that add nothing."""
    length: int = 4
    """Tokens drafted before each verification."""
    layers: int | None = None
    """Layers k of the accelerated stream, None for an eighth of the target's. Of new adapters; a folder says its own,
    and so for the rank."""
    rank: int = 32
    """Rank of the adapters."""
    draws: Literal["deterministic", "independent"] = "deterministic"  # type: ignore[assignment]
    """The likeliest token (for matching), or one drawn from the exit's distribution (for rejection)."""

    module_fields = ("layers", "rank")

    def __post_init__(self) -> None:
        check_drafts(self.length, self.draws)
        if self.layers is not None and self.layers < 1:
            raise ValueError(f"layers must be at least 1, got {self.layers}; the stream needs one to run through")
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, got {self.rank}")

    @property
    def depth(self) -> int:
        return self.length

    @property
    def shape(self) -> Shape:
        """A chain of the likeliest tokens."""
        return Shape(tuple((0,) * (depth + 1) for depth in range(self.length)))

    def placed(self, model: LanguageModel) -> int:
        """k: how many layers of this target lie below the exit."""
        below = max(round(model.depth / 8), 1) if self.layers is None else self.layers
        if below >= model.depth:
            raise ValueError(f"the exit lies below the top of the target's {model.depth} layers, got layers={below}")
        return below

    def build(self, model: LanguageModel, *, seed: int = 0) -> "Adapters":
        """Adapters that add nothing yet."""
        return Adapters(self.placed(model), self.rank, model, seed)

    def start(self, model: LanguageModel, *, generator: torch.Generator, logits: Logits) -> "Accelerated":
        module = self.opened(model)
        with torch.no_grad():
            model.read_out(torch.empty(1, 0, model.width, dtype=model.dtype, device=model.device))  # or refuse now
        return Accelerated(self, module, model, generator, logits)

    def loss(self, module: Any, model: LanguageModel, lesson: Lesson, generator: torch.Generator) -> Loss:
        """How far the exit's distribution is from the target's after the same tokens."""
        rows = torch.randperm(len(lesson.ids), generator=generator)[:ROWS].sort().values
        drafted, _, states = self._taught(module, model, lesson, rows, 1, generator)
        with torch.no_grad():
            asked = read_off(states[:, 0], unembedding(model, "m2r2"))
            said = asked.to(torch.promote_types(asked.dtype, torch.float32)).log_softmax(-1)
        guessed = drafted[:, 0].to(said.dtype).log_softmax(-1)
        return Loss((said.exp() * (said - guessed)).sum(), torch.tensor(float(len(said))))

    @torch.no_grad()
    def ranks(self, module: Any, model: LanguageModel, lesson: Lesson) -> Tensor:
        """(places, length): the rank of the right token after the right ones before it, -1 where there is none."""
        found = []
        for rows in torch.arange(len(lesson.ids)).split(ROWS):
            drafted, targets, _ = self._taught(module, model, lesson, rows, self.length, None)
            found.append(rank(drafted, targets))
        return torch.cat(found)

    def _taught(
        self,
        module: "Adapters",
        model: LanguageModel,
        lesson: Lesson,
        rows: Tensor,
        steps: int,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """At places of some rows, each the beginning of so many steps over true tokens: logits of the exit (n, steps,
        vocab), the tokens that came (n, steps), and the target's states (n, steps, width) where they were read."""
        assert lesson.mask is not None
        assert lesson.written is not None
        assert lesson.hidden is not None
        part = Lesson(lesson.ids[rows], lesson.mask[rows], None, lesson.written[rows], lesson.hidden[rows])
        assert part.mask is not None
        assert part.hidden is not None
        time = part.ids.shape[1]
        last, real = part.chosen(PLACES, generator)  # (batch, places): the columns before the pending tokens
        read = (last[..., None] + 1 + torch.arange(steps, device=last.device)).clamp(max=time - 1)
        at = read.flatten(1)  # (batch, places * steps)
        _, a = module.streams(model, part.ids, part.mask, at)
        which, where = real.nonzero().unbind(1)
        targets = part.ahead(which, last[which, where], steps)
        a = a.unflatten(1, read.shape[1:])[real]
        return model.read_out(a), targets, part.hidden[which[:, None], read[which, where]]


class Adapters(Module):
    """C (layers, rank, width), random, and B (layers, width, rank), zero at first."""

    def __init__(self, layers: int, rank: int, model: LanguageModel, seed: int) -> None:
        super().__init__()
        wide = torch.float64 if model.dtype == torch.float64 else torch.float32
        self.layers = layers
        noise = torch.randn(layers, rank, model.width, generator=seeds.generator(seed, "m2r2"))
        self.down = nn.Parameter((noise / model.width**0.5).to(wide))
        self.up = nn.Parameter(torch.zeros(layers, model.width, rank, dtype=wide))

    def forward(self, layer: int, a: Tensor) -> Tensor:
        """What the adapter of a layer adds to the stream (..., width) that enters the layer."""
        return silu(a.to(self.down.dtype) @ self.down[layer].mT) @ self.up[layer].mT

    def streams(self, model: LanguageModel, ids: Tensor, mask: Tensor | None, at: Tensor) -> tuple[Tensor, Tensor]:
        """Of texts (batch, time), padded on the right, h_k (batch, time, width) everywhere and a_k (batch, n, width) at
        the columns ``at`` (batch, n). The slow stream is passed once and without a gradient; the columns of the
        accelerated one go on from its keys, unseen by each other."""
        with torch.no_grad():
            slow, state = model.go_on(0, self.layers, ids=ids, mask=mask)
        past = torch.arange(ids.shape[1], device=at.device) < at[..., None]
        own = torch.eye(at.shape[1], dtype=torch.bool, device=at.device).expand(len(at), -1, -1)
        seen = torch.cat([past, own], -1)[:, None]
        with model.edit(self.along(0)):
            a, _ = model.go_on(0, self.layers, ids=ids.gather(1, at), mask=seen, positions=at, state=state)
        return slow, a

    def pair(self, model: LanguageModel, tokens: Tensor, real: Tensor, state: State) -> tuple[Tensor, State]:
        """One token of each row (rows,) from a state on: h_k and a_k (rows, 2, width), and the state with the slow one
        only, where it is ``real``. Two columns at one place, neither of which sees the other."""
        device, rows = model.device, len(tokens)
        own = torch.eye(2, dtype=torch.bool, device=device).expand(rows, -1, -1)
        with model.edit(self.along(1)):
            return model.go_on(
                0,
                self.layers,
                ids=tokens[:, None].expand(-1, 2).to(device),
                mask=torch.cat([own.new_ones(rows, 2, state.slots), own], 2)[:, None],
                positions=state.next_position[:, None].expand(-1, 2).to(device),
                kept=torch.stack([real, torch.zeros_like(real)], 1).to(device),
                state=state,
            )

    def along(self, column: int) -> dict[str, Callable[[Tensor], Tensor]]:
        """The edits that make an accelerated stream of the columns of a pass from this one on."""
        added: dict[int, Tensor] = {}

        def entering(layer: int) -> Callable[[Tensor], Tensor]:
            def see(stream: Tensor) -> Tensor:
                added[layer] = self(layer, stream[:, column:])
                return stream

            return see

        def leaving(layer: int) -> Callable[[Tensor], Tensor]:
            def add(stream: Tensor) -> Tensor:
                return torch.cat([stream[:, :column], stream[:, column:] + added.pop(layer).to(stream.dtype)], 1)

            return add

        edits = {f"blocks.{layer}.in": entering(layer) for layer in range(self.layers)}
        return edits | {f"blocks.{layer}.out": leaving(layer) for layer in range(self.layers)}


class Accelerated(Chaining):
    """One batch: between a proposal and its verification, the state has the drafts in its lower layers only."""

    name, keeps = "m2r2", True

    def __init__(
        self, settings: M2R2, module: Adapters, model: LanguageModel, generator: torch.Generator, logits: Logits
    ) -> None:
        super().__init__(settings.length, settings.draws, model, generator, logits)
        self.module = module
        self.slow: list[Tensor] = []  # h_k (rows, 1, width) of the pending tokens, of the first drafts, ...

    def feed(self, step: int, tokens: Tensor, real: Tensor, on: Sequence[int]) -> Tensor:
        assert self.state is not None
        hidden, self.state = self.module.pair(self.model, tokens, real, self.state)
        self.slow = [*self.slow[:step], hidden[:, :1]]
        return self.model.read_out(hidden[on, 1:])[:, 0]

    def accompany(self, rows: Sequence[int], trees: Sequence[TokenTree], state: State) -> LMOutput:
        """The upper layers on what the lower ones have seen while drafting, the last draft's lower ones before."""
        device, (drafted, self.state) = self.model.device, (self.state, None)
        if max(map(len, trees)) == 1:
            del drafted
            ids = torch.stack([tree.tokens for tree in trees])
            return self.model(ids.to(device), state=state, keep_state=True)
        own = [self.trees.get(row) for row in rows]
        if drafted is None or list(rows) != self.rows or any(a is not b for a, b in zip(own, trees, strict=True)):
            raise ValueError("m2r2 has run the lower layers on its own drafts only; verify them whole and unchanged")
        sizes = torch.tensor([len(tree) for tree in trees])
        last = torch.stack([tree.tokens[-1] for tree in trees])[:, None].to(device)
        longest = (sizes == sizes.max())[:, None].to(device)
        mask = None if longest.all() else longest
        hidden, drafted = self.model.go_on(0, self.module.layers, ids=last, mask=mask, state=drafted)
        self.passes += 1
        lower = torch.cat([*self.slow, hidden], 1)
        top, whole = self.model.go_on(self.module.layers, self.model.depth, hidden=lower, state=drafted)
        with self.model.capture("final.norm") as read:
            logits = self.model.read_out(top)
        return LMOutput(logits, read["final.norm"], whole)
