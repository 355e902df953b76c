"""A model whose attention is read off, for the explainers that are made of it."""

from functools import cache

import torch

from trivium.architectures.llama import Llama
from trivium.core.nouns import Target

IDS = torch.tensor([7, 3, 11, 3, 2])
DEPTH = 3


def scores(explainer, model, **more):
    return explainer(model, IDS, Target(4), generator=torch.Generator(), **more).scores


@cache
def model():
    """Three layers of two heads with opinions."""
    made = Llama(width=16, heads=2, depth=DEPTH).build(31).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return made


@cache
def weights():
    """(layers, heads, time, time)"""
    names = [f"blocks.{layer}.attn.weights" for layer in range(DEPTH)]
    with torch.no_grad(), model().capture(*names) as seen:
        model()(IDS[None])
    return torch.stack([seen[name][0] for name in names])
