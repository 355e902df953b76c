"""A surrogate classifier: the first blocks of a model and a linear head, taught to say what the whole model will do.

Source
    Noirot Ferrand, Beugin, Pauley, Sheatsley and McDaniel 2025, "Targeting Alignment: Extracting Safety Classifiers of
    Aligned LLMs", arXiv:2501.16534; settings of the head as in notes about the authors' code.
Equation
    P(refuses) = sigmoid(w . z + b),   z the state of the last position behind block l, brought to mean 0 and spread 1
    argmin by Adam of the binary cross-entropy on a part of the examples, until the other part has not improved for long
Shapes
    activations (prompts, width), labels (prompts,) 0 or 1 -> w (width,), b
Cost
    At most ``epochs`` passes over the activations; no pass of the model.
Caveats
    Labels are what the model *does* (1: it refuses), not what the prompt is. The score is F1 of class 1, which flatters
    where most are refused: read it beside that of the classifier which always refuses, F1 of the other class, and
    balanced accuracy (``evaluation.surrogates``). Standardising is ours: without it, Adam at this rate barely moves
    where a few dimensions are hundreds of times larger than the rest. The part on which training stops is drawn by
    groups where there are such. Examples are ordered by their own numbers first, so that their order changes nothing.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from trivium.core import meter
from trivium.core.method import method
from trivium.core.nouns import Measure
from trivium.nn.folds import stratified_folds
from trivium.probing._readout import Fitted, Scaling, checked, summed


@dataclass(frozen=True, eq=False)
class Refuser(Fitted):
    """``weight`` (width,) and ``bias`` () of standardised activations; ``epochs`` that training took."""

    scaling: Scaling
    weight: Tensor
    bias: Tensor
    epochs: int

    measure: ClassVar[Measure] = Measure("f1", "F1 of class 1", True)

    def logits(self, activations: Tensor) -> Tensor:
        """(prompts, width) -> (prompts,): above 0 for class 1."""
        return self.scaling(activations) @ self.weight + self.bias

    def predict(self, activations: Tensor, groups: Tensor | None = None) -> Tensor:
        """(prompts,) 0 or 1"""
        return (self.logits(activations) > 0).long()

    def tally(self, activations: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor:
        """(groups, 2): twice the hits, and that plus the misses of either sort. Their ratio is F1."""
        numbers = checked(activations, labels, groups)
        said, right = self.predict(activations), _two(labels).to(activations.device)
        hit = 2 * (said * right).double()
        return summed(torch.stack((hit, (said + right).double()), 1), numbers)


@method(title="Surrogate classifier", source="arXiv:2501.16534", year=2025)
@dataclass(frozen=True)
class Surrogate:
    """A linear head on the state of the last position, trained to foretell refusals."""

    rate: float = 1e-3
    batch_size: int = 32
    epochs: int = 500
    """At most."""
    patience: int = 15
    """Epochs without improvement on the part that is held back after which training ends."""
    folds: int = 5
    """One of so many parts is held back for that."""
    standardise: bool = True

    reads: ClassVar[tuple[str, ...]] = ("classes",)

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"rate must be positive, got {self.rate}")
        for name, least in (("batch_size", 1), ("epochs", 1), ("patience", 1), ("folds", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def fit(
        self, activations: Tensor, labels: Tensor, *, generator: torch.Generator, groups: Tensor | None = None
    ) -> Refuser:
        """Train a head. The generator decides what is held back, and the batches.

        Raises ValueError for labels that are no two classes, and where there is one class only.
        """
        numbers = checked(activations, labels, groups)
        if activations.ndim != 2:
            raise ValueError(f"activations must be (examples, width), got {tuple(activations.shape)}")
        y = _two(labels)
        if len(y.unique()) < 2:
            raise ValueError(
                f"all {len(y)} examples are of class {int(y[0])}: where a model always does the same, there is no "
                "classifier to find; give prompts of both sorts"
            )
        x = activations.double()
        scaling = Scaling.standard(x) if self.standardise else Scaling.none(x)
        x, y = scaling(x), y.double().to(x.device)
        # Examples by their own numbers, and groups by their first example, not as they came.
        place = torch.linspace(1, 2, x.shape[1], dtype=x.dtype, device=x.device)
        order = (x @ place).argsort(stable=True)
        x, y, kin = x[order], y[order], numbers.to(x.device)[order]
        first = torch.full_like(kin, len(kin)).scatter_reduce(0, kin, torch.arange(len(kin), device=x.device), "amin")
        held = self._held(y, first[kin].cpu(), generator).to(x.device)
        x = torch.cat((x, torch.ones_like(x[:, :1])), 1)  # the last weight is the bias
        weight = torch.zeros(x.shape[1], dtype=x.dtype, device=x.device, requires_grad=True)
        adam = torch.optim.Adam([weight], lr=self.rate, fused=True)
        best, since, epochs = (float("inf"), torch.zeros_like(x[0])), 0, 0
        fit_x, fit_y = x[~held], y[~held]
        with torch.no_grad():
            while epochs < self.epochs and since < self.patience:
                epochs += 1
                for batch in torch.randperm(len(fit_x), generator=generator).to(x.device).split(self.batch_size):
                    meter.spend(evaluations=len(batch))
                    some = fit_x[batch]
                    off = (some @ weight).sigmoid() - fit_y[batch]  # the gradient of the cross-entropy by the logit
                    weight.grad = off @ some / len(batch)
                    adam.step()
                loss = float(F.binary_cross_entropy_with_logits(x[held] @ weight, y[held]))
                since += 1
                if loss < best[0]:
                    best, since = (loss, weight.detach().clone()), 0
        return Refuser(scaling, best[1][:-1], best[1][-1], epochs)

    def _held(self, y: Tensor, groups: Tensor, generator: torch.Generator) -> Tensor:
        """(examples,) bool: one fold of the examples. Raises ValueError where a class is in one group only, of which
        nothing could be held back."""
        return stratified_folds(y.long().cpu(), groups, min(self.folds, len(groups.unique())), generator) == 0


def _two(labels: Tensor) -> Tensor:
    if labels.ndim != 1 or labels.is_floating_point() or not set(labels.unique().tolist()) <= {0, 1}:
        raise ValueError(
            f"labels must be (examples,) of two classes, 0 and 1; got {labels.dtype} {tuple(labels.shape)}"
        )
    return labels.long()
