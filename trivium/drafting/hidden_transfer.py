"""Hidden Transfer: guesses of the next tokens travel through the upper layers in the very pass that verifies the last.

Source
    Wu, Liu, Gong, Wang, Li, Wang, Cai, Zhao 2024, "Parallel Decoding via Hidden Transfer for Lossless Large Language
    Model Acceleration", arXiv:2404.12022.
Equation
    z_j = W_j h_n^(t_j),  j = 1..m:  enters above layer t_j at position n + j, seeing what n sees, n and z_1 .. z_j
    draft of the token after position n + j:  head(z_j at the top)
    loss = sum_j KL( p(. | x_<=n+j) || p_draft_j ),  W_j = I at first, the target frozen
Shapes
    tree of N nodes -> N (1 + m) columns of one pass -> logits (batch, N, vocab) to verify, and (batch, N m, vocab), of
    which the m rows of the last accepted node fill the next tree
Cost
    One pass of N (1 + m) positions per iteration and none for drafting. m width^2 parameters. Nothing of the guesses
    stays in the target's state.
Caveats
    The pass runs as the model's own: the columns of the guesses go through the lower layers too, where they carry a
    token that nobody but they can see, and are overwritten by z_j above layer t_j. That is exact for every model whose
    sites can be edited, and costs the m N positions of the lower layers, which a runner of single layers would save. An
    edited pass is never a compiled one. The paper's layers are not known to us; by default they are spread evenly from
    the middle up. The pass over the prompt makes no guesses, so the first pass after it verifies nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trivium.core.method import method
from trivium.core.nouns import Loss
from trivium.core.protocols import LanguageModel, LMOutput, State
from trivium.core.tree import TokenTree
from trivium.data.lessons import NOTHING, Lesson
from trivium.drafting._shape import Shape
from trivium.drafting._trained import Trained, likeliest, rank, seen
from trivium.models.trained import Module
from trivium.models.unembedding import read_off, unembedding

ROWS, PLACES = 2, 32
"""Texts, and positions of each, that one step of training looks at."""


@method(
    title="Hidden Transfer",
    source="arXiv:2404.12022",
    year=2024,
    needs=["causal", "state", "gather", "tree", "sites"],
    lossless=True,
)
@dataclass(frozen=True)
class HiddenTransfer(Trained):
    """Guesses made from hidden states in the middle of the target, finished by its upper layers."""

    folder: str | None = None
    """Trained maps, as `trivium draft train hidden_transfer` writes them; None for the identity."""
    guesses: int = 3
    """Tokens guessed beyond the pending one. Of new maps; a folder says its own, and so for the layers."""
    layers: tuple[int, ...] = ()
    """Layers below each guess, from 1 and in ascending order; empty spreads them from the middle of the target up."""
    nodes: int = 16
    """Size of the tree, the pending token included."""
    tree: tuple[tuple[int, ...], ...] = ()
    """The tree as paths of ranks, such as ((0,), (1,), (0, 0)); empty for the best one by measured accuracies."""

    module_fields = ("guesses", "layers")

    def __post_init__(self) -> None:
        if self.guesses < 1:
            raise ValueError(f"guesses must be at least 1, got {self.guesses}")
        if self.layers and len(self.layers) != self.guesses:
            raise ValueError(f"{self.guesses} guesses need as many layers, got {self.layers}")
        if any(layer < 1 for layer in self.layers) or list(self.layers) != sorted(self.layers):
            raise ValueError(f"layers count from 1 and do not descend, got {self.layers}")
        self.check()

    @property
    def depth(self) -> int:
        return self.guesses

    def placed(self, model: LanguageModel) -> tuple[int, ...]:
        """How many layers of this target lie below each guess."""
        if self.layers and self.layers[-1] >= model.depth:
            raise ValueError(f"layers lie below the top of the target's {model.depth}, got {self.layers}")
        low, high = max(model.depth // 2, 1), model.depth - 1
        if high < 1:
            raise ValueError("a guess needs a layer below and one above it, and this target has only one")
        spread = torch.linspace(low, high, self.guesses + 2)[:-2] if high > low else torch.full((self.guesses,), low)
        return self.layers or tuple(int(layer) for layer in spread)

    def build(self, model: LanguageModel, *, seed: int = 0) -> "Transfer":
        """Maps that leave a state as it is; the seed is not needed for that."""
        return Transfer(self.placed(model), model)

    def start(
        self,
        model: LanguageModel,
        *,
        generator: torch.Generator,
        logits: Callable[[Tensor, Sequence[Tensor]], Tensor],
    ) -> "Transferring":
        return Transferring(self.opened(model), model, self.shape)

    def loss(self, module: Any, model: LanguageModel, lesson: Lesson, generator: torch.Generator) -> Loss:
        """How far the guesses' distributions are from those that the target gives once it has read that far."""
        rows = torch.randperm(len(lesson.ids), generator=generator)[:ROWS].sort().values
        drafted, targets, after = self._taught(module, model, lesson, rows, PLACES, generator)
        known = targets != NOTHING
        with torch.no_grad():
            asked = read_off(after[known], unembedding(model, "hidden_transfer"))
            said = asked.to(torch.promote_types(asked.dtype, torch.float32)).log_softmax(-1)
        guessed = drafted[known].to(said.dtype).log_softmax(-1)
        return Loss((said.exp() * (said - guessed)).sum(), known.sum())

    @torch.no_grad()
    def ranks(self, module: Any, model: LanguageModel, lesson: Lesson) -> Tensor:
        """(places, guesses): the rank of the right token in each guess, TOP where lower, -1 where there is none."""
        found = []
        for rows in torch.arange(len(lesson.ids)).split(ROWS):
            drafted, targets, _ = self._taught(module, model, lesson, rows, PLACES, None)
            found.append(rank(drafted, targets))
        return torch.cat(found)

    def _taught(
        self,
        module: "Transfer",
        model: LanguageModel,
        lesson: Lesson,
        rows: Tensor,
        places: int,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Guesses at places of some rows: logits (n, guesses, vocab), the tokens that came (n, guesses), and the
        target's states (n, guesses, width) before these. The text is passed once; the guesses go on from its state."""
        assert lesson.mask is not None
        assert lesson.written is not None
        assert lesson.hidden is not None
        part = Lesson(lesson.ids[rows], lesson.mask[rows], None, lesson.written[rows], lesson.hidden[rows])
        assert part.mask is not None
        assert part.hidden is not None
        batch, time = part.ids.shape
        at, columns = part.chosen(places, generator)  # (batch, places) columns, and which of them count
        sites = {layer: f"blocks.{layer - 1}.out" for layer in module.layers}
        with torch.no_grad(), model.capture(*set(sites.values())) as below:
            state = model(part.ids, mask=part.mask, keep_state=True, logits_to_keep=1).state
        index = torch.arange(batch, device=at.device)[:, None]
        sources = {layer: below[site][index, at] for layer, site in sites.items()}  # (batch, places, width)
        count, width = at.shape[1], at.shape[1] * self.guesses
        past = torch.arange(time, device=at.device) <= at[..., None]  # (batch, places, time)
        own = torch.ones(self.guesses, self.guesses, device=at.device).tril().bool()
        among = torch.kron(own, torch.eye(count, device=at.device)).bool().expand(batch, -1, -1)
        mask = torch.cat([past.repeat(1, self.guesses, 1), among], -1)[:, None]
        ahead = torch.arange(1, self.guesses + 1, device=at.device).repeat_interleave(count)
        positions = _within(at.repeat(1, self.guesses) + ahead, model)
        edits = {
            sites[layer]: module.entering(layer, sources[layer], slice(0, width))
            for layer in dict.fromkeys(module.layers)
        }
        with model.edit(edits):
            blank = part.ids.new_zeros(batch, width)
            logits = model(blank, mask=mask, positions=positions, state=state).logits
        drafted = logits.unflatten(1, (self.guesses, count)).transpose(1, 2)[columns]
        which, where = columns.nonzero().unbind(1)
        from_ = at[which, where]
        targets = part.ahead(which, from_, self.guesses)
        before = (from_[:, None] + 1 + torch.arange(self.guesses, device=at.device)).clamp(max=time - 1)
        return drafted, targets, part.hidden[which[:, None], before]


def _within(positions: Tensor, model: LanguageModel) -> Tensor:
    """Guesses beyond the last position of the model stand at it; there is no room for what they guess anyway."""
    return positions if model.max_positions is None else positions.clamp(max=model.max_positions - 1)


class Transfer(Module):
    """W (guesses, width, width), the identity at first; and the layers below each guess."""

    def __init__(self, layers: tuple[int, ...], model: LanguageModel) -> None:
        super().__init__()
        wide = torch.float64 if model.dtype == torch.float64 else torch.float32
        self.layers = layers
        self.maps = nn.Parameter(torch.eye(model.width, dtype=wide).repeat(len(layers), 1, 1))

    def entering(self, layer: int, source: Tensor | None, columns: slice) -> Callable[[Tensor], Tensor]:
        """The edit above a layer: the columns of its guesses become W_j of the states (batch, n, width) that they are
        made from; those of the same pass that stand before ``columns`` where no source is given."""

        def edit(stream: Tensor) -> Tensor:
            given = stream[:, : columns.start] if source is None else source
            size, pieces = given.shape[1], [stream[:, : columns.start]]
            for guess, below in enumerate(self.layers):
                here = stream[:, columns.start + guess * size : columns.start + (guess + 1) * size]
                pieces.append(
                    (given.to(self.maps.dtype) @ self.maps[guess].mT).to(stream.dtype) if below == layer else here
                )
            return torch.cat(pieces, 1)

        return edit


class Transferring:
    """One batch: the guesses that stand beside the last accepted node of each row."""

    reads_prompt = False

    def __init__(self, module: Transfer, model: LanguageModel, shape: Shape) -> None:
        self.module, self.model, self.shape = module, model, shape
        self.passed: tuple[dict[int, int], Tensor] | None = None  # row -> place in the pass, logits of the guesses
        self.tops: dict[int, Tensor | None] = {}  # row -> (guesses, ranks), None before there was a pass with guesses

    def accompany(self, rows: Sequence[int], trees: Sequence[TokenTree], state: State) -> LMOutput:
        """Nodes first, then all first guesses, then all second ones."""
        count, nodes, slots = len(self.module.layers), max(map(len, trees)), state.slots
        total = nodes * (1 + count)
        ids = torch.zeros(len(trees), total, dtype=torch.int64)
        new = torch.zeros(len(trees), total, total, dtype=torch.bool)
        positions = state.next_position[:, None].repeat(1, total)
        own = torch.arange(nodes)
        for at, tree in enumerate(trees):
            size = len(tree)
            ids[at, :size] = tree.tokens
            depths = torch.nn.functional.pad(tree.depths, (0, nodes - size))
            for guess in range(count + 1):  # guess 0 is the node itself
                here = slice(guess * nodes, guess * nodes + size)
                new[at, here, :size] = tree.visible
                for earlier in range(1, guess + 1):
                    new[at, guess * nodes + own, earlier * nodes + own] = True
                positions[at, guess * nodes : (guess + 1) * nodes] += depths + guess
        mask = torch.cat([torch.ones(len(trees), total, slots, dtype=torch.bool), new], -1)[:, None]
        edits = {
            f"blocks.{layer - 1}.out": self.module.entering(layer, None, slice(nodes, total))
            for layer in dict.fromkeys(self.module.layers)
        }
        device = self.model.device
        where = _within(positions, self.model).to(device)
        with self.model.edit(edits):
            out = self.model(ids.to(device), mask=mask.to(device), positions=where, state=state, keep_state=True)
        self.passed = (
            {row: at for at, row in enumerate(rows)},
            out.logits[:, nodes:].unflatten(1, (count, nodes)),
        )
        return LMOutput(out.logits[:, :nodes], out.hidden[:, :nodes], out.state)

    def observe(self, rows: Sequence[int], nodes: Sequence[Tensor], hidden: Sequence[Tensor]) -> None:
        for row, accepted in zip(rows, nodes, strict=True):
            self.tops[row] = None
            if self.passed is not None:
                places, guesses = self.passed
                logits = guesses[places[row], :, int(accepted[-1])]
                self.tops[row] = likeliest(logits, "hidden_transfer")
        self.passed = None

    def propose(self, contexts: Sequence[Tensor], room: Sequence[int]) -> list[TokenTree]:
        trees = [TokenTree.chain(int(context[-1])) for context in contexts]
        for row, most in enumerate(room):
            if most > 0 and (top := seen(self.tops, row, "hidden_transfer")) is not None:
                trees[row] = self.shape.tree(int(contexts[row][-1]), top, most)
        return trees
