"""Codes of heads compared over two sorts of prompts: what occurs with the positives and never with the negatives.

``codes`` (prompts, heads) are whole numbers from -1 (silent) to ``size`` - 1.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def present(codes: Int[Tensor, "prompts heads"], size: int) -> Bool[Tensor, "heads codes"]:
    """Which codes each head has, the silent one in column 0."""
    found = torch.zeros(codes.shape[1], size + 1, dtype=torch.bool, device=codes.device)
    return found.scatter(1, (codes + 1).T, True)


def unique_codes(
    codes: Int[Tensor, "prompts heads"], positive: Bool[Tensor, "prompts"], size: int
) -> tuple[Float[Tensor, "heads"], Float[Tensor, "heads"]]:
    """How many codes a head has on positives and never on negatives, and how many it has at all."""
    here, there = present(codes[positive], size), present(codes[~positive], size)
    return (here & ~there).sum(1).double(), (here | there).sum(1).double()


def unique_pairs(
    codes: Int[Tensor, "prompts heads"], positive: Bool[Tensor, "prompts"], size: int, *, beyond_nodes: bool = False
) -> tuple[Float[Tensor, "heads heads"], Float[Tensor, "heads heads"]]:
    """How many pairs of codes two heads have together on positives and never on negatives, and how many pairs at all;
    0 for a head with itself. ``beyond_nodes``: only pairs of which neither code is unique to the positives by itself,
    since such a one makes unique pairs with every other head."""
    heads = codes.shape[1]
    base = size + 1
    shifted = codes + 1
    plain = torch.ones_like(codes, dtype=torch.bool)
    if beyond_nodes:
        alone = present(codes[positive], size) & ~present(codes[~positive], size)  # (heads, codes)
        plain = ~alone.gather(1, shifted.T).T  # (prompts, heads): not a code that tells by itself
    unique = torch.zeros(heads, heads, dtype=torch.float64, device=codes.device)
    every = torch.zeros_like(unique)
    column = torch.arange(heads, device=codes.device) * base * base
    signs = positive[:, None].expand_as(codes).flatten()
    for head in range(heads):  # a row of the table at a time: all pairs at once are too many
        pairs = (column + shifted[:, head : head + 1] * base + shifted).flatten()
        kinds, which = pairs.unique(return_inverse=True)
        here = torch.zeros(len(kinds), dtype=torch.bool, device=codes.device)
        there, counted = here.clone(), here.clone()
        here[which[signs]] = True
        there[which[~signs]] = True
        counted[which[(plain & plain[:, head : head + 1]).flatten()]] = True
        other = kinds // (base * base)
        unique[head] = torch.bincount(other, (here & ~there & counted).double(), heads)
        every[head] = torch.bincount(other, minlength=heads).double()
    unique.fill_diagonal_(0)
    every.fill_diagonal_(0)
    return unique, every


def votes(pairs: Float[Tensor, "heads heads"], top: int) -> Float[Tensor, "heads"]:
    """How often each head is in one of the ``top`` entries of a list in which pairs stand by their scores, the largest
    first, each as two entries, one after the other. Ties go to the pair that comes first."""
    order = pairs.flatten().argsort(descending=True, stable=True)
    entries = torch.stack((order // len(pairs), order % len(pairs)), 1).flatten()[:top]
    return torch.bincount(entries, minlength=len(pairs)).double()
