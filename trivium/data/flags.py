"""Flags that a user writes into a prompt: '[Flag: smallest model]' or '[Flag: size 0.3]'.

A flag asks for experts that cost less of something. Either it names the cost and a weight, or it is one of the phrases
that stand for a cost. Flags are no part of what is asked, and are taken out.
"""

import re

FLAG = re.compile(r"\s*\[flag:\s*([^\]]*?)\s*\]", re.IGNORECASE)
PHRASES = {"smallest model": "size", "small model": "size", "newest model": "age", "fastest model": "seconds"}
NUMBERED = re.compile(r"([a-z_]\w*)\s*[= ]\s*(-?\d+(?:\.\d+)?)")


def flags(prompt: str, phrase: float = 1.0) -> tuple[str, dict[str, float]]:
    """The prompt without its flags, and the weight of each cost that they name; ``phrase`` is the weight of a phrase.

    Raises ValueError for a flag that cannot be read, or a negative weight.
    """
    weights: dict[str, float] = {}
    for said in FLAG.findall(prompt):
        numbered = NUMBERED.fullmatch(said.lower())
        if said.lower() in PHRASES:
            cost, weight = PHRASES[said.lower()], phrase
        elif numbered:
            cost, weight = numbered[1], float(numbered[2])
        else:
            raise ValueError(
                f"the flag {said!r} cannot be read; write one of {', '.join(PHRASES)}, or a cost and its weight, such "
                "as [Flag: size 0.3]"
            )
        if weight < 0:
            raise ValueError(f"the flag {said!r} has a negative weight; leave it out, or make it positive")
        weights[cost] = weights.get(cost, 0.0) + weight
    return FLAG.sub("", prompt).strip(), weights
