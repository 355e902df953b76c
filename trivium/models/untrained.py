"""A model with the weights it had before training, but for its embeddings: the control of a probe.

What a probe finds in it is told by the words alone, or by anything that a network of this shape makes of them.
"""

import copy
from dataclasses import replace

import torch

from trivium.core.errors import NotOffered
from trivium.core.protocols import LanguageModel, new_serial
from trivium.models.huggingface import HuggingFaceModel
from trivium.models.skeleton import Native, initialise
from trivium.models.system import System


def untrained(system: System, *, seed: int = 0) -> System:
    """The same system, its weights drawn as for a training from the start; its token embeddings are kept.

    Raises NotOffered for a model that is neither from transformers nor one of this package's own.
    """
    model = system.model
    if isinstance(model, HuggingFaceModel):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inner = type(model.inner)(copy.deepcopy(model.inner.config))
        inner.to(device=model.device, dtype=model.dtype).eval()  # pyright: ignore[reportCallIssue]
        made = HuggingFaceModel(inner)
        made.offers, made.refused = model.offers, model.refused
        with torch.no_grad():
            ours, theirs = made.parts.embedding, model.parts.embedding
            ours.get_parameter("weight").copy_(theirs.get_parameter("weight"))
        found: LanguageModel = made
    elif isinstance(model, Native):
        native = copy.deepcopy(model)
        native.serial = new_serial()
        kept = {id(weight) for weight in native.embedding.parameters()}
        initialise(native, seed, keep=lambda weight: id(weight) in kept)
        found = native
    else:
        raise NotOffered(f"{system.name} is no model whose weights can be drawn anew; it is a {type(model).__name__}")
    return replace(system, model=found, name=f"{system.name} (untrained)", fingerprint="")
