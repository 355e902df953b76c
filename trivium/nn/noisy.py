"""Answers from private votes and distributions, with noise that hides each voter.

counts_y = how many of the voters chose y;   winner = argmax_y counts_y + noise_y
    Gumbel(2 / epsilon): the exponential mechanism; Laplace(2 / epsilon): changing a vote moves two counts by 1;
    Normal(sigma): the vector moves by sqrt(2)
next = argmax over the likeliest tokens of a public prompt of  mean_g p_g + Normal(sigma / groups),
    where changing one group moves the mean by at most sqrt(2) / groups
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Noise = Literal["none", "gumbel", "laplace", "gaussian"]


def counted(votes: Int[Tensor, "queries voters"], labels: int) -> Int[Tensor, "queries labels"]:
    """How many voters chose each label."""
    return torch.nn.functional.one_hot(votes, labels).sum(1)


def winners(
    counts: Int[Tensor, "queries labels"], noise: Noise, scale: float, *, generator: torch.Generator
) -> Int[Tensor, "queries"]:
    """The label of most votes and noise, of equals the first. ``scale`` is that of the noise, drawn in float64."""
    drawn = torch.zeros(counts.shape, dtype=torch.float64)
    if noise == "gaussian":
        drawn = torch.randn(counts.shape, dtype=torch.float64, generator=generator)
    elif noise == "gumbel":
        drawn = -_exponential(counts.shape, generator).log()
    elif noise == "laplace":
        drawn = _exponential(counts.shape, generator) - _exponential(counts.shape, generator)
    return (counts + scale * drawn).argmax(1)


def _exponential(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return torch.empty(shape, dtype=torch.float64).exponential_(generator=generator)


def averaged(
    logits: Float[Tensor, "groups vocab"], public: Float[Tensor, "vocab"], top: int
) -> tuple[Int[Tensor, "top"], Float[Tensor, "top"]]:
    """The likeliest tokens by the public logits, and what the groups give them on average, each group's probabilities
    adding up to 1 over these tokens; in float64."""
    kept = public.topk(min(top, len(public))).indices
    return kept, logits[:, kept].double().softmax(-1).mean(0)


def noisy_token(
    logits: Float[Tensor, "groups vocab"],
    public: Float[Tensor, "vocab"],
    top: int,
    sigma: float,
    *,
    generator: torch.Generator,
) -> int:
    """The token of the largest noisy average."""
    kept, mean = averaged(logits, public, top)
    noise = torch.randn(mean.shape, dtype=torch.float64, generator=generator) * sigma / len(logits)
    return int(kept[(mean + noise.to(mean.device)).argmax()])
