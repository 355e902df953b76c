"""What the states at one place of a model look like together, over more texts than are held at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trivium.nn.isotropy import iso_score, participation_ratio, top_shares, units


@dataclass(frozen=True)
class Geometry:
    """What else is known of one place, over all tokens of all texts. ``across``: isotropy of tokens of different texts,
    None for a single text; ``centred``: isotropy once the mean is taken away; ``shares``: count -> the share of the
    squared norm in so many dimensions; ``first``: mean norm of the tokens at position 0 over that of all others, where
    position 0 is read."""

    across: float | None
    centred: float
    participation: float
    iso_score: float
    shares: Mapping[int, float]
    first: float | None


@dataclass
class Moments:
    """Sums over tokens at one place: of states, of their squares, of norms at position 0 and elsewhere."""

    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    squares: Tensor = field(default_factory=lambda: torch.zeros(()))
    norms: Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64))

    def add(self, hidden: Tensor, kept: Tensor) -> None:
        wide = hidden[kept].double()
        self.count += len(wide)
        self.total = self.total + wide.sum(0).cpu()
        self.squares = self.squares + wide.square().sum(0).cpu()
        norm = torch.where(kept, hidden.double().norm(dim=-1), 0.0).cpu()
        here = torch.stack((norm[:, 0].sum(), kept[:, 0].sum().cpu(), norm[:, 1:].sum(), kept[:, 1:].sum().cpu()))
        self.norms = self.norms + here

    @property
    def first(self) -> float | None:
        """Mean norm at position 0 over that elsewhere."""
        a, m, b, n = self.norms.tolist()
        return a / m / (b / n) if m and n and b else None

    def kept_dimensions(self, drop: int | tuple[int, ...]) -> Tensor:
        """(kept,) the dimensions that are left. Raises ValueError where there are too few or none of the name."""
        width = len(self.squares)
        gone = self.squares.topk(min(drop, width)).indices.tolist() if isinstance(drop, int) else list(drop)
        if any(not 0 <= one < width for one in gone) or len(set(gone)) >= width:
            raise ValueError(
                f"drop_dims {drop} leaves no dimension of the {width} here, or names one that is not there"
            )
        left = torch.ones(width, dtype=torch.bool)
        left[gone] = False
        return left.nonzero()[:, 0]


class Spread:
    """What the geometry of one place is made of, over all texts."""

    def __init__(self, moments: Moments, kept: Tensor | None) -> None:
        keep = slice(None) if kept is None else kept
        self.count, self.first = moments.count, moments.first
        self.mean, self.squares = (moments.total / moments.count)[keep], moments.squares[keep]
        width = len(self.mean)
        self.covariance = torch.zeros(width, width, dtype=torch.float64)
        self.plain, self.within, self.middle, self.pairs = torch.zeros(width, dtype=torch.float64), 0.0, 0.0, 0

    def add(self, hidden: Tensor, mask: Tensor) -> None:
        """States (rows, time, width) and which of them count (rows, time)."""
        wide = hidden.double().cpu()
        mask = mask.cpu()
        off = wide - self.mean
        self.covariance += off[mask].mT @ off[mask] / self.count
        each = units(wide, mask).sum(1)  # (rows, width)
        self.plain += each.sum(0)
        self.within += float(each.square().sum())
        sizes = mask.sum(1)
        alive = mask & (off.norm(dim=-1) > 0)  # a state that is the mean itself points nowhere, and adds nothing
        self.middle += float(units(off, alive).sum(1).square().sum() - alive.sum())
        self.pairs += int((sizes * (sizes - 1)).sum())

    def geometry(self) -> Geometry:
        other = self.count**2 - self.pairs - self.count  # ordered pairs of tokens of different texts
        across = 1 - (float(self.plain.square().sum()) - self.within) / other if other else None
        return Geometry(
            across,
            1 - self.middle / self.pairs,
            participation_ratio(self.covariance),
            iso_score(self.covariance),
            top_shares(self.squares),
            self.first,
        )
