"""Passes of models whose memory is a state of fixed size (Mamba and its kin).

Such a model has no positions and no slots, so ragged rows are brought into a shape that it can take: without a state,
each row is pushed to the right end, since padding on the left leaves the memory untouched; with a state, tokens are fed
one by one, and rows that are padding at that step keep their memory. Packed documents become rows of their own.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache

from trivium.core.errors import NotOffered
from trivium.core.protocols import LMOutput, State
from trivium.models.state import RecurrentState, stored

if TYPE_CHECKING:
    from trivium.models.huggingface import HuggingFaceModel


def recur(
    model: "HuggingFaceModel",
    ids: Tensor | None,
    embeds: Tensor | None,
    mask: Tensor | None,
    positions: Tensor | None,
    segments: Tensor | None,
    state: State | None,
    keep_state: bool,
    logits_to_keep: int,
) -> LMOutput:
    given = embeds if ids is None else ids
    assert given is not None
    batch, time = given.shape[:2]
    if state is not None and not isinstance(state, RecurrentState):
        raise TypeError(f"this model goes on from its own RecurrentState, not from a {type(state).__name__}")
    mask = model.needed(mask)
    real = torch.ones(batch, time, dtype=torch.bool, device=given.device) if mask is None else mask
    before = torch.zeros(batch, dtype=torch.long) if state is None else state.lengths
    if positions is not None:
        usual = (real.cumsum(1) - 1).clamp(min=0) + before.to(given.device)[:, None]
        if segments is None and (((positions - usual) != 0) & real).any():
            raise NotOffered("this model has no positions; a token's place is the order in which it is fed")
    if segments is not None:
        logits, hidden = _documents(model, given, real, segments)
        cache = None
    elif state is None:
        logits, hidden, cache = _whole(model, given, real, keep_state)
    else:
        logits, hidden, cache = _onwards(model, given, real, state)
    after = (
        RecurrentState(cache, before + real.sum(1).cpu(), (0 if state is None else state.slots) + time)
        if keep_state
        else None
    )
    if logits_to_keep:
        logits, hidden = logits[:, -logits_to_keep:], hidden[:, -logits_to_keep:]
    return LMOutput(logits, hidden, after)


def _pass(model: "HuggingFaceModel", given: Tensor, mask: Tensor | None, cache: Any) -> tuple[Tensor, Tensor]:
    name = "inputs_embeds" if given.is_floating_point() else "input_ids"
    arguments = {name: given, "attention_mask": mask, "use_cache": cache is not None}
    if cache is not None:
        arguments[model.cache_name or "cache_params"] = cache
    return model.through(arguments, 0)


def _whole(model: "HuggingFaceModel", given: Tensor, real: Tensor, keep_state: bool) -> tuple[Tensor, Tensor, Any]:
    """From the start, each row pushed to the right end."""
    cache = DynamicCache(config=model.config) if keep_state else None
    if real.all():
        return *_pass(model, given, None, cache), cache
    order = real.to(torch.uint8).argsort(dim=1, stable=True)  # padding first
    back = order.argsort(dim=1)
    logits, hidden = _pass(model, _along(given, order), real.gather(1, order).long(), cache)
    return _along(logits, back), _along(hidden, back), cache


def _onwards(
    model: "HuggingFaceModel", given: Tensor, real: Tensor, state: RecurrentState
) -> tuple[Tensor, Tensor, Any]:
    """From a state, one token after another: the scan of several tokens would begin from an empty memory."""
    cache = state.copied().cache
    parts: list[tuple[Tensor, Tensor]] = []
    for step in range(given.shape[1]):
        idle = ~real[:, step]
        former = [tensor.clone() for _, _, tensor in stored(cache)] if idle.any() else []
        parts.append(_pass(model, given[:, step : step + 1], None, cache))
        for (states, key, tensor), old in zip(stored(cache), former, strict=False):
            states[key] = torch.where(idle.view(-1, *[1] * (old.ndim - 1)), old, tensor)
    return torch.cat([logits for logits, _ in parts], 1), torch.cat([hidden for _, hidden in parts], 1), cache


def _documents(model: "HuggingFaceModel", given: Tensor, real: Tensor, segments: Tensor) -> tuple[Tensor, Tensor]:
    """Packed documents, each as a row of its own, put back where they were."""
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    document = begins.flatten().cumsum(0) - 1  # (batch * time,), numbered over all rows
    counts = torch.bincount(document)
    column = torch.arange(len(document), device=given.device) - (counts.cumsum(0) - counts)[document]
    shape = (len(counts), int(counts.max()))
    rows = given.new_zeros(*shape, *given.shape[2:])
    rows[document, column] = given.flatten(0, 1)
    inside = torch.zeros(shape, dtype=torch.bool, device=given.device)
    inside[document, column] = real.flatten()
    logits, hidden, _ = _whole(model, rows, inside, keep_state=False)
    return logits[document, column].unflatten(0, segments.shape), hidden[document, column].unflatten(0, segments.shape)


def _along(tensor: Tensor, order: Tensor) -> Tensor:
    """Rows of ``tensor`` (batch, time, ...) in the order given by (batch, time)."""
    return tensor.gather(1, order.view(*order.shape, *[1] * (tensor.ndim - 2)).expand_as(tensor))
