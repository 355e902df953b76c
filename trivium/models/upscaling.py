"""Depth up-scaling: a deeper model out of a trained one, in which a block of layers stands twice.

Source
    01.AI 2024, "Yi: Open Foundation Models by 01.AI", arXiv:2403.04652, for the step from 6B to 9B. The claim is that
    of the abstract; the recipe is from general knowledge of it, not from the paper's text.
Equation
    layers 0 .. L-1  ->  0 .. last-1, first .. last-1, last .. L-1;   L' = L + last - first (Yi: 32, 12 to 28, 48)
    duplicate: the copies have the weights of the layers that they are copies of
    identity:  their last matrices are 0 besides, so that a copy passes on what it is given:  f(x) = x + W_out(...) = x
    similarity of layer l = mean over tokens of cos(x_l, x_{l+1}), with x_l what enters layer l
    the layers to copy: the contiguous ones whose similarity is largest on average
Shapes
    a model of L layers -> a model of its own of L' layers; ids (batch, time) -> similarity (L,)
Cost
    No training; the deeper model has the parameters of the copies more, and each pass costs L' / L. The similarity
    takes one pass over some texts, which hold the stream of every layer.
Caveats
    The way to choose the layers, and the mode that keeps the function as a control, are our reading. Copies own their
    weights. No optimiser state is copied: training goes on with a fresh one (training/growing.py). A layer whose
    working depends on its place, such as one with a decay by depth, is found out by running it, and refused. Shown at
    6 to 9 billion parameters after some 800 billion tokens more, at a constant low rate with growing batches.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.core.capabilities import require_offers
from trivium.core.errors import NotFinite, NotOffered
from trivium.core.nouns import Batch
from trivium.core.protocols import LanguageModel
from trivium.core.seeds import generator
from trivium.models._families import branch_ends
from trivium.models.cutting import arranged
from trivium.models.huggingface import HuggingFaceModel
from trivium.models.skeleton import Skeleton

Mode = Literal["duplicate", "identity"]

FEWEST = 256
"""Tokens below which a similarity says little."""


def order(depth: int, first: int, last: int) -> tuple[int, ...]:
    """Which layer of the model each layer of the deeper one comes from; the copies are last to 2 last - first - 1."""
    if not 0 <= first < last <= depth:
        raise ValueError(
            f"first and last must name a range of the {depth} layers, 0 <= first < last <= {depth}; "
            f"got {first} and {last}"
        )
    return (*range(last), *range(first, depth))


def upscale(model: LanguageModel, first: int, last: int, mode: Mode = "duplicate") -> LanguageModel:
    """A model of its own in which layers ``first`` to ``last`` (excluded) stand twice; the one given is not touched.

    Raises NotOffered where the layers cannot be copied: the model has none that can be run by themselves, they work
    differently at another place, or, for ``identity``, their branches do not end in a matrix that can be set to 0.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}; got {mode!r}")
    layers = order(model.depth, first, last)
    require_offers("upscaling", model, ["layers"])
    if isinstance(model, HuggingFaceModel):
        deeper: Any = arranged(model, layers)
        blocks = deeper.parts.blocks
    elif isinstance(model, Skeleton):
        deeper = _rebuilt(model, layers)
        blocks = deeper.blocks
    else:
        raise NotOffered(f"native models and those of transformers can be upscaled, not a {type(model).__name__}")
    _check_places(model, deeper, layers)
    if mode == "identity":
        for copy in range(last, 2 * last - first):
            _silence(blocks[copy])
            _check_silent(deeper, copy)
    return deeper.train(model.training)


def _rebuilt(model: Skeleton, layers: Sequence[int]) -> Skeleton:
    """The recipe with another depth, and each layer with the weights of the one that it comes from."""
    name = type(model.recipe).__name__
    if "depth" not in {field.name for field in fields(model.recipe)}:
        raise NotOffered(f"{name} has no field 'depth', so a deeper model of it cannot be described")
    deeper = replace(model.recipe, depth=len(layers)).build(model.vocab_size).to(device=model.device, dtype=model.dtype)
    held = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for path, parameter in deeper.named_parameters():
            source = path
            if path.startswith("blocks."):
                _, number, rest = path.split(".", 2)
                source = f"blocks.{layers[int(number)]}.{rest}"
            if source not in held or held[source].shape != parameter.shape:
                raise NotOffered(
                    f"the layers of {name} differ by their place: {path} of the deeper model has no like in {source}; "
                    "choose other layers"
                )
            parameter.copy_(held[source])
    return deeper


def _stream(model: LanguageModel) -> Tensor:
    """(1, 8, width): a stream that is like no other, to try layers on."""
    noise = torch.randn(1, 8, model.width, generator=generator(0, "upscaling"))
    return noise.to(device=model.device, dtype=model.dtype)


@torch.no_grad()
def _check_places(model: LanguageModel, deeper: LanguageModel, layers: Sequence[int]) -> None:
    """Raise NotOffered unless each layer of the deeper model does what the one that it comes from does."""
    stream = _stream(model)
    was, trained = model.training, deeper.training
    model.eval()
    deeper.eval()
    try:
        for new, old in enumerate(layers):
            if not torch.equal(deeper.layers(new, new + 1, stream), model.layers(old, old + 1, stream)):
                raise NotOffered(
                    f"layer {old} of this model works differently at place {new}: what it does depends on the depth, "
                    "so a copy is another layer"
                )
    finally:
        model.train(was)
        deeper.train(trained)


def _silence(block: nn.Module) -> None:
    """Set what both branches end in to 0, biases included."""
    with torch.no_grad():
        if any(hasattr(part, "roles") for part in block.modules()):
            for part in block.modules():
                roles = getattr(part, "roles", {})
                for name, parameter in part.named_parameters(recurse=False):
                    if "out" in roles.values() and roles.get(name) in ("out", "zero"):
                        parameter.zero_()
            return
        for end in branch_ends(block):
            for parameter in () if end is None else end.parameters():
                parameter.zero_()


@torch.no_grad()
def _check_silent(deeper: LanguageModel, layer: int) -> None:
    stream = _stream(deeper)
    if not torch.equal(deeper.layers(layer, layer + 1, stream), stream):
        raise NotOffered(
            f"layer {layer} changes the stream though its branches end in 0, so it cannot pass on what it is given; "
            "use mode 'duplicate'"
        )


@torch.no_grad()
def similarity(model: LanguageModel, batches: Iterable[Batch]) -> list[float]:
    """Of each layer the cosine between what enters and what leaves it, as a mean over all real tokens.

    Raises ValueError for fewer than 256 tokens, NotFinite where a layer gives what is no number.
    """
    require_offers("the similarity of layers", model, ["sites"])
    names = [f"blocks.{layer}.in" for layer in range(model.depth)] + [f"blocks.{model.depth - 1}.out"]
    total, count = torch.zeros(model.depth, dtype=torch.float64), 0
    was = model.training
    model.eval()
    try:
        for batch in batches:
            batch = batch.to(model.device)
            with model.capture(*names) as seen:  # type: ignore[attr-defined]
                model(batch.ids, mask=batch.mask, segments=batch.segments, logits_to_keep=1)
            real = torch.ones_like(batch.ids, dtype=torch.bool) if batch.mask is None else batch.mask
            for layer in range(model.depth):
                before, after = (seen[name][real].double() for name in names[layer : layer + 2])
                total[layer] += F.cosine_similarity(before, after, dim=-1).sum().cpu()
            count += int(real.sum())
    finally:
        model.train(was)
    if count < FEWEST:
        raise ValueError(f"{count} tokens tell little about a layer; give at least {FEWEST}")
    if not total.isfinite().all():
        raise NotFinite(f"layers {(~total.isfinite()).nonzero()[:, 0].tolist()} give no finite similarity")
    return (total / count).tolist()


def most_alike(profile: Sequence[float], count: int) -> tuple[int, int]:
    """``first`` and ``last`` of so many layers in a row that change their input least; the first of equals."""
    if not 1 <= count <= len(profile):
        raise ValueError(f"count must be 1 to the {len(profile)} layers that the model has, got {count}")
    first = max(range(len(profile) - count + 1), key=lambda start: sum(profile[start : start + count]))
    return first, first + count
