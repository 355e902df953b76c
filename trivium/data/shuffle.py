"""A random order of any number of things, of which any place can be asked for at once and nothing is stored."""

import numpy as np
from numpy.typing import NDArray

from trivium.core.seeds import derive

ROUNDS = 6
"""Of the Feistel network; four make it a pseudorandom permutation (Luby and Rackoff 1988)."""


def shuffled(places: NDArray[np.int64], count: int, seed: int, *names: object) -> NDArray[np.int64]:
    """Which of ``count`` things stand at these places of the order that the seed and the names give.

    A Feistel network permutes the next even power of two above the count, and is walked until it comes back below it
    (Black and Rogaway 2002), fewer than four times on average. Raises ValueError for a place outside.
    """
    if len(places) and (places.min() < 0 or places.max() >= count):
        raise ValueError(f"places {int(places.min())} to {int(places.max())} do not all lie in an order of {count}")
    half = np.uint64(max((max(count - 1, 1).bit_length() + 1) // 2, 1))
    low = np.uint64((1 << int(half)) - 1)
    keys = [np.uint64(derive(seed, "shuffle", *names, turn)) for turn in range(ROUNDS)]
    out = places.astype(np.uint64)
    walking = np.ones(len(out), bool)
    while walking.any():
        left, right = out[walking] >> half, out[walking] & low
        for key in keys:
            left, right = right, left ^ (mixed(right ^ key) & low)
        out[walking] = (left << half) | right
        walking = out >= np.uint64(count)
    return out.astype(np.int64)


def dealt(step: int, batch_size: int, count: int, seed: int) -> NDArray[np.int64]:
    """(batch_size,) numbers of the things that a step of training sees, steps counted from 0: each epoch deals every
    one of ``count`` once, in an order of its own. Raises ValueError for a step below 0."""
    if step < 0:
        raise ValueError(f"steps are counted from 0, got {step}")
    epochs, places = np.divmod(np.arange(step * batch_size, (step + 1) * batch_size), count)
    numbers = np.empty_like(places)
    for epoch in np.unique(epochs):
        mine = epochs == epoch
        numbers[mine] = shuffled(places[mine], count, seed, "epoch", int(epoch))
    return numbers


def mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014), which lets every bit depend on every other."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
