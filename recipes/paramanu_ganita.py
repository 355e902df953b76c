"""A model of one domain from scratch, against a general one that is trained further: mathematics in words.

    trivium train --recipe recipes/paramanu_ganita.py --folder runs/ganita
    trivium train --recipe recipes/paramanu_ganita.py --start-from runs/tinystories/model --folder runs/ganita-further

Both print bits per byte of held-out problems; the second begins with what `recipes/tinystories.py` trained. Here: sums
in words with their steps, 0.9 million parameters; under 15 minutes each on two cores.
Full scale (Niyogi and Bhattacharya 2024, arXiv:2404.14395): 208 million parameters, context 4096, 31.5 billion tokens
of mathematical web text, textbooks, code and lecture notes, a tokenizer of their own, 170 hours of one A100.
"""

import random

from trivium.architectures.llama import Llama
from trivium.data.corpus import Corpus
from trivium.training.settings import TrainingSettings

NAMES = ("Asha", "Ravi", "Meera", "Tom", "Lena", "Omar", "Nina", "Jack")
THINGS = ("apples", "books", "pens", "coins", "stamps", "shells", "cards", "mangoes")


def problem(draw: random.Random) -> str:
    """One story with two operations, and its solution step by step."""
    name, other = draw.sample(NAMES, 2)
    thing, had, bags, each = draw.choice(THINGS), draw.randint(2, 60), draw.randint(2, 9), draw.randint(2, 12)
    gained = bags * each
    gives = draw.randint(1, had + gained - 1)
    return (
        f"Problem: {name} has {had} {thing}. {name} buys {bags} bags with {each} {thing} in each, and gives {gives} "
        f"{thing} to {other}. How many {thing} has {name} now?\n"
        f"Solution: {bags} bags with {each} {thing} are {bags} * {each} = {gained}. {had} + {gained} = {had + gained}. "
        f"{had + gained} - {gives} = {had + gained - gives}. Answer: {had + gained - gives}\n"
    )


draw = random.Random(0)
corpus = Corpus.split("sums in words", ["\n".join(problem(draw) for _ in range(8)) for _ in range(1500)])
architecture = Llama(width=128, depth=4, heads=4, context=256)
objective = "causal"
length, batch_size = 256, 16
settings = TrainingSettings(steps=400, learning_rate=1e-3, weight_decay=0.1)
sample = "Problem: Asha has 12 apples."
