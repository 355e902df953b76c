"""What every probe is judged by: examples held out by whole groups, and labels that were dealt out anew.

A score is a ratio of sums over groups, R = sum n_g / sum d_g: right words over words, 1 - squared error over variance,
or a mean over trees. So its standard error over G groups is that of a ratio,

    s^2 = G / (G - 1) sum_g (n_g - R d_g)^2 / (sum_g d_g)^2

The control is the same probe fitted to labels that say nothing of the activations; selectivity is how much better the
true labels do (Hewitt and Liang 2019, "Designing and Interpreting Probes with Control Tasks", arXiv:1909.03368).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from trivium.core.nouns import Measure
from trivium.core.progress import Bar
from trivium.core.protocols import Probing

Deal = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""labels, groups, generator -> labels that say nothing of the activations"""


class Fitted(ABC):
    """A fitted probe: ``score`` follows from ``tally``."""

    @abstractmethod
    def predict(self, activations: Tensor, groups: Tensor | None = None) -> Tensor: ...

    @abstractmethod
    def tally(self, activations: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor: ...

    def score(self, activations: Tensor, labels: Tensor, groups: Tensor | None = None) -> float:
        """The ratio of the sums of ``tally``."""
        return ratio(self.tally(activations, labels, groups))[0]


@dataclass(frozen=True)
class Scaling:
    """Activations as a probe reads them: less what is taken for their mean, and over their spread."""

    mean: Tensor
    spread: Tensor

    @staticmethod
    def standard(activations: Tensor) -> "Scaling":
        """Every feature to mean 0 and spread 1; one that does not vary is left as it is."""
        mean = activations.mean(0)
        spread = (activations - mean).square().mean(0).sqrt()
        return Scaling(mean, torch.where(spread > 0, spread, 1.0))

    @staticmethod
    def common(activations: Tensor) -> "Scaling":
        """All features over one number, the root of their mean square: directions keep their relative lengths, and a
        mean that a probe without a bias may need stays."""
        size = activations.square().mean().sqrt().expand(activations.shape[1])
        return Scaling(torch.zeros_like(activations[0]), torch.where(size > 0, size, 1.0))

    @staticmethod
    def none(activations: Tensor) -> "Scaling":
        """As they are."""
        return Scaling(torch.zeros_like(activations[0]), torch.ones_like(activations[0]))

    def __call__(self, activations: Tensor) -> Tensor:
        if activations.ndim != 2 or activations.shape[1] != len(self.mean):
            raise ValueError(
                f"this probe reads activations (examples, {len(self.mean)}), got {tuple(activations.shape)}"
            )
        return (activations.to(self.mean.dtype) - self.mean) / self.spread


@dataclass(frozen=True)
class Readout:
    """One report of a probe: ``score`` on held-out groups with its 95 % interval over groups (None where there is one
    group), ``control`` by the same probe with dealt labels, and ``selectivity``, how much better the true ones do."""

    measure: str
    score: float
    low: float | None
    high: float | None
    examples: int
    groups: int
    folds: int
    higher_is_better: bool = True
    control: float | None = None
    control_repeats: int = 0
    details: Mapping[str, float] = field(default_factory=dict)
    """What else the probe tells of itself, means over what was held out."""

    @property
    def selectivity(self) -> float | None:
        if self.control is None:
            return None
        return self.score - self.control if self.higher_is_better else self.control - self.score

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "selectivity": self.selectivity}

    def __str__(self) -> str:
        ends = "" if self.low is None or self.high is None else f" [{self.low:.3f}, {self.high:.3f}]"
        control = "" if self.control is None else f", control {self.control:.3f}, selectivity {self.selectivity:.3f}"
        return f"{self.measure} {self.score:.3f}{ends}{control} ({self.groups} groups, {self.folds} folds)"


def checked(activations: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor:
    """The groups, once everything is known to fit together: int64 from 0 in rising order of what was given; every
    example its own where nothing was.

    Raises ValueError for shapes that do not fit and for numbers that are not finite.
    """
    if activations.ndim < 2 or labels.ndim not in (1, 2) or len(activations) != len(labels) or not len(labels):
        raise ValueError(
            "activations must be (examples, width) and labels (examples,) or (examples, outputs), of as many examples; "
            f"got {tuple(activations.shape)} and {tuple(labels.shape)}"
        )
    for name, given in (("activations", activations), ("labels", labels)):
        wrong = ~given.isfinite().flatten(1).all(1) if given.ndim > 1 else ~given.isfinite()
        if wrong.any():
            raise ValueError(f"{name} of examples {wrong.nonzero()[:8, 0].tolist()} are not finite; drop them first")
    return grouped(groups, len(labels)).to(activations.device)


def grouped(groups: Tensor | None, examples: int) -> Tensor:
    """Groups as numbers from 0, in rising order of what was given."""
    if groups is None:
        return torch.arange(examples)
    if groups.shape != (examples,) or groups.is_floating_point():
        raise ValueError(f"groups must be ({examples},) whole numbers, one per example; got {tuple(groups.shape)}")
    return groups.unique(return_inverse=True)[1]


def summed(values: Tensor, groups: Tensor) -> Tensor:
    """(examples, ...) added up by group, groups numbered from 0."""
    count = int(groups.max()) + 1
    return torch.zeros(count, *values.shape[1:], dtype=values.dtype, device=values.device).index_add(0, groups, values)


def ratio(tally: Tensor) -> tuple[float, float | None, float | None]:
    """Score and its 95 % interval over groups, of numerators and denominators (groups, 2)."""
    top, bottom = tally.double().sum(0).tolist()
    if bottom == 0:
        raise ValueError("there is nothing to score: no group has anything that counts")
    score, count = top / bottom, len(tally)
    if count < 2:
        return score, None, None
    off = tally[:, 0].double() - score * tally[:, 1].double()
    error = float((count / (count - 1) * off.square().sum()).sqrt()) / bottom
    half = float(stats.t.ppf(0.975, count - 1)) * error
    return score, score - half, score + half


def folds_of(groups: Tensor, folds: int, generator: torch.Generator) -> Tensor:
    """(examples,) the fold of each example: whole groups, largest first, each to the fold that has least so far.

    Raises ValueError for fewer than two folds, and for fewer groups than folds.
    """
    count = int(groups.max()) + 1
    if not 2 <= folds <= count:
        raise ValueError(f"folds must be at least 2 and at most the {count} groups there are; got {folds}")
    sizes = torch.bincount(groups, minlength=count)
    order = torch.randperm(count, generator=generator)
    order = order[sizes[order].argsort(descending=True, stable=True)]
    fold = torch.zeros(count, dtype=torch.int64)
    filled = [0] * folds
    for group in order.tolist():
        least = min(range(folds), key=filled.__getitem__)
        fold[group] = least
        filled[least] += int(sizes[group])
    return fold[groups]


def dealt(labels: Tensor, groups: Tensor, generator: torch.Generator) -> Tensor:
    """Labels in another order: where every group has one label for all its examples, groups exchange theirs, since
    examples of one group are alike in more than the label; elsewhere examples do."""
    first = torch.zeros(int(groups.max()) + 1, dtype=torch.int64)
    first[groups.flip(0)] = torch.arange(len(groups) - 1, -1, -1)
    own = labels[first]  # of the first example of each group
    if len(own) < len(labels) and torch.equal(own[groups], labels):
        return own[torch.randperm(len(own), generator=generator)][groups]
    return labels[torch.randperm(len(labels), generator=generator)]


def cross_validate(
    method: Probing,
    activations: Tensor,
    labels: Tensor,
    groups: Tensor | None = None,
    folds: int = 5,
    *,
    generator: torch.Generator,
    clusters: Tensor | None = None,
    bar: Bar | None = None,
) -> Readout:
    """Fit on all folds but one, score on that one, each in turn; the interval is over all that was held out as one.

    ``clusters`` (examples,): what is to be held out as one where that is more than a group, such as all sentences of a
    document; by default a group is. Raises ValueError as ``checked`` and ``folds_of`` do, before anything is fitted.
    """
    return _held_out(method, activations, labels, groups, folds, generator, clusters, bar, details=True)


def permutation_control(
    method: Probing,
    activations: Tensor,
    labels: Tensor,
    groups: Tensor | None = None,
    folds: int = 5,
    *,
    generator: torch.Generator,
    clusters: Tensor | None = None,
    repeats: int = 1,
    bar: Bar | None = None,
) -> float:
    """Mean score of the probe on labels that were dealt out anew, as the method deals them or else as ``dealt``."""
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    within = checked(activations, labels, clusters if groups is None else groups).cpu()
    deal: Deal = getattr(method, "dealt", dealt)
    found = []
    for _ in range(repeats):
        anew = deal(labels, within, generator)
        found.append(_held_out(method, activations, anew, groups, folds, generator, clusters, bar).score)
    return sum(found) / len(found)


def readout(
    method: Probing,
    activations: Tensor,
    labels: Tensor,
    groups: Tensor | None = None,
    folds: int = 5,
    *,
    generator: torch.Generator,
    clusters: Tensor | None = None,
    repeats: int = 1,
    bar: Bar | None = None,
) -> Readout:
    """``cross_validate`` and, with ``repeats`` above 0, ``permutation_control``, in one report."""
    held = _held_out(method, activations, labels, groups, folds, generator, clusters, bar, details=True)
    if not repeats:
        return held
    control = permutation_control(
        method,
        activations,
        labels,
        groups,
        folds,
        generator=generator,
        clusters=clusters,
        repeats=repeats,
        bar=bar,
    )
    return replace(held, control=control, control_repeats=repeats)


def _held_out(
    method: Probing,
    activations: Tensor,
    labels: Tensor,
    groups: Tensor | None,
    folds: int,
    generator: torch.Generator,
    clusters: Tensor | None,
    bar: Bar | None,
    *,
    details: bool = False,
) -> Readout:
    numbers = checked(activations, labels, groups).cpu()
    whole = numbers if clusters is None else checked(activations, labels, clusters).cpu()
    of = torch.zeros(int(numbers.max()) + 1, dtype=torch.int64)  # the cluster of each group
    of[numbers] = whole
    if not torch.equal(of[numbers], whole):
        raise ValueError("a group lies in several clusters, so it cannot be held out as one; clusters are of groups")
    fold = folds_of(whole, folds, generator)
    tallies = torch.zeros(int(whole.max()) + 1, 2, dtype=torch.float64)
    measure = Measure("score", "Score")
    told: dict[str, float] = {}
    for number in range(folds):
        out = fold == number
        given = None if groups is None else numbers  # a method may take None to mean something of its own
        of_fitted, of_held = (None, None) if given is None else (given[~out], given[out])
        probe = method.fit(activations[~out], labels[~out], generator=generator, groups=of_fitted)
        found = probe.tally(activations[out], labels[out], of_held).double().cpu()
        tallies.index_add_(0, of[numbers[out].unique()], found)
        measure = probe.measure
        tell = getattr(probe, "details", None) if details else None
        if tell is not None:
            for name, value in tell(activations[out], labels[out], of_held).items():
                told[name] = told.get(name, 0.0) + value * len(found) / (int(numbers.max()) + 1)
        if bar is not None:
            bar.advance()
    score, low, high = ratio(tallies)
    better = measure.higher_is_better is not False
    return Readout(measure.title, score, low, high, len(labels), len(tallies), folds, better, details=told)
