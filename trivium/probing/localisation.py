"""Localisation: the units of a model that respond to language more than to strings of pseudo-words.

Source
    AlKhamissi, Tuckute, Bosselut and Schrimpf 2024, "Brain-Like Language Processing via a Shallow Untrained Multihead
    Attention Network", arXiv:2406.15109, after the localiser of Fedorenko et al. 2010; from notes about both.
Equation
    t_u = Welch's t of unit u, sentences minus strings (``nn.welch``);   units = the count of largest t, over all layers
    response_i = mean over these units of (x_iu - mean_u) / spread_u;   a sentence where it is above the classes' middle
Shapes
    activations (texts, units), labels (texts,) 0 or 1 -> mask (units,), t (units,)
Cost
    Two means and two variances of each unit, in one batched pass; the model's states are one pass over each text.
Caveats
    By default 1 % of the units (the paper takes 4096 of its model's, and 5 % elsewhere). Units that respond *less* to
    sentences are never taken; ``absolute`` tests the sizes of activations, which is said of the authors' code and which
    we have not checked. Their code cuts all inputs to twelve tokens, so that pseudo-words, which are many pieces, lose
    words: here nothing is cut (``models.units.responses``), and pairs agree in letters (``data.localiser``). A unit
    that never changes has t = 0. What is found depends on k: compare with random masks of one size, and replicate on
    held-out pairs (``overlap``). Groups are not looked at: give pairs of one split together.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trivium.core import meter
from trivium.core.method import method
from trivium.core.nouns import Measure
from trivium.nn.welch import largest, welch_t
from trivium.probing._readout import Fitted, Scaling, checked, summed


@dataclass(frozen=True, eq=False)
class LocalisedUnits(Fitted):
    """``mask`` (units,) bool, ``t`` (units,), and what tells the classes apart by them."""

    mask: Tensor
    t: Tensor
    scaling: Scaling
    middle: float
    absolute: bool

    measure: ClassVar[Measure] = Measure("accuracy", "Accuracy", True)

    def select(self, activations: Tensor) -> Tensor:
        """(texts, units) -> (texts, count): what these units do."""
        if activations.ndim != 2 or activations.shape[1] != len(self.mask):
            raise ValueError(f"these are some of {len(self.mask)} units, got activations {tuple(activations.shape)}")
        return activations[:, self.mask.to(activations.device)]

    def response(self, activations: Tensor) -> Tensor:
        """(texts,) mean over the localised units, each at mean 0 and spread 1 over the texts that were fitted."""
        chosen = self.select(activations).double()
        return self.scaling(chosen.abs() if self.absolute else chosen).mean(1)

    def predict(self, activations: Tensor, groups: Tensor | None = None) -> Tensor:
        """(texts,) 1 for a sentence, 0 for a string."""
        return (self.response(activations) > self.middle).long()

    def tally(self, activations: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor:
        numbers = checked(activations, labels, groups)
        right = (self.predict(activations) == _two(labels)).double()
        return summed(torch.stack((right, torch.ones_like(right)), 1), numbers)


@method(title="Localisation of language units", source="arXiv:2406.15109", year=2024)
@dataclass(frozen=True)
class Localisation:
    """Units by a contrast of two classes of texts; class 1 is what they shall respond to."""

    share: float = 0.01
    """Of all units, at least one."""
    count: int | None = None
    """Units in place of a share."""
    absolute: bool = False
    """Test the size of activations rather than their values."""

    reads: ClassVar[tuple[str, ...]] = ("classes",)

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share is a part of all units, above 0 and at most 1; got {self.share}")
        if self.count is not None and self.count < 1:
            raise ValueError(f"count must be at least 1 unit, got {self.count}")

    def fit(
        self, activations: Tensor, labels: Tensor, *, generator: torch.Generator, groups: Tensor | None = None
    ) -> LocalisedUnits:
        """Find the units; nothing here is random and the generator is not used.

        Raises ValueError for labels that are no two classes, fewer than two texts of one, or more units than there are.
        """
        checked(activations, labels, groups)
        if activations.ndim != 2:
            raise ValueError(f"activations must be (examples, width), got {tuple(activations.shape)}")
        first = _two(labels).bool()
        if min(int(first.sum()), int((~first).sum())) < 2:
            raise ValueError(
                f"each class needs two texts, got {int(first.sum())} of class 1 and {int((~first).sum())} of class 0"
            )
        meter.spend(evaluations=len(activations))
        wide = activations.double().abs() if self.absolute else activations.double()
        t = welch_t(wide[first], wide[~first])
        units = len(t)
        mask = largest(t, max(1, round(self.share * units)) if self.count is None else self.count)
        scaling = Scaling.standard(wide[:, mask])
        response = scaling(wide[:, mask]).mean(1)
        middle = float(response[first].mean() + response[~first].mean()) / 2
        return LocalisedUnits(mask, t, scaling, middle, self.absolute)


def _two(labels: Tensor) -> Tensor:
    if labels.ndim != 1 or labels.is_floating_point() or not set(labels.unique().tolist()) <= {0, 1}:
        raise ValueError(
            f"labels must be (examples,) of two classes, 0 and 1; got {labels.dtype} {tuple(labels.shape)}"
        )
    return labels.long()


def overlap(first: Tensor, second: Tensor) -> tuple[float, float]:
    """Of two masks (units,) of one model: the share of the smaller one that is in both, and what random masks of these
    sizes would share."""
    if first.shape != second.shape or not first.any() or not second.any():
        raise ValueError("two masks of one model, neither empty, are needed to say how far they overlap")
    least = min(int(first.sum()), int(second.sum()))
    return int((first & second).sum()) / least, max(int(first.sum()), int(second.sum())) / len(first)
