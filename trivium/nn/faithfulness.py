"""Faithfulness of an attribution: what the prediction does when the tokens it names are taken away or kept alone.

Soft measures drop single features of the embeddings at random, hard ones whole tokens. Each is computed for a random
control beside it, since a number without one says nothing. After Zhao and Shan 2024 (arXiv:2402.00794) and DeYoung et
al. 2020 (arXiv:1911.03429, comprehensiveness and sufficiency).

In all of them ``distribution`` maps embeddings (rows, time, width) to next-token log-probabilities (rows, vocab).
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trivium.core.errors import NotFinite

Distribution = Callable[[Tensor], Tensor]
Distance = Literal["hellinger", "reference"]
Control = Literal["permuted", "uniform"]
Weights = Literal["magnitude", "positive", "softmax"]

FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Faithfulness:
    """One measure of one attribution, beside the same measure of random scores; errors are over mask draws."""

    value: float
    error: float
    control: float
    control_error: float

    @property
    def gain(self) -> float:
        """By how much the attribution beats random scores."""
        return self.value - self.control


def importance(
    scores: Float[Tensor, " time"],
    *,
    weights: Weights = "magnitude",
    rescale: Literal["sum", "max"] = "sum",
    frozen: Bool[Tensor, " time"] | None = None,
) -> Float[Tensor, " time"]:
    """Signed scores to importances in [0, 1], zero where frozen.

    weights: the magnitude, the positive part, or the softmax that the reference code takes. rescale: to sum 1, as the
    reference does, or to a largest importance of 1, which removes more and makes a stronger test. Scores that are zero
    everywhere name no token: all are then equally important.
    """
    free = torch.ones_like(scores, dtype=torch.bool) if frozen is None else ~frozen
    if not free.any():
        raise ValueError(f"all {len(scores)} positions are frozen, so none can be removed; free at least one")
    if weights == "softmax":
        a = scores.double().masked_fill(~free, float("-inf")).softmax(0)
    else:
        a = (scores.double().abs() if weights == "magnitude" else scores.double().relu()) * free
    if a.sum() == 0:
        a = free.double()
    return a / (a.sum() if rescale == "sum" else a.max())


def hellinger(
    p: Float[Tensor, "#rows vocab"], q: Float[Tensor, "#rows vocab"], *, distance: Distance = "hellinger"
) -> Float[Tensor, " _"]:
    """Distance of two rows of log-probabilities, in [0, 1].

    "reference" is what the published evaluators compute, sum (sqrt p - sqrt q)^2 / sqrt 2: no root, and up to sqrt 2.
    """
    squares = ((p.double() / 2).exp() - (q.double() / 2).exp()).square().sum(-1)
    return (squares / 2).sqrt() if distance == "hellinger" else squares / math.sqrt(2)


def soft(
    distribution: Distribution,
    embeds: Float[Tensor, "time width"],
    importances: Float[Tensor, " time"],
    *,
    generator: torch.Generator,
    draws: int = 8,
    distance: Distance = "hellinger",
    control: Control = "permuted",
    frozen: Bool[Tensor, " time"] | None = None,
    batch_size: int = 32,
) -> dict[str, Faithfulness]:
    """Soft normalised sufficiency "soft_ns" and comprehensiveness "soft_nc" over so many mask draws.

    Sufficiency keeps each feature of token i with probability a_i, comprehensiveness drops it with probability a_i;
    both are scaled by what dropping everything does. Frozen positions are never touched.
    """
    a, free = _prepared(importances, frozen, draws)
    random = _random(a, free, draws, control, generator)
    every = a.expand(draws, -1)
    keep = torch.cat([every, 1 - every, random, 1 - random]).masked_fill(~free, 1.0)  # (4 draws, time)

    def rows() -> Iterator[Tensor]:
        yield embeds
        yield embeds.masked_fill(_on(embeds, free)[:, None], 0)
        for probability in keep:
            drawn = torch.rand(embeds.shape, generator=generator, device=generator.device, dtype=torch.float64)
            yield embeds * _on(embeds, drawn < _on(drawn, probability)[:, None])

    p, p_none, *rest = _run(distribution, rows(), batch_size).split([1, 1, *[draws] * 4])
    base = _similarity_of_nothing(hellinger(p, p_none, distance=distance))
    ns, nc, ns_random, nc_random = (hellinger(p, q, distance=distance) for q in rest)
    return {
        "soft_ns": _measure(_sufficiency(ns, base), _sufficiency(ns_random, base)),
        "soft_nc": _measure(nc / (1 - base), nc_random / (1 - base)),
    }


def hard(
    distribution: Distribution,
    embeds: Float[Tensor, "time width"],
    importances: Float[Tensor, " time"],
    fills: Float[Tensor, "fills time width"],
    *,
    generator: torch.Generator,
    draws: int = 4,
    fractions: Sequence[float] = FRACTIONS,
    distance: Distance = "hellinger",
    control: Control = "permuted",
    frozen: Bool[Tensor, " time"] | None = None,
    batch_size: int = 32,
) -> dict[str, Faithfulness]:
    """The same with whole tokens: keep, or remove, the top fraction of tokens, averaged over the fractions.

    ``fills`` is what a removed token becomes: one all-zero row for removal by zeros, or several rows of embeddings of
    random tokens. Rankings of methods flip between the two, so show both. A fraction takes at least one token.
    """
    a, free = _prepared(importances, frozen, draws)
    if not fractions or not all(0 < share <= 1 for share in fractions):
        raise ValueError(f"fractions of tokens lie above 0 and up to 1, got {tuple(fractions)}")
    counts = [max(1, math.ceil(share * int(free.sum()))) for share in fractions]
    distinct = sorted(set(counts))

    def removals(order: Tensor) -> list[Tensor]:
        """Top-n masks by one importance: kept alone for each n, then removed for each n."""
        rank = order.masked_fill(~free, -1.0).argsort(descending=True, stable=True).argsort()
        tops = [(rank < n) & free for n in distinct]
        return [free & ~top for top in tops] + tops

    random = _random(a, free, draws, control, generator)
    plans = [(fill, gone) for fill in fills for gone in removals(a)]
    plans += [(fills[d % len(fills)], gone) for d in range(draws) for gone in removals(random[d])]

    def rows() -> Iterator[Tensor]:
        yield embeds
        for fill in fills:
            yield torch.where(_on(embeds, free)[:, None], fill, embeds)
        for fill, gone in plans:
            yield torch.where(_on(embeds, gone)[:, None], fill, embeds)

    p, p_none, rest = _run(distribution, rows(), batch_size).split([1, len(fills), len(plans)])
    base = _similarity_of_nothing(hellinger(p, p_none, distance=distance))
    distances = hellinger(p, rest, distance=distance).reshape(-1, 2, len(distinct))  # (fills + draws, 2, counts)
    distances = distances[:, :, [distinct.index(n) for n in counts]]
    ns, nc = _sufficiency(distances[:, 0], base).mean(-1), (distances[:, 1] / (1 - base)).mean(-1)
    return {
        "hard_ns": _measure(ns[: len(fills)], ns[len(fills) :]),
        "hard_nc": _measure(nc[: len(fills)], nc[len(fills) :]),
    }


def log_ratio(values: Sequence[float], controls: Sequence[float]) -> float:
    """What the paper's tables hold: the logarithm of the mean measure over the mean of the same for random scores."""
    top, bottom = sum(values) / len(values), sum(controls) / len(controls)
    if top <= 0 or bottom <= 0:
        raise ValueError(f"a log ratio needs positive means, got {top:.4g} over {bottom:.4g}; report the difference")
    return math.log(top / bottom)


def _prepared(importances: Tensor, frozen: Tensor | None, draws: int) -> tuple[Tensor, Tensor]:
    """Checked importances in double precision and the positions that may be touched, both on the CPU."""
    a = importances.detach().double().cpu()
    if not ((a >= 0) & (a <= 1)).all():
        raise ValueError(f"importances are probabilities, 0 to 1; got {a.min():.4g} to {a.max():.4g}: see importance()")
    if draws < 2:
        raise ValueError(f"draws must be at least 2 to give a standard error, got {draws}")
    free = torch.ones_like(a, dtype=torch.bool) if frozen is None else ~frozen.cpu()
    if not free.any():
        raise ValueError(f"all {len(a)} positions are frozen, so none can be removed; free at least one")
    return a * free, free


def _random(a: Tensor, free: Tensor, draws: int, control: Control, generator: torch.Generator) -> Tensor:
    """(draws, time) importances that know nothing: the same ones in another order, or uniform ones of the same sum."""
    out = torch.zeros(draws, len(a), dtype=a.dtype)
    drawn = torch.rand(draws, int(free.sum()), generator=generator, device=generator.device, dtype=torch.float64).cpu()
    if control == "permuted":
        out[:, free] = a[free][drawn.argsort(-1)]
    else:
        out[:, free] = (drawn / drawn.sum(-1, keepdim=True) * a.sum()).clamp(max=1)
    return out


def _run(distribution: Distribution, rows: Iterator[Tensor], batch_size: int) -> Tensor:
    """Log-probabilities of all rows, so many to a pass; no more rows than that are held at once."""
    out = []
    with torch.no_grad():
        while batch := list(itertools.islice(rows, batch_size)):
            logp = distribution(torch.stack(batch)).double()
            if logp.isnan().any():
                raise NotFinite(
                    "the model gave NaN for embeddings with features or tokens removed; use another removal"
                )
            out.append(logp)
    return torch.cat(out)


def _similarity_of_nothing(distances: Tensor) -> float:
    """S0: how close the prediction stays when everything is removed; a model that does not care cannot be judged."""
    base = 1 - distances.mean().item()
    if base >= 1 - 1e-9:
        raise ValueError("removing every token leaves the prediction as it was, so faithfulness is not defined here")
    return base


def _sufficiency(distances: Tensor, base: float) -> Tensor:
    return ((1 - distances - base) / (1 - base)).clamp(min=0)


def _measure(values: Tensor, control: Tensor) -> Faithfulness:
    def error(x: Tensor) -> float:
        return (x.std() / math.sqrt(len(x))).item() if len(x) > 1 else 0.0

    return Faithfulness(values.mean().item(), error(values), control.mean().item(), error(control))


def _on(like: Tensor, x: Tensor) -> Tensor:
    return x.to(like.device)
