"""Which model a trained part belongs to: a hash of the weights themselves."""

from hashlib import sha256
from weakref import WeakKeyDictionary

import torch

from trivium.core.protocols import LanguageModel

_hashes: WeakKeyDictionary[LanguageModel, tuple[list[float], str]] = WeakKeyDictionary()


def fingerprint(model: LanguageModel) -> str:
    """SHA-256 over names and values of all weights, the values rounded to bfloat16: a model that is loaded in another
    number format stays the same model. Remembered as long as a few values of each weight are what they were: training
    moves them all, and PyTorch's count of writes does not see its fused optimisers."""
    probes = _probes(model)
    known = _hashes.get(model)
    if known is None or known[0] != probes:
        digest = sha256()
        for name, weight in model.named_parameters():
            digest.update(f"{name} {tuple(weight.shape)}\n".encode())
            digest.update(weight.detach().to("cpu", torch.bfloat16).contiguous().view(torch.uint8).numpy().tobytes())
        known = _hashes[model] = (probes, digest.hexdigest())
    return known[1]


def stands_for(model: LanguageModel, known: str) -> None:
    """Let a model count as the one of this fingerprint, so that what was trained for that fits it: the same weights in
    fewer bits."""
    _hashes[model] = (_probes(model), known)


@torch.no_grad()
def _probes(model: LanguageModel) -> list[float]:
    """Of each weight the sum of about 16 values spread over it."""
    few = [weight.reshape(-1)[:: max(weight.numel() // 16, 1)].double().sum() for weight in model.parameters()]
    return torch.stack(few).tolist()
