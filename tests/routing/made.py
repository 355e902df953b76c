"""Prompts of three kinds, each of which one expert knows, and three experts of different sizes."""

import torch

from trivium.core.nouns import Experts
from trivium.core.seeds import generator

WORDS = {
    0: "the cat sat on the mat and the dog ate all of the soup with a big spoon",
    1: "le chat est sur le tapis et les chiens mangent toute la soupe avec une cuillère",
    2: "def f(x): return x + 1 if x[0] == 'a' else self.g(x, None) or [y for y in x]",
}
EXPERTS = Experts(("english", "french", "python"), {"size": (5.0, 6.0, 4.0), "age": (0.0, 1.0, 3.0)})


def prompts(count=60, seed=0):
    """So many prompts and the kind of each."""
    draws = generator(seed, "prompts")
    found, kinds = [], []
    for number in range(count):
        words = WORDS[number % 3].split()
        order = torch.randperm(len(words), generator=draws).tolist()[:8]
        found.append(" ".join(words[at] for at in order))
        kinds.append(number % 3)
    return found, torch.tensor(kinds)


def losses(kinds, seed=0):
    """(prompts, experts): about 2 bits where the expert knows the kind, 4 where not."""
    noise = 0.2 * torch.randn(len(kinds), 3, generator=generator(seed, "noise"), dtype=torch.float64)
    return 4.0 - 2.0 * torch.nn.functional.one_hot(kinds, 3) + noise
