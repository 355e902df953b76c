"""Brain score: how well a linear map of a model's states foretells what subjects' brains did at the same texts.

Source
    AlKhamissi, Tuckute, Bosselut and Schrimpf 2024, "Brain-Like Language Processing via a Shallow Untrained Multihead
    Attention Network", arXiv:2406.15109, after Schrimpf et al. 2021, "The neural architecture of language", PNAS;
    ceilings by Spearman 1910 and Brown 1910.
Equation
    y_v = X w_v + b_v,   w_v by ridge, its penalty by folds inside the training folds;   r_v = corr(y_v, X w_v) held out
    rho_v = 2 h / (1 + h), h the correlation of halves of repeats;   score = mean over subjects of median_v r_v / c_v
    c_v = sqrt(rho_v) ("root"), what a noiseless account would correlate with the mean over repeats; or rho_v itself
Shapes
    activations (stimuli, width), responses (stimuli, voxels) -> W (width, voxels);  Recordings -> one Alignment each
Cost
    One singular value decomposition per fold and inner fold, whatever the number of voxels and penalties.
Caveats
    Folds hold out whole groups (passages, or ``data.recordings.stretches`` of neighbours). Random folds leak what
    neighbours share and inflate scores, the main published criticism; ``measure`` has none. ``fit`` without groups
    takes every example to stand by itself and finds the penalty on each left out. Features are standardised by the
    training folds alone; "whole" keeps their relative lengths, so that a rotation changes nothing. The penalty is each
    voxel's own, so that further voxels change no score. Features of more units fit more: compare equal numbers
    (``probing.localisation``). Published scores divide by ceilings of other kinds. The probe's own score is R^2 over
    held-out groups, voxels at one spread; ``measure`` gives the correlations. Linear CKA and RSA, which fit nothing,
    stand beside it. Data are the user's; simulated subjects only show that it works.
"""

import logging
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from trivium.core import meter
from trivium.core.method import method
from trivium.core.nouns import Measure
from trivium.data.recordings import Recordings
from trivium.nn.alignment import linear_cka, pearson, rsa, split_half
from trivium.nn.ridge import held_out_errors, left_out_errors, ridge
from trivium.probing._readout import Fitted, Scaling, checked, folds_of, grouped, summed

log = logging.getLogger(__name__)

Standardised = Literal["features", "whole"]
Ceiling = Literal["root", "reliability"]


@dataclass(frozen=True, eq=False)
class Encoding(Fitted):
    """``weight`` (width, voxels), ``bias`` (voxels,), the ``mean`` and ``spread`` (voxels,) of the responses that were
    fitted, and each voxel's ``penalty`` (voxels,)."""

    scaling: Scaling
    weight: Tensor
    bias: Tensor
    mean: Tensor
    spread: Tensor
    penalty: Tensor

    measure: ClassVar[Measure] = Measure("explained", "R²", True)

    def predict(self, activations: Tensor, groups: Tensor | None = None) -> Tensor:
        """(stimuli, width) -> (stimuli, voxels)"""
        return self.scaling(activations) @ self.weight + self.bias

    def tally(self, activations: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor:
        numbers = checked(activations, labels, groups)
        wanted = labels.double().reshape(len(labels), -1)
        if wanted.shape[1] != len(self.bias):
            raise ValueError(f"this probe predicts {len(self.bias)} outputs, the labels have {wanted.shape[1]}")
        whole = ((wanted - self.mean) / self.spread).square().sum(1)
        left = ((wanted - self.predict(activations)) / self.spread).square().sum(1)
        return summed(torch.stack((whole - left, whole), 1), numbers)


@dataclass(frozen=True, eq=False)
class Alignment:
    """One subject. ``r`` and ``ceiling`` (voxels,), NaN where a voxel was left out; ``median`` of r, ``normalised`` of
    r over the ceiling (None without repeats), over the voxels that count. ``dropped``: voxels with a response that is
    not finite or that never varies; ``hopeless``: whose ceiling is not above 0. ``cka`` and ``rsa``: of the
    voxels left."""

    r: Tensor
    ceiling: Tensor | None
    median: float
    normalised: float | None
    cka: float
    rsa: float
    dropped: int
    hopeless: int


@method(title="Brain score", source="arXiv:2406.15109", year=2024)
@dataclass(frozen=True)
class BrainScore:
    """Ridge regression from states to responses, held out by passages."""

    folds: int = 5
    inner: int = 5
    """Folds inside the training folds, on which the penalty is chosen."""
    penalties: int = 25
    """How many are tried, from 1e-8 to 1e4 times the features' whole variance."""
    standardise: Standardised = "features"
    """Each feature to spread 1, or all of them by one factor."""
    ceiling: Ceiling = "root"
    splits: int = 20
    """Ways to halve the repeats."""

    reads: ClassVar[tuple[str, ...]] = ("values",)

    def __post_init__(self) -> None:
        for name, least in (("folds", 2), ("inner", 2), ("penalties", 1), ("splits", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name, words in (("standardise", get_args(Standardised)), ("ceiling", get_args(Ceiling))):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} must be one of {', '.join(words)}; got {getattr(self, name)!r}")

    def fit(
        self, activations: Tensor, labels: Tensor, *, generator: torch.Generator, groups: Tensor | None = None
    ) -> Encoding:
        """Fit all voxels. The generator deals groups to the inner folds, and is not used where there are none.

        Raises ValueError for fewer groups than inner folds.
        """
        numbers = checked(activations, labels, groups)
        if activations.ndim != 2 or not labels.is_floating_point():
            raise ValueError(
                f"activations must be (examples, width) and labels values, got {tuple(activations.shape)} and "
                f"{labels.dtype}"
            )
        meter.spend(evaluations=len(activations))
        x, y = activations.double(), labels.double().reshape(len(labels), -1)
        scaling = Scaling.standard(x)
        if self.standardise == "whole":
            scaling = Scaling(scaling.mean, (x.var(0, correction=0).mean().sqrt() or x.new_ones(())).expand(x.shape[1]))
        x, mean, spread = scaling(x), y.mean(0), y.std(0, correction=0)
        spread = torch.where(spread > 0, spread, 1.0)
        whole = float(x.square().sum())
        grid = (whole or 1.0) * torch.logspace(-8, 4, self.penalties, dtype=x.dtype, device=x.device)
        if groups is None:
            errors = left_out_errors(x - x.mean(0), y - mean, grid)
        else:
            errors = held_out_errors(x, y, grid, folds_of(numbers.cpu(), self.inner, generator).to(x.device))
        chosen = grid[errors.argmin(0)]
        return Encoding(scaling, ridge(x, y - mean, chosen), mean, mean, spread, chosen)

    def measure(
        self, activations: Tensor, recordings: Recordings, *, generator: torch.Generator
    ) -> dict[str, Alignment]:
        """Name of each subject -> its alignment. ``activations`` (stimuli, width).

        Raises ValueError for activations of other stimuli, fewer groups than folds, or a subject of whom no voxel is
        left.
        """
        numbers = grouped(recordings.groups, len(recordings.groups))
        if activations.ndim != 2 or len(activations) != len(numbers) or not activations.isfinite().all():
            raise ValueError(
                f"activations must be ({len(numbers)}, width) finite numbers, one row per stimulus; got "
                f"{tuple(activations.shape)}"
            )
        fold = folds_of(numbers, self.folds, generator)
        return {
            name: self._aligned(name, activations, repeats.double(), numbers, fold, generator)
            for name, repeats in recordings.subjects.items()
        }

    def _aligned(
        self, name: str, x: Tensor, repeats: Tensor, groups: Tensor, fold: Tensor, generator: torch.Generator
    ) -> Alignment:
        y = repeats.mean(0)
        alive = y.isfinite().all(0) & (y != y[:1]).any(0)
        if not alive.any():
            raise ValueError(f"{name} has no voxel with finite responses that vary; see how the recording was read")
        y, voxels = y[:, alive], len(alive)
        foretold = torch.zeros_like(y)
        for number in range(self.folds):
            out = fold == number
            probe = self.fit(x[~out], y[~out], generator=generator, groups=groups[~out])
            foretold[out] = probe.predict(x[out]).cpu()
        r = pearson(foretold, y)
        r = torch.where(r.isnan(), 0.0, r)  # what never varies foretells nothing
        top: Tensor | None = None
        normalised, hopeless = None, 0
        if len(repeats) > 1:
            top = split_half(repeats[:, :, alive], generator, self.splits)
            possible = top > 0
            hopeless = int((~possible).sum())
            top = torch.where(possible, top.clamp(min=0).sqrt() if self.ceiling == "root" else top, float("nan"))
            if possible.any():
                normalised = float((r / top)[possible].median())
        dropped = voxels - int(alive.sum())
        if dropped or hopeless:
            log.warning(
                "%s: of %d voxels %d have no finite responses that vary, %d no ceiling above 0; they do not count",
                name, voxels, dropped, hopeless,
            )  # fmt: skip
        counts = torch.ones_like(r, dtype=torch.bool) if top is None or hopeless == len(r) else ~top.isnan()

        def spread(part: Tensor) -> Tensor:
            return torch.full((voxels,), float("nan"), dtype=torch.float64).masked_scatter(alive, part)

        return Alignment(
            spread(r),
            None if top is None else spread(top),
            float(r[counts].median()),
            normalised,
            linear_cka(x, y),
            rsa(x, y) if y.shape[1] > 1 and x.shape[1] > 1 else float("nan"),
            dropped,
            hopeless,
        )


def score(alignments: dict[str, Alignment]) -> float | None:
    """Mean over subjects of the normalised median; None where no subject has a ceiling."""
    known = [each.normalised for each in alignments.values() if each.normalised is not None]
    return sum(known) / len(known) if known else None
