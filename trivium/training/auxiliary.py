"""Losses that a model asks for beside the objective, such as those that keep its experts busy evenly.

    total + count sum_name weight_name mean(loss_name),   the mean over the layers that report the loss, and over the
    tokens whose successor is predicted

Layers report them through ``Context.aux``, one number per token, and ``LanguageModel.auxiliary`` holds the weights. Of
a token loss this mean has the numerator and the denominator of cross-entropy. So micro-batches and processes add up
exactly, wherever a token's loss hangs on its own row alone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from trivium.core.nouns import Batch, Loss
from trivium.models.skeleton import SkeletonOutput


@contextmanager
def asked_for(model: nn.Module) -> Iterator[Callable[[Loss], Loss]]:
    """Watch the passes of a model within the block; what comes out adds to a loss what they asked for.

    Passes that no gradient goes through, as those of a teacher, ask for nothing. Raises ValueError where a loss that
    has a weight is reported by no layer.
    """
    weights = {name: weight for name, weight in getattr(model, "auxiliary", {}).items() if weight}
    seen: list[Tensor] = []

    def note(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        if isinstance(output, SkeletonOutput) and output.logits.requires_grad:
            each = _of_each_token(output, weights)
            mask = named.get("mask")
            facts = Batch(each, mask if mask is not None and mask.ndim == 2 else None, named.get("segments"))
            counted = facts.predicts()
            seen.append(torch.stack([torch.where(counted, each, 0.0).sum(), counted.sum().to(each.dtype)]))

    def add(loss: Loss) -> Loss:
        if not seen:
            return loss
        total, tokens = torch.stack(seen).sum(0)
        return replace(loss, total=loss.total + loss.count * total / tokens.clamp(min=1))

    handle = model.register_forward_hook(note, with_kwargs=True) if weights else None
    try:
        yield add
    finally:
        if handle is not None:
            handle.remove()


def _of_each_token(output: SkeletonOutput, weights: dict[str, float]) -> Tensor:
    """(batch, time): the weighted losses of each token, of each the mean over layers."""
    total = torch.zeros((), device=output.logits.device)
    for name, weight in weights.items():
        layers = [loss for key, loss in output.aux.items() if key.rpartition(".")[0] == name]
        if not layers:
            raise ValueError(
                f"this model weighs a loss {name!r} with {weight}, but no layer reported one; report it through "
                f"ctx.aux as '{name}.LAYER', or set its weight to 0"
            )
        total = total + weight * torch.stack(layers).mean(0)
    return total
