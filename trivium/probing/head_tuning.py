"""Head tuning by least squares: a linear head on frozen activations, of least norm where it can fit everything.

Source
    Luo, Wang, Huang 2024, "Investigating the Impact of Model Complexity in Large Language Models", arXiv:2410.00699,
    from its abstract and notes about it; the risk without a ridge is that of Belkin, Hsu and Xu 2020, "Two Models of
    Double Descent for Weak Features", arXiv:1903.07571.
Equation
    W = argmin over W of |Y - X W|^2 + ridge |W|^2;   ridge 0: of all W of least error, the one of least norm
    None: the ridge of least mean over i of  |(y_i - x_i W) / (1 - h_i)|^2,  what W without example i errs on it
    risk = mean over fresh examples of |y - x W|^2
Shapes
    activations (examples, width), labels (examples,) or (examples, outputs) -> W (width, outputs)
Cost
    One singular value decomposition of the activations, examples width min(examples, width), in float64; no pass of a
    model. Every ridge that is tried costs one more product.
Caveats
    Risk as the width grows is lowest at width 0, peaks where the width meets the number of examples and falls again:
    the curve is one of this head, not of language models as such. A ridge that is tuned removes the peak, and so does
    a generous ``rcond``, which is why it is a field and small. Means over repeats are governed by a few at the peak:
    take medians. Widths beyond what the activations span add nothing, so ``rank`` is told beside the head. The ridge is
    tuned on the training examples alone, among 33 from 1e-10 to 1e6 times the largest squared singular value. Labels
    of classes are to be given as numbers.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trivium.core import meter
from trivium.core.method import method
from trivium.core.nouns import Measure
from trivium.nn.least_squares import least_squares, left_out_errors, rank
from trivium.probing._readout import Fitted, checked, summed


@dataclass(frozen=True, eq=False)
class LinearHead(Fitted):
    """A head that was fitted: ``weight`` (width, outputs), ``bias`` (outputs,), the ridge that was used, and how many
    directions the activations had."""

    weight: Tensor
    bias: Tensor
    ridge: float
    rank: int

    @property
    def measure(self) -> Measure:
        return Measure("risk", "Squared error", False)

    def predict(self, activations: Tensor, groups: Tensor | None = None) -> Tensor:
        """(examples, width) -> (examples, outputs) in float64"""
        if activations.ndim != 2 or activations.shape[1] != len(self.weight):
            raise ValueError(
                f"this head reads activations (examples, {len(self.weight)}), got {tuple(activations.shape)}"
            )
        return activations.double() @ self.weight + self.bias

    def tally(self, activations: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor:
        """(groups, 2): squared errors, summed over outputs, and the number of examples. Their ratio is the risk."""
        columns = _columns(activations, labels, groups)
        if columns.shape[1] != len(self.bias):
            raise ValueError(f"this head predicts {len(self.bias)} outputs, the labels have {columns.shape[1]}")
        wrong = (columns - self.predict(activations)).square().sum(1)
        return summed(torch.stack((wrong, torch.ones_like(wrong)), 1), checked(activations, labels, groups))


@method(title="Head tuning by least squares", source="arXiv:2410.00699", year=2024)
@dataclass(frozen=True)
class HeadTuning:
    """A linear head fitted to labels, everything below it frozen."""

    ridge: float | None = 0.0
    """What the squared weights cost; 0: nothing; None: the cost that does best on training examples left out."""
    intercept: bool = False
    """Whether the head has a bias, which costs nothing."""
    rcond: float = 1e-12
    """Singular values below this share of the largest count as none."""

    def __post_init__(self) -> None:
        if self.ridge is not None and not 0.0 <= self.ridge < math.inf:
            raise ValueError(f"ridge must be at least 0 and finite, got {self.ridge}; None finds one")
        if not 0.0 <= self.rcond < 1.0:
            raise ValueError(f"rcond is a share of the largest singular value, so 0 to below 1; got {self.rcond}")

    reads: ClassVar[tuple[str, ...]] = ("values",)

    def fit(
        self, activations: Tensor, labels: Tensor, *, generator: torch.Generator, groups: Tensor | None = None
    ) -> LinearHead:
        """Fit a head. Nothing here is random and no example belongs to another: generator and groups are not used."""
        y = _columns(activations, labels, groups)
        x = activations.double()
        meter.spend(evaluations=len(x))
        from_x, from_y = (t.mean(0) if self.intercept else torch.zeros_like(t[0]) for t in (x, y))
        x, y = x - from_x, y - from_y
        penalty = self._found(x, y) if self.ridge is None else self.ridge
        weight = least_squares(x, y, penalty, self.rcond)
        return LinearHead(weight, from_y - from_x @ weight, penalty, rank(x, self.rcond))

    def _found(self, x: Tensor, y: Tensor) -> float:
        """The ridge of least error on examples left out."""
        if len(x) < 2:
            raise ValueError("a ridge is found on examples left out, so give at least 2, or set ridge")
        largest = float(torch.linalg.matrix_norm(x, 2)) if x.shape[1] else 0.0
        if largest == 0.0:
            return 0.0  # there is nothing to weigh
        penalties = largest**2 * torch.logspace(-10, 6, 33, dtype=x.dtype, device=x.device)
        return float(penalties[left_out_errors(x, y, penalties, centred=self.intercept).argmin()])


def _columns(activations: Tensor, labels: Tensor, groups: Tensor | None) -> Tensor:
    """The labels as (examples, outputs) in float64, once they and the activations are known to fit together."""
    checked(activations, labels, groups)
    if activations.ndim != 2:
        raise ValueError(f"activations must be (examples, width), got {tuple(activations.shape)}")
    return labels.double().reshape(len(labels), -1)
