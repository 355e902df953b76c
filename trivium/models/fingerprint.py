"""Which model a trained part belongs to: a hash of the weights themselves."""

from hashlib import sha256
from weakref import WeakKeyDictionary

import torch

from trivium.core.protocols import LanguageModel

_hashes: WeakKeyDictionary[LanguageModel, str] = WeakKeyDictionary()


def fingerprint(model: LanguageModel) -> str:
    """SHA-256 over names and values of all weights, the values rounded to bfloat16: a model that is loaded in another
    number format stays the same model. Remembered, so a model that is being trained must not be asked."""
    if model not in _hashes:
        digest = sha256()
        for name, weight in model.named_parameters():
            digest.update(f"{name} {tuple(weight.shape)}\n".encode())
            digest.update(weight.detach().to("cpu", torch.bfloat16).contiguous().view(torch.uint8).numpy().tobytes())
        _hashes[model] = digest.hexdigest()
    return _hashes[model]
