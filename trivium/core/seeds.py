"""Randomness: generators that depend on a seed and on names, never on global state or on the order of use."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, *names: object) -> int:
    """A 63-bit seed from a base seed and any number of names; the same on every machine and Python."""
    text = "\x1f".join([str(int(seed)), *(str(name) for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: object, device: "str | torch.device" = "cpu") -> "torch.Generator":
    """A torch generator for one purpose: ``generator(3, "dropout", layer)``."""
    import torch  # here alone, so that statistics, which draw with numpy, need none of it

    return torch.Generator(device=device).manual_seed(derive(seed, *names))


def numpy_generator(seed: int, *names: object) -> np.random.Generator:
    """A numpy generator for one purpose."""
    return np.random.default_rng(derive(seed, *names))
