"""What drafters with trained parts share: their folder, the model that they belong to, and how they are shaped.

A folder holds ``card.json`` and ``draft.safetensors``. The card names the method, the version of this layout, the
module that the tensors fill, the base model by a hash of its weights, and how often each rank was right at each depth.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from trivium.core.capabilities import require_offers
from trivium.core.errors import BrokenModel, NotFinite
from trivium.core.method import card_of
from trivium.core.protocols import LanguageModel, Partial
from trivium.core.tree import Draw
from trivium.data.lessons import NOTHING
from trivium.drafting._shape import TOP, Shape, guessed
from trivium.models.trained import Module, TrainedFolder
from trivium.models.unembedding import unembedding

WEIGHTS = "draft.safetensors"


class Trained(ABC):
    """A drafter with a trained module. Its fields hold the recipe of a new module; one that is read from a folder is of
    the recipe that the folder's card says."""

    folder: str | None
    nodes: int
    vocabulary: int | None = None
    tree: tuple[tuple[int, ...], ...]

    module_fields: tuple[str, ...] = ()
    """The fields that decide which tensors there are."""

    @property
    @abstractmethod
    def depth(self) -> int:
        """Tokens ahead that the module can guess."""

    @abstractmethod
    def build(self, model: LanguageModel, *, seed: int = 0) -> Module:
        """A new module for this target, in float32, or float64 where the target is."""

    def check(self) -> None:
        """What every such drafter checks when it is made."""
        if self.nodes < 2:
            raise ValueError(f"nodes counts the pending token too, so at least 2 to draft anything; got {self.nodes}")
        if self.vocabulary is not None and self.vocabulary < 1:
            raise ValueError(f"vocabulary must be at least 1 token, got {self.vocabulary}; None guesses among all")
        if self.vocabulary is not None and self.folder is None:
            raise ValueError("vocabulary counts tokens by how often the target wrote them, which only a folder knows")
        shape = Shape(self.tree)
        if self.folder is None and shape.depth > self.depth:
            raise ValueError(f"the tree is {shape.depth} deep, but only {self.depth} tokens are guessed ahead")

    @property
    def draws(self) -> Draw:
        return "deterministic"

    @property
    def card(self) -> dict[str, Any] | None:
        """What the folder says; None for a drafter without one."""
        if self.folder is None:
            return None
        home = _home(self, self.folder)
        card = home.card()
        if not all(len(row) <= TOP and all(0 <= rate <= 1 for rate in row) for row in card["accuracy"]):
            raise BrokenModel(f"{home.path}: accuracies are at most {TOP} shares from 0 to 1 for each depth")
        return card

    @property
    def resolved(self) -> Self:
        """With the recipe of the module that stands in the folder."""
        card = self.card
        return self if card is None else replace(self, **_values(card["module"]))  # type: ignore[type-var]

    @property
    def shape(self) -> Shape:
        """The tree: the given one, or the best of so many nodes by the measured accuracies."""
        own, card = self.resolved, self.card
        if self.tree:
            if (deepest := Shape(self.tree).depth) > own.depth:
                raise ValueError(f"the tree is {deepest} deep, but {self.folder} guesses {own.depth} tokens ahead")
            return Shape(self.tree)
        return Shape.best(guessed(own.depth) if card is None else card["accuracy"], self.nodes)

    @property
    def branches(self) -> bool:
        """Whether trees with siblings may come."""
        return self.shape.branches

    def opened(self, model: LanguageModel) -> Any:
        """The module for this target, in its number format and on its device: from the folder, or a new one.

        Raises ValueError for a folder that was trained for another model, BrokenModel for a damaged one, and NotFinite
        for numbers that are none.
        """
        require_offers(card_of(self).name, model, card_of(self).needs)
        if isinstance(model, Partial):
            return _restricted(self.opened(model.whole), model.kept)
        if self.folder is None:
            return self.build(model).to(model.device, model.dtype).eval()
        home, card = _home(self, self.folder), self.card
        assert card is not None
        home.check(card, model)
        return home.fill(self.resolved.build(model)).to(model.device, model.dtype).eval()

    def reading(self, model: LanguageModel) -> tuple[Any, "Head"]:
        """The module, and the target's head that it is read off with: whole, or the rows of the frequent tokens."""
        module, head = self.opened(model), Head(*unembedding(model, card_of(self).name))
        if self.vocabulary is None or isinstance(model, Partial):  # few tokens are left already
            return module, head
        kept = torch.tensor(self.frequent(model.vocab_size), device=model.device)
        return _restricted(module, kept), head.of(kept)

    def frequent(self, vocab_size: int) -> list[int]:
        """The ``vocabulary`` tokens that the target wrote most often; of those it never wrote, the lowest ids."""
        card = self.card
        assert card is not None
        assert self.vocabulary is not None
        if "frequent" not in card:
            raise ValueError(
                f"{self.folder} does not say which tokens are frequent; train it again, or leave vocabulary"
            )
        ranked = dict.fromkeys([*card["frequent"], *range(vocab_size)])
        return sorted(list(ranked)[: self.vocabulary])  # in the order of ids, so that ties go to the lowest

    def save(
        self,
        module: nn.Module,
        folder: str | Path,
        model: LanguageModel,
        *,
        base: str,
        accuracy: Sequence[Sequence[float]],
        facts: Mapping[str, Any],
    ) -> None:
        """Write tensors and card."""
        _home(self, folder).write(
            module,
            model,
            base=base,
            module={name: getattr(self, name) for name in self.module_fields},
            accuracy=[[round(float(rate), 6) for rate in row] for row in accuracy],
            **facts,
        )


def _home(drafter: Trained, folder: str | Path) -> TrainedFolder:
    card = card_of(drafter)
    return TrainedFolder(
        Path(folder),
        method=card.path,
        what="drafter",
        command=f"trivium draft train {card.name}",
        weights=WEIGHTS,
        entries=("module", "accuracy"),
    )


def _restricted(module: Module, kept: Tensor) -> Module:
    """What the module guesses of these tokens."""
    for name in module.over_vocabulary:
        if (weight := getattr(module, name)) is not None:
            setattr(module, name, nn.Parameter(weight.detach()[..., kept, :]))
    return module


def _values(module: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's lists are our tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in module.items()}


def rank(logits: Tensor, targets: Tensor) -> Tensor:
    """(..., vocab) x (...) -> (...): how many tokens are likelier than the target, at most TOP; -1 for none."""
    own = logits.gather(-1, targets.clamp(min=0)[..., None])
    return (logits > own).sum(-1).clamp(max=TOP).where(targets != NOTHING, -1)


class Head(NamedTuple):
    """A target's head as drafters read hidden states off with it: weight (rows, width), bias (rows,), and the tokens of
    the rows where they are not all there are."""

    weight: Tensor
    bias: Tensor | None
    tokens: Tensor | None = None

    def of(self, kept: Tensor) -> "Head":
        """The rows of these tokens."""
        return Head(self.weight[kept], None if self.bias is None else self.bias[kept], kept)

    @property
    def matrix(self) -> tuple[Tensor, Tensor | None]:
        return self.weight, self.bias


def likeliest(logits: Tensor, name: str, tokens: Tensor | None = None) -> Tensor:
    """(..., rows) -> the TOP likeliest tokens (..., ranks), the best first; ``tokens`` (rows,) where they are not all.
    Raises NotFinite for NaN and infinity, which would be verified in vain."""
    best = logits.topk(min(TOP, logits.shape[-1]))
    if not best.values[..., 0].isfinite().all():  # NaN counts as the largest
        raise NotFinite(f"the guesses of {name} are not finite; use a wider dtype, or train it again")
    return (best.indices if tokens is None else tokens[best.indices]).cpu()


class LastStates:
    """The target's state at the last token of each row that was fed: all that heads on it need to see."""

    reads_prompt = False

    def __init__(self, name: str) -> None:
        self._name = name
        self._states: dict[int, Tensor] = {}

    def observe(self, rows: Sequence[int], nodes: Sequence[Tensor], hidden: Sequence[Tensor]) -> None:
        for row, states in zip(rows, hidden, strict=True):
            self._states[row] = states[-1]

    def last(self, rows: Sequence[int]) -> Tensor:
        """(rows, width). Raises ValueError where the decoder has shown none."""
        return torch.stack([seen(self._states, row, self._name) for row in rows])


def seen(states: Mapping[int, Any], row: int, name: str) -> Any:
    """What is known of a row. Raises ValueError where nothing is."""
    if row not in states:
        raise ValueError(
            f"{name} drafts from the target's hidden states, and was shown none of row {row}; the decoder must call "
            "'observe' after the prompt and after each pass, as speculative does"
        )
    return states[row]
