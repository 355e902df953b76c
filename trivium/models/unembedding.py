"""The last matrix of a model, for methods that read hidden states off before or beside it, or compare its rows."""

from typing import Any

import torch
from torch import Tensor, nn

from trivium.core.errors import NotOffered
from trivium.core.protocols import LanguageModel, Partial
from trivium.models._int8 import Int8Linear
from trivium.models.huggingface import HuggingFaceModel


def head_of(model: nn.Module) -> Any:
    """What turns hidden states into logits, as a rule a module; None where a model names none."""
    return model.parts.head if isinstance(model, HuggingFaceModel) else getattr(model, "head", None)


def unembedding(model: LanguageModel, what: str) -> tuple[Tensor, Tensor | None]:
    """Weight (vocab, width) and bias (vocab,) of the head, detached but not copied (8-bit
    ones are widened): nobody trains them through this.

    What a model does behind its head (a softcap, a scale) keeps the order of the logits and is left out. ``what`` asks
    is named in the error for a model without a matrix for a head.
    """
    if isinstance(model, Partial):
        weight, bias = unembedding(model.whole, what)
        return weight[model.kept], None if bias is None else bias[model.kept]
    head = head_of(model)
    weight = head.widened() if isinstance(head, Int8Linear) else getattr(head, "weight", None)
    if not isinstance(weight, Tensor):
        raise NotOffered(f"{what} needs a model whose head is a matrix, and {type(model).__name__} has none")
    bias = getattr(head, "bias", None)
    return weight.detach(), bias.detach() if isinstance(bias, Tensor) else None


def read_off(hidden: Tensor, head: tuple[Tensor, Tensor | None]) -> Tensor:
    """(..., width) -> logits (..., vocab), in the head's number format."""
    return torch.nn.functional.linear(hidden.to(head[0].dtype), *head)
