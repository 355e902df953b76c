"""A longer context for a trained model: rotary positions that turn more slowly, before it is trained a little more.

Source
    01.AI 2024, "Yi: Open Foundation Models by 01.AI", arXiv:2403.04652 (the base); Chen et al. 2023, "Extending Context
    Window of Large Language Models via Positional Interpolation", arXiv:2306.15595 (the factor). The claim of the first
    is that of its abstract; the recipe is from general knowledge of both, not from their texts.
Equation
    pair i of a head of width d turns by  (t / factor) base^(-2i/d)  at position t
    base: 10 000 -> 5 000 000 for 4k -> 200k tokens;   factor: the new length over the old one
Shapes
    a model -> a model of its own for sequences of ``context`` tokens, with the same weights
Cost
    None before training: the same parameters and operations. Keys and values, and the operations of attention, grow
    with the sequences that are then given.
Caveats
    At position 0 nothing turns, whatever the base; with the model's own base and factor 1 nothing changes. A larger
    base leaves fast pairs almost as they were, a factor slows all alike. Layers that see a sliding window keep their
    angles: no distance in it is new to them. Learned positions are refused, and a factor for those that are scaled in
    another way (yarn, llama3). Without training on long texts (training/growing.py) neither is of much use. 200k was
    shown at 6 to 34 billion parameters after some billions of tokens more.
"""

import copy
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from trivium.core.errors import NotOffered
from trivium.core.protocols import LanguageModel
from trivium.models.huggingface import HuggingFaceModel, wrap
from trivium.models.skeleton import Skeleton
from trivium.models.slots import RotaryPosition

PLAIN = ("default", "linear")
"""Kinds of rotary positions of transformers: as in the equation, without and with a factor."""
LOCAL = "sliding_attention"


def lengthen(model: LanguageModel, context: int, *, base: float | None = None, factor: float = 1.0) -> LanguageModel:
    """A model of its own that accepts ``context`` tokens; the one given is not touched.

    ``base`` replaces that of the rotary positions, None keeps it; positions are divided by ``factor``, on top of what
    they may be divided by already. Raises NotOffered for a model without rotary positions of this form.
    """
    if base is not None and base <= 0:
        raise ValueError(f"base must be positive, got {base}; None keeps that of the model")
    if factor < 1:
        raise ValueError(f"factor divides the positions, so it is at least 1; got {factor}")
    if model.max_positions is not None and context < model.max_positions:
        raise ValueError(f"context must be at least the {model.max_positions} tokens of the model, got {context}")
    if isinstance(model, HuggingFaceModel):
        return wrap(_pretrained(model, context, base, factor)).train(model.training)
    if isinstance(model, Skeleton):
        return _native(model, context, base, factor).train(model.training)
    raise NotOffered(f"native models and those of transformers can be lengthened, not a {type(model).__name__}")


def _native(model: Skeleton, context: int, base: float | None, factor: float) -> Skeleton:
    recipe, name = model.recipe, type(model.recipe).__name__
    known = {field.name for field in fields(recipe)}
    if not isinstance(model.position, RotaryPosition) or not {"base", "context"} <= known:
        raise NotOffered(f"{name} has no rotary positions with a base to change")
    changed: dict[str, Any] = {"context": context, "base": recipe.base if base is None else base}
    if factor != 1:
        if "stretch" not in known:
            raise NotOffered(f"{name} cannot divide its positions; change the base instead, or use llama")
        changed["stretch"] = recipe.stretch * factor
    longer = replace(recipe, **changed).build(model.vocab_size).to(device=model.device, dtype=model.dtype)
    longer.load_state_dict(model.state_dict())
    return longer


def _pretrained(model: HuggingFaceModel, context: int, base: float | None, factor: float) -> PreTrainedModel:
    longer = copy.deepcopy(model.inner)
    places = [
        (holder, name, table) for holder in longer.modules() for name, table in holder.named_children() if _turns(table)
    ]
    if not places:
        raise NotOffered(
            f"{type(longer).__name__} has no rotary positions in the form of transformers; positions that are learned "
            "cannot be slowed down"
        )
    configs: list[Any] = [longer.config, longer.config.get_text_config(), *(table.config for _, _, table in places)]
    for config in {id(config): config for config in configs}.values():
        if getattr(config, "rope_parameters", None):
            config.rope_parameters = _slowed(config.rope_parameters, base, factor)
        if getattr(config, "max_position_embeddings", None) is not None:
            config.max_position_embeddings = context
    for holder, name, table in places:
        fresh: nn.Module = type(table)(table.config)  # its angles are made anew, in float32, from the configuration
        setattr(holder, name, fresh.to(model.device))
    return longer


def _turns(module: nn.Module) -> bool:
    """Whether this is what makes the rotary angles of a model of transformers."""
    buffers = dict(module.named_buffers(recurse=False))
    return hasattr(module, "config") and any(name.endswith("inv_freq") for name in buffers)


def _slowed(parameters: Mapping[str, Any], base: float | None, factor: float) -> dict[str, Any]:
    """Rotary parameters as transformers writes them down, one set or one per kind of layer."""
    if "rope_type" not in parameters and "rope_theta" not in parameters:
        return {
            kind: part if kind == LOCAL or not part else _slowed(part, base, factor)
            for kind, part in parameters.items()
        }
    made, kind = dict(parameters), parameters.get("rope_type", "default")
    if base is not None:
        made["rope_theta"] = base
    if factor != 1:
        if kind not in PLAIN:
            raise NotOffered(f"the positions of this model are scaled as {kind!r} already; change the base instead")
        made |= {"rope_type": "linear", "factor": parameters.get("factor", 1.0) * factor}
    return made


@torch.no_grad()
def bits_by_position(model: LanguageModel, rows: Tensor, *, batch_size: int = 8) -> Tensor:
    """(time - 1,): bits of the token at each position from 1 on, as a mean over rows (rows, time) of running text.

    To judge a long context the rows must be long documents: the places of short ones packed into a row say nothing.
    """
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise ValueError(f"rows are (rows, time) ids of at least 2 tokens, got {tuple(rows.shape)}")
    was = model.training
    model.eval()
    total = torch.zeros(rows.shape[1] - 1, dtype=torch.float64)
    try:
        for part in rows.to(model.device).split(batch_size):
            logits = model(part).logits[:, :-1]
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, 1)
            nats = F.cross_entropy(wide, part[:, 1:].flatten(), reduction="none")
            total += nats.view(len(part), -1).double().sum(0).cpu()
    finally:
        model.train(was)
    return total / len(rows) / torch.log(torch.tensor(2.0, dtype=torch.float64))


def octaves(bits: Tensor) -> dict[str, float]:
    """Bits by position as means over positions 1, 2-3, 4-7, ..., the last as far as there are positions."""
    means, start = {}, 1
    while start <= len(bits):
        stop = min(2 * start, len(bits) + 1)
        means[f"{start}-{stop - 1}" if stop - 1 > start else f"{start}"] = float(bits[start - 1 : stop - 1].mean())
        start = stop
    return means
