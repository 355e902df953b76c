"""Uniform numbers that depend on a seed and on the tokens of a row, and on nothing else of the batch.

    f(x)  = the finaliser of SplitMix64 on x + G, a bijection of 64 bits;   G = 2^64 over the golden ratio
    h[b]  = sum over real tokens j of row b, counted from 0, of  f(f(ids[b, j]) + j G); 0 if rows are alike
    u[k, b, n] = the upper 53 bits of  f(f(f(seed) + k G) + h[b] + n G)  over 2^53,   for fields k and numbers n from 0

All sums and products are modulo 2^64. A row is given the same numbers whatever stands beside it in the batch and
however it is padded, so what is drawn for it does not change with the micro-batch or the process that it falls into.
No state, no loop over rows, and the same bits on every device. Rows of equal tokens are given equal numbers.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

G = 0x9E3779B97F4A7C15
FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
SHIFTS = (30, 27, 31)


def uniform_by_row(
    ids: Int[Tensor, "batch time"],
    real: Bool[Tensor, "batch time"] | None = None,
    *,
    seed: int,
    fields: int,
    alike: bool = False,
) -> Float[Tensor, "fields batch time"]:
    """Numbers in [0, 1) in float64. ``real``: False for padding; ``alike``: the same numbers for every row."""
    steps = torch.arange(ids.shape[1], device=ids.device) * _signed(G)
    if alike:
        rows = ids.new_zeros(len(ids), dtype=torch.int64)
    else:
        place = steps if real is None else (real.cumsum(1) - 1) * _signed(G)
        marks = _mixed(_mixed(ids.long()) + place)
        rows = (marks if real is None else marks.where(real, 0)).sum(1)
    seeds = torch.full((), _signed(seed), dtype=torch.int64, device=ids.device)
    keys = _mixed(_mixed(seeds) + torch.arange(fields, device=ids.device) * _signed(G))
    bits = _mixed(keys[:, None, None] + rows[:, None] + steps)
    return _shifted(bits, 11).double() * 2.0**-53


def uniform_by_row_reference(
    ids: Int[Tensor, "batch time"],
    real: Bool[Tensor, "batch time"] | None = None,
    *,
    seed: int,
    fields: int,
    alike: bool = False,
) -> Float[Tensor, "fields batch time"]:
    """``uniform_by_row`` number by number, in whole numbers of Python."""

    def mixed(x: int) -> int:
        x = (x + G) % 2**64
        for shift, factor in zip(SHIFTS, (*FACTORS, 1), strict=True):
            x = (x ^ (x >> shift)) * factor % 2**64
        return x

    numbers = torch.zeros(fields, *ids.shape, dtype=torch.float64)
    for row, tokens in enumerate(ids):
        kept = (tokens if real is None else tokens[real[row]]).tolist()
        h = 0 if alike else sum(mixed(mixed(id) + at * G) for at, id in enumerate(kept))
        for field in range(fields):
            key = mixed(mixed(seed) + field * G)
            for n in range(len(tokens)):
                numbers[field, row, n] = (mixed(key + h + n * G) >> 11) / 2**53
    return numbers


def _signed(x: int) -> int:
    """The 64 bits of a whole number, read as torch's int64 reads them."""
    return (x + 2**63) % 2**64 - 2**63


def _shifted(x: Tensor, places: int) -> Tensor:
    """To the right, with zeros coming in from the left; torch brings in the sign."""
    return (x >> places) & (2 ** (64 - places) - 1)


def _mixed(x: Tensor) -> Tensor:
    x = x + _signed(G)
    for shift, factor in zip(SHIFTS, (*FACTORS, 1), strict=True):
        x = (x ^ _shifted(x, shift)) * _signed(factor)
    return x
