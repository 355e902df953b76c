"""What the tests of trained drafters share: folders with random weights, and a lesson of a tiny model."""

from dataclasses import replace

import torch

from trivium.data.lessons import Lesson
from trivium.drafting._shape import guessed

PROMPT = torch.tensor([[1, 5, 6, 7, 5, 6, 7, 5, 6], [0, 0, 0, 3, 4, 5, 1, 2, 9], [0, 0, 8, 8, 8, 8, 8, 8, 8]])
MASK = torch.tensor([[True] * 9, [False] * 3 + [True] * 6, [False] * 2 + [True] * 7])


def run(decoder, model, *, prompt=PROMPT, mask=MASK, limit=20, seed=0):
    return decoder(model, prompt, mask=mask, limit=limit, generator=torch.Generator().manual_seed(seed))


def made_random(drafter, model, folder, seed=0, facts=None):
    """The drafter with a folder of random weights."""
    module = drafter.build(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(noise.to(parameter.dtype) / parameter.shape[-1] ** 0.5)
    drafter.save(module, folder, model, base="made-up", accuracy=guessed(drafter.depth), facts=facts or {})
    return replace(drafter, folder=str(folder))


def lesson(model, rows=3, time=16, seed=0):
    """Random texts of different lengths, as if the model had written them after three tokens."""
    ids = torch.randint(model.vocab_size, (rows, time), generator=torch.Generator().manual_seed(seed))
    lengths = torch.tensor([time - 3 * row for row in range(rows)])
    mask = torch.arange(time) < lengths[:, None]
    written = mask & (torch.arange(time) >= 3)
    with torch.no_grad():
        hidden = model(ids, mask=mask).hidden
    return Lesson(ids, mask, None, written, hidden)
