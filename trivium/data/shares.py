"""How much of a whole each group has: by size and temperature, with a limit to how often a group is gone through.

temperature t   p_g in proportion to n_g^(1/t): 1 is proportional, infinity gives every group the same
factors         n_g is multiplied before anything else
caps            no group has more than its cap; what is cut goes to the others, again and again until none has too much
"""

import math
from collections.abc import Mapping


def tempered(
    sizes: Mapping[str, float], temperature: float = 1.0, factors: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Weights of groups by their sizes; they sum to 1. Raises ValueError for a group with nothing, factors of none, and
    where all factors are 0."""
    factors = factors or {}
    if not sizes or min(sizes.values()) <= 0:
        raise ValueError(f"every group needs some text; got {dict(sizes)}")
    if strange := set(factors) - set(sizes):
        raise ValueError(f"factors are given for {sorted(strange)}, of which there is no text")
    power = 0.0 if math.isinf(temperature) else 1 / temperature
    weights = {name: size * factors.get(name, 1.0) for name, size in sizes.items()}
    weights = {name: weight**power if weight else 0.0 for name, weight in weights.items()}
    if sum(weights.values()) == 0:
        raise ValueError("all factors are 0, so that nothing is taken")
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def capped(weights: Mapping[str, float], caps: Mapping[str, float]) -> dict[str, float]:
    """Shares in proportion to the weights, none above its cap; they sum to 1. Raises ValueError where the caps of all
    that have a weight do not come to 1."""
    if sum(caps[name] for name, weight in weights.items() if weight > 0) < 1 - 1e-9:
        raise ValueError(f"the caps {dict(caps)} do not come to 1")
    full: set[str] = set()
    while True:
        left = 1 - sum(caps[name] for name in full)
        mass = sum(weight for name, weight in weights.items() if name not in full)
        shares = {
            name: caps[name] if name in full else weight / mass * left if mass else 0.0
            for name, weight in weights.items()
        }
        over = {name for name, share in shares.items() if share > caps[name] + 1e-12}
        if not over:
            return shares
        full |= over
