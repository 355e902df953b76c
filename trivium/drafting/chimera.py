"""Chimera: a tiny module drafts token by token on the target's own states, seeing what it has drafted before.

Source
    Zeng, Yu et al. 2024, "Chimera: A Lossless Decoding Method for Accelerating Large Language Models Inference by
    Fusing all Tokens", arXiv:2402.15758 (authors and number as we have them, not verified). Guessing among frequent
    tokens: Zhao et al. 2025, "FR-Spec: Accelerating Large-Vocabulary Language Models via Frequency-Ranked Speculative
    Sampling", arXiv:2502.14856.
Equation
    e_i = W_2 R([E(x_{i-2}); E(x_{i-1}); E(x_i)]),   R(z) = z + silu(W_1 z + b_1)
    o = layer(h_0 .. h_{n-1}, e_n, e_{n+1} ..);   logits_j = U_j [h_{n-1}; o_{n+j-1}],   U_j = U_0 M_j
    loss = KL(target || draft) + |o_i - h_i|^2 / width,  both at the places of the drafted tokens
Shapes
    h (time, width) of a row, pending token -> level after level of the tree, (rows, nodes of a level, vocab) each
Cost
    One pass of one layer over the nodes of each level, and one product with the head for each node that has children.
    Parameters 12 width^2 of the encoder, one layer, and 2 width^2 for each step.
Caveats
    The published U_j are trained whole, (vocab, 2 width) for each step. Ours are the target's head U_0 after a trained
    M_j (width, 2 width) that begins as [I I], so that logits begin as head(h) + head(o), as published; for SmolLM2 that
    is 1/85 of the size. The layer is a Llama block of the target's width, whatever the target is made of. Drafted slots
    see the verified states before them, themselves and their own path, in training as in use (the authors' first
    training step lets them see other encodings). We train on the target's own text, each step on true tokens before it,
    not on the module's predictions. W_2 begins as the token's own embedding. Missing tokens repeat a text's first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad, silu

from trivium.core.method import find, method
from trivium.core.nouns import Loss
from trivium.core.protocols import LanguageModel, State
from trivium.core.tree import TokenTree
from trivium.data.lessons import NOTHING, Lesson
from trivium.drafting._shape import TOP, Shape
from trivium.drafting._trained import Head, Trained, likeliest, rank, seen
from trivium.models.trained import Module
from trivium.models.unembedding import read_off, unembedding

ROWS, PLACES = 4, 16
"""Texts, and positions of each, that one step of training looks at."""


@method(
    title="Chimera", source="arXiv:2402.15758", year=2024, needs=["causal", "state", "gather", "tree"], lossless=True
)
@dataclass(frozen=True)
class Chimera(Trained):
    """A tri-gram encoder and one layer over the target's final states."""

    folder: str | None = None
    """A trained module, as `trivium draft train chimera` writes it; None for a new one."""
    steps: int = 5
    """Tokens drafted along a path. Of a new module; a folder says its own, and so for the heads."""
    one_head: bool = False
    """One M for all steps instead of one for each."""
    nodes: int = 26
    """Size of the tree, the pending token included."""
    tree: tuple[tuple[int, ...], ...] = ()
    """The tree as paths of ranks, such as ((0,), (1,), (0, 0)); empty for the best one by measured accuracies."""
    vocabulary: int | None = None
    """Guess only among so many tokens, those that the target wrote most often while this was taught (FR-Spec): drafting
    costs less, and rare tokens are never drafted. None for all; 8192 suits vocabularies of many tokens."""

    module_fields = ("steps", "one_head")

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1 drafted token, got {self.steps}")
        self.check()

    @property
    def depth(self) -> int:
        return self.steps

    def build(self, model: LanguageModel, *, seed: int = 0) -> "Fusing":
        return Fusing(self, model, seed)

    def start(
        self,
        model: LanguageModel,
        *,
        generator: torch.Generator,
        logits: Callable[[Tensor, Sequence[Tensor]], Tensor],
    ) -> "Drafting":
        return Drafting(*self.reading(model), model, self.shape)

    def loss(self, module: Any, model: LanguageModel, lesson: Lesson, generator: torch.Generator) -> Loss:
        """How far the drafts are from what the target says, and the module's states from the target's."""
        rows = torch.randperm(len(lesson.ids), generator=generator)[:ROWS].sort().values
        o, logits, targets, states = self._taught(module, model, lesson, rows, generator)
        known = targets != NOTHING
        with torch.no_grad():
            said = read_off(states[known], unembedding(model, "chimera"))
            said = said.to(torch.promote_types(said.dtype, torch.float32)).log_softmax(-1)
        drafted = logits[known].to(said.dtype).log_softmax(-1)
        divergence = (said.exp() * (said - drafted)).sum()
        apart = (o[known] - states[known].to(o.dtype)).square().mean(-1).sum().to(said.dtype)
        parts = {"divergence": float(divergence.detach()), "apart": float(apart.detach())}
        return Loss(divergence + apart, known.sum(), parts)

    @torch.no_grad()
    def ranks(self, module: Any, model: LanguageModel, lesson: Lesson) -> Tensor:
        """(places, steps): the rank of the right token after the right ones before it, TOP where lower, -1 for none."""
        found = []
        for rows in torch.arange(len(lesson.ids)).split(ROWS):
            _, logits, targets, _ = self._taught(module, model, lesson, rows, None)
            found.append(rank(logits, targets))
        return torch.cat(found)

    def _taught(
        self, module: "Fusing", model: LanguageModel, lesson: Lesson, rows: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """At places of some rows: the module's states (n, steps, width), logits (n, steps, vocab), the tokens that came
        (n, steps), and the target's states (n, steps, width) there. One pass: a row's states, then its places."""
        assert lesson.mask is not None
        assert lesson.written is not None
        assert lesson.hidden is not None
        part = Lesson(lesson.ids[rows], lesson.mask[rows], None, lesson.written[rows], lesson.hidden[rows])
        assert part.hidden is not None
        batch, time = part.ids.shape
        at, real = part.chosen(PLACES, generator)  # (batch, places) last verified columns, and which of them count
        count, steps = at.shape[1], self.steps
        drafted = at[..., None] + 1 + torch.arange(steps, device=at.device)  # (batch, places, steps) columns
        inside = drafted.clamp(max=time - 1)
        index = torch.arange(batch, device=at.device)[:, None]
        grams = (inside.flatten(1)[..., None] + torch.arange(-2, 1, device=at.device)).clamp(min=0)
        with torch.no_grad():
            embedded = model.embed(part.ids[index[..., None], grams])  # (batch, places * steps, 3, width)
        slots = torch.cat([part.hidden.to(module.dtype), module.encode(embedded)], 1)
        mask = torch.zeros(batch, time + count * steps, time + count * steps, dtype=torch.bool, device=at.device)
        mask[:, :time, :time] = torch.ones(time, time, dtype=torch.bool, device=at.device).tril()
        past = torch.arange(time, device=at.device) <= at[..., None]
        mask[:, time:, :time] = past.repeat_interleave(steps, 1)
        own = torch.ones(steps, steps, device=at.device).tril()
        mask[:, time:, time:] = torch.kron(torch.eye(count, device=at.device), own).bool()
        positions = torch.cat([torch.arange(time, device=at.device).expand(batch, -1), drafted.flatten(1)], 1)
        out = module.layer(embeds=slots, mask=mask[:, None], positions=positions)
        o = out.hidden[:, time:].unflatten(1, (count, steps))[real]  # (n, steps, width)
        which, where = real.nonzero().unbind(1)
        last = at[which, where]
        logits = module.logits(
            part.hidden[which, last][:, None].expand(-1, steps, -1),
            o,
            torch.arange(steps, device=at.device).expand(len(o), -1),
            unembedding(model, "chimera"),
        )
        states = part.hidden[which[:, None], inside[which, where]]
        return o, logits, part.ahead(which, last, steps), states


class Fusing(Module):
    """The trained module: encoder, layer, and what stands before the target's head."""

    def __init__(self, recipe: Chimera, model: LanguageModel, seed: int) -> None:
        super().__init__()
        wide = torch.float64 if model.dtype == torch.float64 else torch.float32
        width = model.width
        self.first = nn.Parameter(torch.zeros(3 * width, 3 * width, dtype=wide))
        self.bias = nn.Parameter(torch.zeros(3 * width, dtype=wide))
        eye, nothing = torch.eye(width, dtype=wide), torch.zeros(width, 2 * width, dtype=wide)
        self.second = nn.Parameter(torch.cat([nothing, eye], 1))
        self.mix = nn.Parameter(torch.cat([eye, eye], 1).repeat(1 if recipe.one_head else recipe.steps, 1, 1))
        heads = next(n for n in (width // 64, 8, 4, 2, 1) if n and width % n == 0 and width // n % 2 == 0)
        block = find("architectures", "llama")(width=width, depth=1, heads=heads, context=model.max_positions or 2048)
        self.layer = block.build(1, seed=seed).to(wide)  # it is fed vectors, so a vocabulary of one will do

    def encode(self, grams: Tensor) -> Tensor:
        """(..., 3, width) embeddings -> (..., width)"""
        z = grams.flatten(-2).to(self.first.dtype)
        return linear(z + silu(linear(z, self.first, self.bias)), self.second)

    def logits(self, reference: Tensor, o: Tensor, step: Tensor, head: tuple[Tensor, Tensor | None]) -> Tensor:
        """(..., width) twice, and the step (...) from 0 -> (..., vocab)"""
        both = torch.cat([reference.to(o.dtype), o], -1)
        if len(self.mix) == 1:
            return read_off(linear(both, self.mix[0]), head)
        mixed = linear(both, self.mix.flatten(0, 1)).unflatten(-1, (len(self.mix), -1))  # (..., steps, width)
        return read_off(mixed.gather(-2, step[..., None, None].expand(*step.shape, 1, o.shape[-1]))[..., 0, :], head)


class Drafting:
    """One batch: the layer's state over the verified states of each row, and those it has not been fed yet."""

    reads_prompt = True

    def __init__(self, module: Fusing, head: Head, model: LanguageModel, shape: Shape) -> None:
        self.module, self.head, self.model, self.shape = module, head, model, shape
        self.waiting: dict[int, Tensor] = {}  # row -> states (n, width) not fed yet
        self.last: dict[int, Tensor] = {}  # row -> its last verified state (width,)
        self.order: list[int] = []
        self.state: State | None = None
        self.passes = self.positions = 0  # of the layer so far

    def observe(self, rows: Sequence[int], nodes: Sequence[Tensor], hidden: Sequence[Tensor]) -> None:
        for row, states in zip(rows, hidden, strict=True):
            self.waiting[row] = torch.cat([self.waiting[row], states]) if row in self.waiting else states
            self.last[row] = states[-1]

    def propose(self, contexts: Sequence[Tensor], room: Sequence[int]) -> list[TokenTree]:
        trees = [TokenTree.chain(int(context[-1])) for context in contexts]
        active = [row for row, most in enumerate(room) if most > 0]
        if not active:
            return trees
        reference = torch.stack([seen(self.last, row, "chimera") for row in active])
        o, state = self._catch_up([contexts[row] for row in active], active)
        tokens, ranks = self._grow([contexts[row] for row in active], reference, o, state, max(room))
        for at, row in enumerate(active):
            trees[row] = self.shape.filled(int(contexts[row][-1]), tokens[at, 1:], room[row], ranks)
        return trees

    def _catch_up(self, contexts: list[Tensor], active: list[int]) -> tuple[Tensor, State]:
        """Feed the new verified states and the pending token's encoding: the layer's output there (rows, width), and
        the state with it. What is remembered is the state without it."""
        if self.state is not None and active != self.order:  # rows without room never draft again
            self.state = self.state.select(torch.tensor([self.order.index(row) for row in active]))
        self.order = active
        encoded = self.module.encode(self.model.embed(self._grams(contexts, [[]] * len(active))))
        fresh = [
            torch.cat([self.waiting.pop(row, one[:0]).to(one.dtype), one])
            for row, one in zip(active, encoded[:, None], strict=True)
        ]
        width = max(map(len, fresh))
        embeds = torch.stack([pad(one, (0, 0, width - len(one), 0)) for one in fresh])
        real = torch.arange(width) >= width - torch.tensor([len(one) for one in fresh])[:, None]
        mask = None if real.all() else real.to(embeds.device)
        before, self.state = self.state, None
        out = self.module.layer(embeds=embeds, mask=mask, state=before, keep_state=True)
        self.passes, self.positions = self.passes + 1, self.positions + embeds.shape[0] * width
        assert out.state is not None
        self.state = out.state.truncate(out.state.lengths - 1)
        return out.hidden[:, -1], out.state

    def _grow(
        self, contexts: list[Tensor], reference: Tensor, o: Tensor, state: State, room: int
    ) -> tuple[Tensor, int]:
        """Tokens of every node (rows, nodes), level by level, and how many ranks the vocabulary has. All rows share one
        shape."""
        parents, depths, ranks = self.shape.layout
        parents, depths = pad(parents, (1, 0), value=-1), pad(depths + 1, (1, 0))
        ranks = pad(ranks, (1, 0))
        batch, past = len(contexts), state.slots
        tokens = torch.zeros(batch, len(parents), dtype=torch.int64)
        level, fed = torch.tensor([0]), [0]  # nodes whose outputs are in ``o``; nodes in the state behind the past
        outputs = o[:, None]
        lines = _lines(parents.tolist())
        lengths = state.lengths - 1
        possible = TOP
        for depth in range(min(self.shape.depth, room)):
            step = torch.full((batch, len(level)), depth, device=o.device)
            there = reference[:, None].expand(-1, len(level), -1)
            logits = self.module.logits(there, outputs, step, self.head.matrix)
            tops = likeliest(logits, "chimera", self.head.tokens)  # (rows, nodes of the level, ranks)
            possible = tops.shape[-1]
            below = (depths == depth + 1).nonzero()[:, 0]
            place = torch.searchsorted(level, parents[below])
            tokens[:, below] = tops[:, place, ranks[below].clamp(max=possible - 1)]
            level = below[torch.isin(below, parents)]
            if not len(level) or depth + 1 >= min(self.shape.depth, room):
                break
            paths = [[lines[node] for node in level.tolist()]] * batch
            grams = torch.stack(
                [
                    self._grams([context] * len(level), [tokens[row, line].tolist() for line in paths[row]])
                    for row, context in enumerate(contexts)
                ]
            )
            mask = torch.zeros(len(level), state.slots + len(level), dtype=torch.bool)
            mask[:, :past] = True
            for column, node in enumerate(level.tolist()):
                above = set(lines[node])
                mask[column, [past + at - 1 for at, other in enumerate(fed) if at and other in above]] = True
                mask[column, state.slots + column] = True
            fed += level.tolist()
            where = (lengths[:, None] + depth + 1).expand(-1, len(level))
            embeds = self.module.encode(self.model.embed(grams))
            out = self.module.layer(
                embeds=embeds,
                mask=mask.expand(batch, 1, -1, -1).to(embeds.device),
                positions=where.to(embeds.device),
                state=state,
                keep_state=True,
            )
            self.passes, self.positions = self.passes + 1, self.positions + batch * len(level)
            assert out.state is not None
            outputs, state = out.hidden, out.state
        return tokens, possible

    def _grams(self, contexts: Sequence[Tensor], paths: Sequence[Sequence[int]]) -> Tensor:
        """(rows, 3): the last three tokens of each context with its path behind it."""
        found = []
        for context, path in zip(contexts, paths, strict=True):
            ends = [*context[-3:].tolist(), *path][-3:]
            found.append([ends[0]] * (3 - len(ends)) + ends)
        return torch.tensor(found, device=self.model.device)


def _lines(parents: list[int]) -> list[list[int]]:
    """Per node the nodes from below the root down to it."""
    lines: list[list[int]] = [[]]
    for node, parent in enumerate(parents[1:], 1):
        lines.append([*lines[parent], node])
    return lines
