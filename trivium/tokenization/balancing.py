"""Which texts a tokenizer of several languages is trained on, when some have far more text than others.

    p(language) proportional to bytes^(1 / temperature);   1 takes languages as they are, infinity all alike

A tokenizer that sees a language seldom cuts it into small pieces. The sample for it is its own: what a model is trained
on may be another one. As in Salamandra (arXiv:2502.08489) and before it XLM-R; the temperature is ours.
"""

import math
from collections.abc import Mapping, Sequence

import torch

from trivium.core.text import size as size_of


def balanced(
    texts: Mapping[str, Sequence[str]], size: int, temperature: float = 3.0, *, generator: torch.Generator
) -> dict[str, list[str]]:
    """Per language texts of its share of ``size`` bytes, to within one text, drawn without repeating. A language that
    has less than its share gives all it has, and the others share what it leaves.

    Raises ValueError for a temperature below 1, a size that is none, and a language without text.
    """
    if not temperature >= 1:
        raise ValueError(f"temperature is at least 1, where languages stay as they are; got {temperature}")
    if size < 1:
        raise ValueError(f"size must be at least one byte, got {size}")
    have = {
        language: sum(len(one.encode("utf-8", "surrogatepass")) for one in some) for language, some in texts.items()
    }
    for language, count in have.items():
        if not count:
            raise ValueError(f"{language} has no text to draw from")
    wanted = shares(have, size, temperature)
    found: dict[str, list[str]] = {}
    for language, some in texts.items():
        order = torch.randperm(len(some), generator=generator, device=generator.device).tolist()
        taken: list[str] = []
        left = wanted[language]
        for at in order:
            if left <= 0:
                break
            text: str = some[int(at)]
            taken.append(text)
            left -= size_of(text)
        found[language] = taken
    return found


def shares(have: Mapping[str, int], size: int, temperature: float) -> dict[str, float]:
    """Bytes of each language: in proportion to have^(1/temperature), none more than it has."""
    power = 0.0 if math.isinf(temperature) else 1 / temperature
    found, left, open_ = {}, float(min(size, sum(have.values()))), dict(have)
    while open_:
        mass = sum(count**power for count in open_.values())
        full = {language: count for language, count in open_.items() if left * count**power / mass >= count}
        if not full:
            return found | {language: left * count**power / mass for language, count in open_.items()}
        for language, count in full.items():
            found[language] = float(count)
            left -= count
            del open_[language]
    return found
