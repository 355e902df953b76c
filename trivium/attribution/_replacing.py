"""Prompts with some of their tokens taken away, by what stands in their place."""

from collections.abc import Callable

import torch
from torch import Tensor

from trivium.attribution._prediction import Neutral, Prediction


def replacing(prediction: Prediction, replacement: Neutral) -> Callable[[Tensor], Tensor]:
    """A function of what is hidden, (rows, time) bool, to the prediction of each row (rows,)."""
    if isinstance(replacement, int):
        token = prediction.token(replacement)
        return lambda hide: prediction.values(ids=prediction.ids.masked_fill(hide, token))
    embeds, neutral = prediction.embeds(), prediction.neutral(replacement)
    return lambda hide: prediction.values(embeds=torch.where(hide[..., None], neutral, embeds))
