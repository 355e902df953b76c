"""What the training tests share: a tiny model, batches by step, and a way to stop in the middle."""

import json

import torch

from trivium.architectures.llama import Llama
from trivium.core.nouns import Batch
from trivium.core.seeds import generator

VOCAB = 19


def tiny(seed=0, **changed):
    return Llama(**{"width": 16, "depth": 2, "heads": 2, "hidden": 24} | changed).build(VOCAB, seed=seed)


class Ragged:
    """Counting sequences of unequal lengths, a pure function of the step."""

    def __init__(self, rows=8, time=16, seed=0):
        self.rows, self.time, self.seed = rows, time, seed

    def batch(self, step):
        draws = generator(self.seed, "batch", step)
        start = torch.randint(0, VOCAB, (self.rows, 1), generator=draws)
        stride = torch.randint(1, 4, (self.rows, 1), generator=draws)
        place = torch.arange(self.time)
        lengths = torch.randint(2, self.time + 1, (self.rows, 1), generator=draws)
        lengths[0] = self.time
        return Batch((start + stride * place) % VOCAB, place < lengths)


class Stopped(Exception):
    """The power went out."""


class StopAt:
    """Batches until a step, and then no more."""

    def __init__(self, batches, step):
        self.batches, self.step = batches, step

    def batch(self, step):
        if step >= self.step:
            raise Stopped
        return self.batches.batch(step)


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def same(a, b):
    """Bitwise."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def rows(folder):
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]


def timeless(curve):
    """A curve without what differs from run to run."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in curve]
