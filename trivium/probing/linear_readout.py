"""A linear readout: how much of a label a linear map of the activations tells, the plain probe that others are set
against.

Source
    Alain and Bengio 2016, "Understanding intermediate layers using linear classifier probes", arXiv:1610.01644; to be
    reported beside a control as in Hewitt and Liang 2019, arXiv:1909.03368. From memory of both.
Equation
    z = (h - mean) / spread, of the examples that are fitted;   y_hat = W z + b
    logistic   argmin of  sum_i -log softmax(W z_i + b)[y_i] + penalty/2 |W|^2
    ridge      argmin of  sum_i |y_i - W z_i - b|^2 + penalty |W|^2;   classes as one column each, the largest wins
    min_norm   ridge with a penalty of 0: of all W of least error the one of least norm
Shapes
    activations (examples, width), labels (examples,) or (examples, outputs) -> W (width, outputs)
Cost
    Ridge and min_norm: one singular value decomposition. Logistic: some tens of passes over the activations, which are
    first turned to as many columns as they span. Each pass over the examples counts as an evaluation of each.
Caveats
    Labels of whole numbers are classes and are scored by accuracy, others by R^2 against the mean of the examples that
    were fitted, summed over outputs. What a linear map finds need not be what the model uses. A control is no option of
    the probe: ``_readout.readout`` and ``trivium probe`` make one. Where there are more features than examples, the
    penalty decides; None finds the ridge on examples left out, and takes 1 for logistic. Features are standardised,
    which is not the papers' doing: without it, the few outlier dimensions of a language model are all that a penalty
    lets through.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from trivium.core import meter
from trivium.core.method import method
from trivium.core.nouns import Measure
from trivium.nn.least_squares import least_squares, left_out_errors
from trivium.probing._readout import Fitted, Scaling, checked, summed

Solver = Literal["logistic", "ridge", "min_norm"]
ACCURACY = Measure("accuracy", "Accuracy", True)
EXPLAINED = Measure("explained", "R²", True)


@dataclass(frozen=True, eq=False)
class Linear(Fitted):
    """``weight`` (width, outputs) and ``bias`` (outputs,) of standardised activations. ``classes`` (outputs,): which
    class each column stands for, None where labels are values; ``mean`` (outputs,): of the labels that were fitted."""

    scaling: Scaling
    weight: Tensor
    bias: Tensor
    mean: Tensor
    classes: Tensor | None
    penalty: float

    @property
    def measure(self) -> Measure:
        return EXPLAINED if self.classes is None else ACCURACY

    def outputs(self, activations: Tensor) -> Tensor:
        """(examples, width) -> (examples, outputs): values, or what speaks for each class."""
        return self.scaling(activations) @ self.weight + self.bias

    def predict(self, activations: Tensor, groups: Tensor | None = None) -> Tensor:
        """(examples, outputs) values, or (examples,) classes."""
        found = self.outputs(activations)
        return found if self.classes is None else self.classes[found.argmax(1)]

    def tally(self, activations: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor:
        numbers = checked(activations, labels, groups)
        if self.classes is not None:
            if labels.is_floating_point() or labels.ndim > 1:
                raise ValueError(f"this probe reads classes, (examples,) whole numbers; got {labels.dtype}")
            right = (self.predict(activations) == labels.to(activations.device)).double()
            return summed(torch.stack((right, torch.ones_like(right)), 1), numbers)
        wanted = labels.double().reshape(len(labels), -1)
        if wanted.shape[1] != len(self.bias):
            raise ValueError(f"this probe predicts {len(self.bias)} outputs, the labels have {wanted.shape[1]}")
        whole = (wanted - self.mean).square().sum(1)
        left = (wanted - self.predict(activations)).square().sum(1)
        return summed(torch.stack((whole - left, whole), 1), numbers)


@method(title="Linear readout", source="arXiv:1610.01644", year=2016)
@dataclass(frozen=True)
class LinearReadout:
    """A linear map from activations to classes or values."""

    solver: Solver = "logistic"
    """logistic for classes; ridge and min_norm for values, and for classes as columns of 0 and 1."""
    penalty: float | None = None
    """What the squared weights cost; None finds the ridge that does best on examples left out, and is 1 for logistic.
    Of no matter to min_norm."""
    standardise: bool = True
    """Whether features are brought to mean 0 and spread 1 first."""
    steps: int = 200
    """Steps of logistic at most; it stops where nothing changes."""

    reads: ClassVar[tuple[str, ...]] = ("classes", "values")

    def __post_init__(self) -> None:
        if self.solver not in get_args(Solver):
            raise ValueError(f"solver must be one of {', '.join(get_args(Solver))}; got {self.solver!r}")
        if self.penalty is not None and not 0.0 <= self.penalty < math.inf:
            raise ValueError(f"penalty must be at least 0 and finite, got {self.penalty}; None finds one")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def fit(
        self, activations: Tensor, labels: Tensor, *, generator: torch.Generator, groups: Tensor | None = None
    ) -> Linear:
        """Fit; nothing here is random and no example belongs to another, so generator and groups are not used.

        Raises ValueError for labels of another sort, for a single class, and for classes below 0.
        """
        checked(activations, labels, groups)
        if activations.ndim != 2:
            raise ValueError(f"activations must be (examples, width), got {tuple(activations.shape)}")
        x = activations.double()
        scaling = Scaling.standard(x) if self.standardise else Scaling.none(x)
        x = scaling(x)
        if labels.is_floating_point():
            if self.solver == "logistic":
                raise ValueError("logistic reads classes, and these labels are no whole numbers; take solver='ridge'")
            y, classes = labels.double().reshape(len(labels), -1), None
        else:
            if labels.ndim != 1 or int(labels.min()) < 0:
                raise ValueError(f"classes must be (examples,) whole numbers from 0; got {tuple(labels.shape)}")
            classes, which = labels.unique(return_inverse=True)
            if len(classes) < 2:
                raise ValueError(f"all {len(labels)} examples are of class {int(classes[0])}; there is nothing to tell")
            if self.solver == "logistic":
                penalty = 1.0 if self.penalty is None else self.penalty
                weight, bias = self._logistic(x, which, len(classes), penalty)
                return Linear(scaling, weight, bias, bias, classes, penalty)
            y = F.one_hot(which, len(classes)).double()
        return self._least_squares(scaling, x, y, classes)

    def _least_squares(self, scaling: Scaling, x: Tensor, y: Tensor, classes: Tensor | None) -> Linear:
        level, middle = y.mean(0), x.mean(0)
        x = x - middle  # of no matter where they are standardised already
        meter.spend(evaluations=len(x))
        penalty = 0.0 if self.solver == "min_norm" else self.penalty
        if penalty is None:
            penalties = float(x.square().sum()) * torch.logspace(-8, 4, 25, dtype=x.dtype, device=x.device)
            penalty = float(penalties[left_out_errors(x, y - level, penalties, centred=True).argmin()])
        weight = least_squares(x, y - level, penalty, rcond=1e-10)
        return Linear(scaling, weight, level - middle @ weight, level, classes, penalty)

    def _logistic(self, x: Tensor, which: Tensor, classes: int, penalty: float) -> tuple[Tensor, Tensor]:
        """By quasi-Newton steps on all examples. Weights outside what the activations span cost and tell nothing, so
        they are sought inside it."""
        turn = torch.linalg.svd(x, full_matrices=False)[2].mT if x.shape[1] > len(x) else None
        x = x if turn is None else x @ turn
        weight = torch.zeros(x.shape[1] + 1, classes, dtype=x.dtype, device=x.device, requires_grad=True)
        ones = torch.cat((x, torch.ones_like(x[:, :1])), 1)
        solver = torch.optim.LBFGS(
            [weight], max_iter=self.steps, tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            solver.zero_grad()
            meter.spend(evaluations=len(x))
            cost = F.cross_entropy(ones @ weight, which, reduction="sum") + penalty / 2 * weight[:-1].square().sum()
            cost = cost / len(x)
            cost.backward()
            return cost

        with torch.enable_grad():
            solver.step(loss)  # pyright: ignore[reportArgumentType]
        found = weight.detach()
        return (found[:-1] if turn is None else turn @ found[:-1]), found[-1]
