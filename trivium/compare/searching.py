"""Search among contenders for the one with the least loss, where each may be tried once and tries are counted.

A search is given points in space, one for each contender, and asks for their values one by one. What it has asked after
so many queries is set against another search at the same number: an equal budget.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from trivium.nn.graphs import Graph, dissimilarities, scaled, stress

Evaluate = Callable[[int, int | None], float]
"""Number of the contender to try, and of the nearest one tried before (from whose weights training may start)."""

CLOSE = 0.1
"""Stress up to which points keep the distances of their graphs."""


@dataclass(frozen=True)
class Trace:
    """What a search has asked, in order, and what it was told."""

    asked: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def best(self) -> int:
        """The contender with the least value; the first of equals."""
        return self.asked[min(range(len(self.asked)), key=lambda at: self.values[at])]

    def regret(self, queries: int, least: float) -> float:
        """How much more than ``least``, the best there is, the best of the first so many queries has."""
        if not 1 <= queries <= len(self.values):
            raise ValueError(f"regret is told after 1 to the {len(self.values)} queries made, not after {queries}")
        return min(self.values[:queries]) - least


class Search(Protocol):
    """A way to choose what to try next."""

    def __call__(
        self,
        points: Tensor,
        evaluate: Evaluate,
        *,
        queries: int,
        generator: torch.Generator,
        known: Mapping[int, float] = {},
    ) -> Trace: ...


@dataclass(frozen=True)
class RandomSearch:
    """The plain baseline: contenders in random order."""

    def __call__(
        self,
        points: Tensor,
        evaluate: Evaluate,
        *,
        queries: int,
        generator: torch.Generator,
        known: Mapping[int, float] = {},
    ) -> Trace:
        choose = lambda values: _any(points, values, generator)  # noqa: E731
        return asked_in_turn(points, evaluate, queries, known, choose)


@dataclass(frozen=True)
class GaussianProcessSearch:
    """A Gaussian process over the points; next is the one with the least mean - beta * deviation."""

    beta: float = 2.0
    """Weight of the deviation (lower confidence bound)."""
    start: int = 3
    """Contenders tried at random first."""

    def __post_init__(self) -> None:
        if self.beta < 0 or self.start < 1:
            raise ValueError(f"beta must be at least 0 and start at least 1, got {self.beta} and {self.start}")

    def __call__(
        self,
        points: Tensor,
        evaluate: Evaluate,
        *,
        queries: int,
        generator: torch.Generator,
        known: Mapping[int, float] = {},
    ) -> Trace:
        def choose(values: Mapping[int, float]) -> int:
            if len(values) < self.start:
                return _any(points, values, generator)
            left = untried(points, values)
            mean, deviation = posterior(points, values, left)
            return left[int((mean - self.beta * deviation).argmin())]

        return asked_in_turn(points, evaluate, queries, known, choose)


SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
NOISES = (1e-4, 1e-2, 1e-1)


def posterior(points: Tensor, values: Mapping[int, float], at: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation at contenders, of a process with a squared-exponential kernel, in units of the known
    values' own spread. Length scale, in units of the median distance, and noise are those of a small grid under which
    the known values are likeliest."""
    asked = list(values)
    y = torch.tensor([values[index] for index in asked], dtype=torch.float64)
    y = (y - y.mean()) / y.std(correction=0).clamp(min=1e-12)
    distances = torch.cdist(points, points).double()
    unit = distances[distances > 0].median() if (distances > 0).any() else torch.tensor(1.0)
    best: tuple[float, Tensor, Tensor] | None = None
    for scale in SCALES:
        kernel = (-0.5 * (distances / (scale * unit)).square()).exp()
        for noise in NOISES:
            inner = kernel[asked][:, asked] + noise * torch.eye(len(asked), dtype=torch.float64)
            factor = torch.linalg.cholesky(inner)
            weights = torch.cholesky_solve(y[:, None], factor)
            likelihood = float(-0.5 * (y @ weights[:, 0]) - factor.diagonal().log().sum())
            if best is None or likelihood > best[0]:
                across = kernel[list(at)][:, asked]
                reduced = torch.linalg.solve_triangular(factor, across.mT, upper=False)
                best = likelihood, (across @ weights)[:, 0], (1 - reduced.square().sum(0)).clamp(min=0).sqrt()
    assert best is not None
    return best[1], best[2]


def asked_in_turn(
    points: Tensor,
    evaluate: Evaluate,
    queries: int,
    known: Mapping[int, float],
    choose: Callable[[Mapping[int, float]], int],
) -> Trace:
    """Ask for what ``choose`` names, given all values so far, until so many queries are made."""
    left = len(points) - len(known)
    if not 1 <= queries <= left:
        raise ValueError(f"queries must be 1 to the {left} contenders that are not known yet, got {queries}")
    values, asked = dict(known), []
    for _ in range(queries):
        index = choose(values)
        nearest = min(values, key=lambda other: float((points[other] - points[index]).abs().mean()), default=None)
        values[index] = float(evaluate(index, nearest))
        asked.append(index)
    return Trace(tuple(asked), tuple(values[index] for index in asked))


def untried(points: Tensor, values: Mapping[int, float]) -> list[int]:
    """Contenders of which no value is known."""
    return [index for index in range(len(points)) if index not in values]


def _any(points: Tensor, values: Mapping[int, float], generator: torch.Generator) -> int:
    left = untried(points, values)
    return left[int(torch.randint(len(left), (), generator=generator))]


T = TypeVar("T")


def placed(graphs: Sequence[Graph], axes: int = 16) -> Tensor:
    """(contenders, axes): points as far apart as the graphs are unlike.

    Raises ValueError where so few axes bend the distances by more than a tenth.
    """
    distances = dissimilarities(graphs)
    points = scaled(distances, axes)
    if (bent := stress(points, distances)) > CLOSE:
        raise ValueError(f"{axes} axes bend the distances of the graphs by {bent:.2f}, above {CLOSE}; take more axes")
    return points


def in_two_levels(
    search: Search,
    coarse: Sequence[T],
    around: Callable[[T], Iterable[T]],
    graph: Callable[[T], Graph],
    evaluate: Callable[[T, T | None], float],
    *,
    queries: tuple[int, int],
    generator: torch.Generator,
    axes: int = 16,
) -> list[tuple[T, float]]:
    """Search the coarse contenders, then what lies ``around`` the best of them, knowing all that was tried; every try
    with its value, in order."""

    def level(contenders: Sequence[T], count: int, known: Mapping[int, float]) -> list[tuple[T, float]]:
        def value(index: int, nearest: int | None) -> float:
            return evaluate(contenders[index], None if nearest is None else contenders[nearest])

        points = placed([graph(one) for one in contenders], axes)
        trace = search(points, value, queries=count, generator=generator, known=known)
        return [(contenders[index], value) for index, value in zip(trace.asked, trace.values, strict=True)]

    tried = level(coarse, queries[0], {})
    best = min(tried, key=lambda one: one[1])[0]
    there = [one for one, _ in tried]
    fresh = [one for one in around(best) if one not in there]
    known = {number: value for number, (_, value) in enumerate(tried)}
    return [*tried, *level([*there, *fresh], queries[1], known)]
