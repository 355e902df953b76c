"""A task whose reward is a known function of the order of its exemplars, and a system that costs nothing."""

import torch

from trivium.core.nouns import Example
from trivium.core.seeds import generator
from trivium.core.wording import Exemplar, Template, Wording

ITEMS = 20


class Ordered:
    """The exemplar at place p does best where its worth is near ``targets[p]``; the more so, the more of the items are
    right. ``asked`` counts the questions."""

    labels = ("right", "wrong")
    measures = ()

    def __init__(self, pool=12, targets=(0.1, 0.5, 0.9), seed=0, validation=2 * ITEMS):
        self.worth = torch.rand(pool, generator=generator(seed, "worth"), dtype=torch.float64)
        self.targets, self.validation, self.asked = torch.tensor(targets, dtype=torch.float64), validation, 0
        self.pool = tuple(Exemplar({"text": f"{number}"}, "right") for number in range(pool))
        self.wording = Wording(Template("{text}", before=":", between=";"), (), "")
        self.templates = (self.wording.form,)

    def formats(self, count, generator):
        return self.templates

    def examples(self, split):
        return [Example(f"{n}", f"q{n}", fields={"n": n}) for n in range(self.validation)]

    def read(self, example):
        return Exemplar({"text": example.text}, "right")

    def quality(self, order):
        return float(1 - (self.worth[list(order)] - self.targets).abs().mean()) ** 3

    def weigh_all(self, system, questions):
        self.asked += len(questions)
        shown = [int(text.split(":")[0]) for text in str(questions[0].segments[0]).split(";")[:-1]]
        right = self.quality(shown) * len(questions)
        return [[1.0, 0.0] if place < right - 0.5 else [0.0, 1.0] for place in range(len(questions))]


class Vectors:
    """A system that does nothing but make vectors: of each place the worth of what stands there, as bumps."""

    name = "vectors"

    def __init__(self, task, ordered=True):
        self.task, self.ordered, self.texts = task, ordered, []

    def embedded(self, texts, *, pooling, layer, batch_size):
        self.texts += texts
        return torch.stack([self.vector(text) for text in texts])

    def vector(self, text):
        shown = [int(one.split(":")[0]) for one in text.strip(";").split(";") if one.split(":")[0].isdigit()]
        grid = torch.linspace(0, 1, 8, dtype=torch.float64)
        bumps = [torch.exp(-((self.task.worth[one] - grid) ** 2) / 0.05) for one in shown]
        bumps += [torch.zeros(8, dtype=torch.float64)] * (3 - len(bumps))
        return torch.cat(bumps) + 1e-3 if self.ordered else torch.stack(bumps).sum(0) + 1e-3
