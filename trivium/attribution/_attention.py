"""The attention that a prediction pays: weights of every layer in one pass."""

import torch
from torch import Tensor

from trivium.attribution._prediction import Prediction, single
from trivium.core.errors import NotOffered
from trivium.nn.modes import evaluating


def paid(prediction: Prediction) -> tuple[Tensor, float]:
    """Weights (layers, heads, time, time), each row summing to 1, and the prediction. Raises NotOffered where a layer
    of the model has no such weights."""
    model = prediction.model
    names = [f"blocks.{layer}.attn.weights" for layer in range(model.depth)]
    missing = [name for name in names if name not in model.sites()]
    if missing:
        raise NotOffered(f"{prediction.name} needs the attention weights of every layer; this model lacks {missing[0]}")
    with evaluating(model), torch.no_grad(), model.capture(*names) as seen:
        value = prediction.values(ids=prediction.ids[None]).item()
    return torch.stack([single(seen[name][0]) for name in names]), value
