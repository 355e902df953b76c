"""A task of two labels whose weights are known for every template and item, without a model."""

import torch

from tests.prompting.models import Questions
from trivium.core.nouns import Example
from trivium.core.wording import Exemplar, Template, Wording


class Known(Questions):
    """Items are numbers; ``tables``: per template the weights of each item; ``free``: those of content-free texts."""

    labels = ("yes", "no")
    pool = ()

    def __init__(self, tables, free=None):
        self.tables, self.free, self.asked = tables, free or {}, []
        self.templates = tuple(Template(f"{n}|{{text}}|") for n in range(len(tables)))
        self.wording = Wording(self.templates[0])

    def examples(self, split):
        return [Example(f"{split}-{n}", "", fields={"n": n}) for n in range(len(self.tables[0]))]

    def formats(self, count, generator):
        raise NotImplementedError

    def read(self, example):
        return Exemplar({"text": str(example.fields["n"])}, "yes")

    def ask(self, example):
        return self.wording.ask(self.read(example).fields, self.labels)

    def weigh_all(self, system, questions):
        self.asked += [question.text for question in questions]
        found = []
        for question in questions:
            template, text, _ = question.text.split("|")
            row = self.free[text] if text in self.free else self.tables[int(template)][int(text)]
            found.append(list(row))
        return found


def logs(*rows):
    return torch.tensor(rows, dtype=torch.float64).log().tolist()
