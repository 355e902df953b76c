"""The attention that a prediction pays: weights of every layer in one pass."""

import torch
from torch import Tensor

from trivium.attribution._prediction import Prediction, single
from trivium.core.errors import NotOffered
from trivium.nn.modes import evaluating


def paid(prediction: Prediction) -> tuple[list[Tensor], float]:
    """Per layer the weights (heads, places, places) over the prompt and the answer so far, each row summing to 1, and
    the prediction. The last places, as many as the answer has tokens, are those that predict it.

    Raises NotOffered where a layer of the model has no such weights.
    """
    model = prediction.model
    names = [f"blocks.{layer}.attn.weights" for layer in range(model.depth)]
    missing = [name for name in names if name not in model.sites()]
    if missing:
        raise NotOffered(f"{prediction.name} needs the attention weights of every layer; this model lacks {missing[0]}")
    ids = prediction.ids[None]
    with evaluating(model), torch.no_grad():
        with model.capture(*names) as seen:
            logits = prediction.logits(ids=ids)
        value = prediction.valued(logits, ids=ids).item()
    return [single(seen[name][0]) for name in names], value


def of_the_answer(weights: Tensor, prediction: Prediction) -> Tensor:
    """(..., places, places) -> (..., time): what the places that predict the answer pay to the prompt, on the average
    over them. Attention to the answer's own tokens is left out, so what is left of several may sum to less than 1."""
    time = len(prediction.ids)
    return weights[..., time - 1 :, :time].mean(-2)
