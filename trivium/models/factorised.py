"""Models whose embedding is the product of two thin matrices, in memory and on disk.

A folder holds such a model twice: with the whole table, as any tool opens it, and the factors beside it in
``factors.safetensors``, which ``trivium.load`` puts back in its place.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trivium.core import files
from trivium.core.errors import BrokenModel, NotOffered
from trivium.core.protocols import LanguageModel
from trivium.models.huggingface import HuggingFaceModel
from trivium.models.sources import FACTORS
from trivium.models.unembedding import head_of
from trivium.models.vocabulary import Rows, rows_of, with_rows
from trivium.nn.factorised import FactorisedEmbedding, FactorisedHead


def factorised(
    model: LanguageModel, coordinates: Tensor, primitives: Tensor, bias: Tensor | None, roles: Mapping[str, int | None]
) -> LanguageModel:
    """A model of its own whose embedding is coordinates (vocab, rank) x primitives (rank, width), and whose head reads
    the same factors. Raises NotOffered where the head is not tied to the embedding."""
    check_tied(model)
    table = (coordinates @ primitives).to(model.dtype)
    return _swap(with_rows(model, Rows(table, None, bias), roles), coordinates, primitives)


def check_tied(model: LanguageModel) -> None:
    """Raise NotOffered where factors cannot stand for both ends of the model."""
    if not rows_of(model).tied:
        raise NotOffered(
            "one pair of factors serves embedding and head alike, and the head of this model has rows of its own; "
            "keep the full width (rank=None)"
        )


def factors_of(model: LanguageModel) -> tuple[Tensor, Tensor] | None:
    """(vocab, rank) and (rank, width); None where the embedding is one table."""
    table = _table(model)
    if not isinstance(table, FactorisedEmbedding):
        return None
    return table.coordinates.detach(), table.primitives.detach()


def materialised(model: LanguageModel) -> LanguageModel:
    """A model of its own with the table that its factors make; any other model as it is."""
    table = _table(model)
    if not isinstance(table, FactorisedEmbedding):
        return model
    made: Any = copy.deepcopy(model)
    whole, head = _table(made).whole
    whole.weight = head.weight = nn.Parameter(table.weight.detach().clone())
    head.bias = head_of(made).bias
    return _put(made, whole, head)


def save_factors(model: LanguageModel, folder: str | Path) -> None:
    """Write the factors of a model, or take away those that an earlier one has left."""
    found, path = factors_of(model), Path(folder) / FACTORS
    if found is None:
        path.unlink(missing_ok=True)
        return
    tensors = {name: part.contiguous().cpu() for name, part in zip(("coordinates", "primitives"), found, strict=True)}
    with files.written(path) as part:
        save_file(tensors, part, metadata={"format": "pt"})


def put_back(model: LanguageModel, folder: str | Path) -> LanguageModel:
    """The model with the factors of its folder in the place of the table that they make; it is changed itself.

    Raises BrokenModel where they do not make that table.
    """
    path = Path(folder) / FACTORS
    try:
        held = load_file(path)
        coordinates, primitives = held["coordinates"], held["primitives"]
    except (OSError, SafetensorError, KeyError) as error:
        raise BrokenModel(f"{path} cannot be read ({error!r}); copy it anew, or remove it to use the table") from error
    rows = rows_of(model)
    near = 1e-4 if model.dtype in (torch.float32, torch.float64) else 2e-2
    made = coordinates.double() @ primitives.double() if coordinates.shape[1:] == primitives.shape[:1] else None
    fits = made is not None and made.shape == rows.embedding.shape
    if made is None or not fits or (made - rows.embedding.double().cpu()).abs().max() > near * made.abs().max():
        raise BrokenModel(f"{path} does not make the embedding that lies beside it; copy both anew from one place")
    return _swap(model, coordinates, primitives)


def _table(model: LanguageModel) -> Any:
    return model.parts.embedding if isinstance(model, HuggingFaceModel) else getattr(model, "embedding", None)


def _swap(model: LanguageModel, coordinates: Tensor, primitives: Tensor) -> LanguageModel:
    """Factors in the place of table and tied head; the bias stays."""
    table, head = _table(model), head_of(model)
    scale = getattr(table, "scalar_embed_scale", getattr(table, "embed_scale", getattr(table, "scale", 1.0)))
    like = table.weight.detach()
    probe = torch.arange(min(4, len(like)), device=like.device)[None]
    if not torch.allclose(table(probe), like[probe] * float(scale), rtol=1e-2):
        raise NotOffered(f"{type(table).__name__} does more than look up rows, so factors cannot stand in its place")
    embedding = FactorisedEmbedding(coordinates.to(like), primitives.to(like), float(scale))
    tied = FactorisedHead(embedding, None if head.bias is None else head.bias.detach())
    embedding.whole = tuple(_without_rows(part) for part in (table, head))  # a tuple is not registered
    return _put(cast(Any, model), embedding, tied)


def _without_rows(part: nn.Module) -> nn.Module:
    """A copy of a table or head that holds all but its weight and bias."""
    rows = [tensor for tensor in (part.weight, getattr(part, "bias", None)) if isinstance(tensor, nn.Parameter)]
    return copy.deepcopy(part, {id(tensor): nn.Parameter(tensor.detach().to("meta")) for tensor in rows})


def _put(model: Any, embedding: Any, head: Any) -> LanguageModel:
    if isinstance(model, HuggingFaceModel):
        model.inner.set_input_embeddings(embedding)
        model.inner.set_output_embeddings(head)
        model.parts.embedding, model.parts.head = embedding, head
    else:
        model.embedding, model.head = embedding, head
    return model
