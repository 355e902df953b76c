"""Shorter models cut out of pretrained ones: the same parts, fewer blocks; and their blocks in any other order."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from trivium.core.errors import NotOffered
from trivium.core.protocols import LanguageModel
from trivium.models._families import Parts
from trivium.models.huggingface import HuggingFaceModel, wrap


def spread(depth: int, layers: int) -> tuple[int, ...]:
    """So many of ``depth`` blocks, as evenly spaced as they come, the first and the last among them."""
    if not 1 <= layers <= depth:
        raise ValueError(f"layers must be 1 to the {depth} that the model has, got {layers}")
    if layers == 1:
        return (0,)
    return tuple(round(index * (depth - 1) / (layers - 1)) for index in range(layers))


def cut(model: LanguageModel, keep: Sequence[int]) -> HuggingFaceModel:
    """A model of its own with the blocks ``keep`` of a pretrained one, which is not touched.

    Raises NotOffered for what is no Hugging Face model, ValueError for blocks that are not there or out of order.
    """
    if not isinstance(model, HuggingFaceModel):
        raise NotOffered(f"layers are cut out of pretrained models; {type(model).__name__} is a native one: train it")
    depth, keep = model.depth, list(keep)
    if not keep or sorted(set(keep)) != keep or keep[0] < 0 or keep[-1] >= depth:
        raise ValueError(f"keep must name some of the blocks 0 to {depth - 1}, each once and in order; got {keep}")
    return arranged(model, keep)


def arranged(model: HuggingFaceModel, order: Sequence[int]) -> HuggingFaceModel:
    """A model of its own with these blocks of a pretrained one, which is not touched, in this order. A block that is
    named again stands there as a copy with weights of its own. Raises NotOffered where a block depends on its place."""
    depth = model.depth
    dropped = {id(block): nn.Identity() for at, block in enumerate(model.parts.blocks) if at not in order}
    made = copy.deepcopy(model.inner, dict(dropped))  # what is dropped is not copied
    inner = next(part for part in made.modules() if isinstance(part, nn.ModuleList) and len(part) == depth)
    configs: dict[int, Any] = {id(part.config): part.config for part in made.modules() if hasattr(part, "config")}
    blocks: list[nn.Module] = []
    for new, at in enumerate(order):
        # All blocks read one configuration, which the adapter changes for a pass: a copy must not bring its own.
        block = copy.deepcopy(inner[at], dict(configs)) if at in order[:new] else inner[at]
        blocks.append(block)
        for part in block.modules():
            if isinstance(getattr(part, "layer_idx", None), int):
                part.layer_idx = new  # type: ignore[assignment]
    holder, name = next(
        (part, name) for part in made.modules() for name, value in part.named_children() if value is inner
    )
    setattr(holder, name, nn.ModuleList(blocks))
    text = made.config.get_text_config()
    for config in (configs | {id(text): text}).values():
        for field, value in list(vars(config).items()):
            if isinstance(value, list) and len(value) == depth:  # a fact per layer
                setattr(config, field, [value[at] for at in order])
        if getattr(config, "num_hidden_layers", None) == depth:
            config.num_hidden_layers = len(order)
    _check_places(made, blocks)
    return wrap(made)


def _check_places(made: PreTrainedModel, blocks: Sequence[nn.Module]) -> None:
    """Raise NotOffered where a block has a setting that the configuration would not give to it at its new place, such
    as a scale by depth: opened again, the model would be another one."""
    with torch.device("meta"):  # the modules alone, without weights
        built = Parts.of(type(made)(copy.deepcopy(made.config))).blocks
    for number, (block, like) in enumerate(zip(blocks, built, strict=True)):
        others = dict(like.named_modules())
        for path, part in block.named_modules():
            told = vars(others[path]) if path in others else {}
            for name, value in vars(part).items():
                known = isinstance(value, (int, float, str)) and not name.startswith("_") and name != "training"
                if known and told.get(name, value) != value:
                    raise NotOffered(
                        f"layer {number} would work differently at its new place: its {name} is {value}, and that of a "
                        f"layer there is {told[name]}; choose layers that stay where they are"
                    )
