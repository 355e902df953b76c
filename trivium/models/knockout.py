"""Attention knockout: a block in which some positions cannot attend to some others (Geva et al., arXiv:2304.14767).

with knockout(model, sources=[1, 2], targets=[6], layers=range(10, 15)):
    model(ids)
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from trivium.core.capabilities import require_offers
from trivium.core.protocols import LanguageModel
from trivium.models._selecting import Positions, Selection
from trivium.models.edits import of_heads
from trivium.models.sites import Edit, Heads


@contextmanager
def knockout(
    model: LanguageModel,
    sources: Positions,
    targets: Positions,
    layers: Sequence[int] | Tensor,
    heads: Sequence[int] | Mapping[int, Sequence[int]] | None = None,
    *,
    renormalize: bool = True,
    generated: bool = False,
) -> Iterator[None]:
    """Within the block the targets cannot attend to the sources, in these layers.

    sources, targets: columns counted from the beginning of the text, those in the state included: numbers from 0, or
    bool masks (time,), or (batch, time) where rows differ. layers: numbers; or (batch, depth) bool, of each row its
    own. heads: those that are cut, all by default; by layer where they differ. ``renormalize``: the softmax gives the
    rest what the sources would have got; otherwise their weights are taken out after it, and the rest stays as it was.
    ``generated``: tokens behind the columns that a mask or the numbers reach, as in generation, are targets too.

    Pairs that attention does not look at anyway (a source behind its target) change nothing. Raises ValueError for
    empty sources, targets or layers, for a target left with nothing to attend to, and for layers or heads that the
    model lacks; NotOffered without 'attention'; RuntimeError on exit where no pass reached a target.
    """
    require_offers("knockout", model, ["attention"])
    rows = _rows_of(layers, model.depth)
    by_layer = _heads_of(model, list(rows), heads)
    cut = _Cut(_columns(sources, "sources"), _columns(targets, "targets"), generated)
    cut.insist_on_rest(renormalize and heads is None)
    edits: dict[str, Edit] = {}
    for layer, of_row in rows.items():
        site = f"blocks.{layer}.attn"
        if renormalize:
            edits[f"{site}.scores"] = cut.scores(layer, of_row, by_layer[layer])
        edits[f"{site}.weights"] = cut.weights(layer, of_row, by_layer[layer], keep=renormalize)
    with model.edit(edits):
        yield
    if not cut.reached:
        raise RuntimeError("the knockout never met a target: no pass inside the block had one among its new tokens")


def _columns(positions: Positions, what: str) -> Tensor:
    """(1 or batch, time) bool, up to the last column that is named."""
    found = Selection(positions).given
    given = torch.tensor([found]) if isinstance(found, int) else found
    assert given is not None
    if given.dtype == torch.bool:
        return given if given.ndim == 2 else given[None]
    if int(given.min()) < 0:
        raise ValueError(f"{what} are columns counted from the beginning, from 0; got {int(given.min())}")
    given = given if given.ndim == 2 else given[None]
    marks = torch.zeros(len(given), int(given.max()) + 1, dtype=torch.bool)
    return marks.scatter(1, given, True)


def _rows_of(layers: Sequence[int] | Tensor, depth: int) -> dict[int, Tensor | None]:
    """Layer -> (batch,) bool: the rows in which it is cut; None for all."""
    if isinstance(layers, Tensor) and layers.dtype == torch.bool:
        if layers.ndim != 2 or layers.shape[1] != depth or not layers.any():
            raise ValueError(f"layers of each row are (batch, {depth}) bool, with at least one; got {layers.shape}")
        return {layer: layers[:, layer] for layer in range(depth) if layers[:, layer].any()}
    numbers = [int(layer) for layer in layers]
    if not numbers:
        raise ValueError("name at least one layer to cut attention in")
    if outside := [layer for layer in numbers if not 0 <= layer < depth]:
        raise ValueError(f"there is no layer {outside[0]}; the model has {depth}, numbered from 0")
    return dict.fromkeys(numbers)


def _heads_of(
    model: LanguageModel, layers: Sequence[int], heads: Sequence[int] | Mapping[int, Sequence[int]] | None
) -> dict[int, tuple[int, ...] | None]:
    if heads is None:
        return dict.fromkeys(layers)
    chosen = dict(heads) if isinstance(heads, Mapping) else dict.fromkeys(layers, heads)
    if missing := set(layers) ^ set(chosen):
        raise ValueError(f"heads by layer must name those of exactly the layers {layers}; layer {min(missing)} differs")
    table = model.site_table() if hasattr(model, "site_table") else {}  # type: ignore[operator]
    for layer, some in chosen.items():
        view = getattr(table.get(f"blocks.{layer}.attn.z"), "view", None)
        count = view.heads if isinstance(view, Heads) else None
        if not some:
            raise ValueError(f"name at least one head of layer {layer}, or leave heads out for all")
        if outside := [head for head in some if head < 0 or (count is not None and head >= count)]:
            raise ValueError(f"there is no head {outside[0]} in layer {layer}, which has {count}, numbered from 0")
    return {layer: tuple(some) for layer, some in chosen.items()}


class _Cut:
    """Which targets may not see which sources, found anew for each pass from where its queries stand."""

    def __init__(self, sources: Tensor, targets: Tensor, generated: bool) -> None:
        self.sources, self.targets, self.generated = sources, targets, generated
        self.reached = False

    def insist_on_rest(self, whole: bool) -> None:
        """Raise ValueError, before any pass, where a target could see nothing behind the cut even without padding."""
        if not whole:
            return
        time = self.targets.shape[1]
        sources = _fitted(self.sources, time, False)
        seen = (~sources).cumsum(1) > 0  # whether a column that is no source stands at or before this one
        blind = (self.targets & ~seen).nonzero()
        if len(blind):
            raise ValueError(
                f"position {int(blind[0, 1])} would be left with nothing to attend to: everything up to it is among "
                "the sources; leave at least itself out"
            )

    def pairs(self, tensor: Tensor, of_row: Tensor | None) -> Tensor:
        """(batch, queries, keys) bool, of scores or weights (batch, heads, queries, keys)."""
        batch, _, queries, keys = tensor.shape
        sources = _fitted(self.sources, keys, False).to(tensor.device)
        targets = _fitted(self.targets, keys, self.generated)[:, keys - queries :].to(tensor.device)
        for what, given in (("sources", sources), ("targets", targets), ("layers", of_row)):
            if given is not None and len(given) not in ((batch,) if what == "layers" else (1, batch)):
                raise ValueError(f"{what} are given for {len(given)} rows, and the pass has {batch}")
        self.reached |= bool(targets.any())
        found = (targets[:, :, None] & sources[:, None]).expand(batch, queries, keys)
        return found if of_row is None else found & of_row.to(tensor.device)[:, None, None]

    def scores(self, layer: int, of_row: Tensor | None, heads: tuple[int, ...] | None) -> Edit:
        name = f"blocks.{layer}.attn.scores"

        def edit(tensor: Tensor) -> Tensor:
            return tensor.masked_fill(self._of(tensor, of_row, heads, name), float("-inf"))

        return edit

    def weights(self, layer: int, of_row: Tensor | None, heads: tuple[int, ...] | None, *, keep: bool) -> Edit:
        """After the softmax: take the weights out, or see that something was left."""
        name = f"blocks.{layer}.attn.weights"

        def edit(tensor: Tensor) -> Tensor:
            cut = self._of(tensor, of_row, heads, name)
            if not keep:
                return tensor.masked_fill(cut, 0.0)
            blind = (cut.any(-1) & (tensor.sum(-1) < 0.5)).nonzero()
            if len(blind):
                row, _, query = blind[0].tolist()
                column = query + tensor.shape[3] - tensor.shape[2]
                raise ValueError(
                    f"position {column} of row {row} is left with nothing to attend to in layer {layer}: all that it "
                    "sees are sources; leave at least itself out"
                )
            return tensor

        return edit

    def _of(self, tensor: Tensor, of_row: Tensor | None, heads: tuple[int, ...] | None, name: str) -> Tensor:
        cut = self.pairs(tensor, of_row)[:, None]
        return cut if heads is None else cut & of_heads(tensor, heads, name)


def _fitted(marks: Tensor, columns: int, beyond: bool) -> Tensor:
    """The first so many columns of the marks; those that they do not reach are all marked, or none."""
    short = columns - marks.shape[1]
    if short <= 0:
        return marks[:, :columns]
    return torch.cat([marks, marks.new_full((len(marks), short), beyond)], 1)
