"""The rows of a model that belong to tokens, and a model with other ones: what changing a vocabulary comes down to.

The rows of a head stand with its bias as one matrix (vocab, width + 1): a logit is then one inner product. A head that
is tied shares its rows with the embedding; only its bias is its own.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trivium.core.errors import NotFinite, NotOffered
from trivium.core.protocols import LanguageModel
from trivium.models.huggingface import HuggingFaceModel, wrap
from trivium.models.skeleton import Skeleton
from trivium.models.slots import TokenEmbedding
from trivium.models.unembedding import head_of
from trivium.nn.factorised import FactorisedEmbedding, FactorisedHead

ROLES = ("bos", "eos", "pad", "unk", "cls", "sep", "mask")


@dataclass(frozen=True, eq=False)
class Rows:
    """``embedding`` (vocab, width); ``head`` (vocab, width), None where it is tied; ``bias`` (vocab,), None where the
    head has none."""

    embedding: Tensor
    head: Tensor | None = None
    bias: Tensor | None = None

    @property
    def tied(self) -> bool:
        return self.head is None


def rows_of(model: LanguageModel) -> Rows:
    """Embedding and head of a model, detached and not copied.

    Raises NotOffered for weights that are not plain numbers in a row per token, NotFinite for NaN or infinity in them.
    """
    if isinstance(model, HuggingFaceModel):
        if model.quantised:
            raise NotOffered("rows of 8-bit weights cannot be written; load the model in float32 or bfloat16")
        embedding: nn.Module = model.parts.embedding
    elif isinstance(model, Skeleton):
        embedding = model.embedding
        if not isinstance(embedding, (TokenEmbedding, FactorisedEmbedding)):
            raise NotOffered(
                f"{type(embedding).__name__} has no row for each token, so this model keeps the vocabulary it has"
            )
    else:
        raise NotOffered(f"the rows of a {type(model).__name__} are not at hand; give the model itself")
    head, table = head_of(model), getattr(embedding, "weight", None)
    own = getattr(head, "weight", None)
    if not isinstance(table, Tensor) or not isinstance(own, Tensor) or table.ndim != 2:
        raise NotOffered(f"{type(model).__name__} has no embedding and head with a row for each token")
    if not table.is_floating_point() or own.shape[0] != table.shape[0]:
        raise NotOffered(f"the embedding {tuple(table.shape)} and the head {tuple(own.shape)} are not rows of tokens")
    tied = isinstance(head, FactorisedHead) or own is table
    bias = getattr(head, "bias", None)
    rows = Rows(table.detach(), None if tied else own.detach(), bias.detach() if isinstance(bias, Tensor) else None)
    check_finite_rows(rows)
    return rows


def check_finite_rows(rows: Rows) -> None:
    """Raise NotFinite for NaN or infinity in them, naming the first such rows."""
    for name, tensor in (("embedding", rows.embedding), ("head", rows.head), ("head's bias", rows.bias)):
        if tensor is not None and not tensor.isfinite().all():
            bad = (~tensor.isfinite()).reshape(len(tensor), -1).any(1).nonzero()[:, 0].tolist()
            raise NotFinite(f"the {name} has rows that are not finite: {bad[:8]}; the weights are damaged")


def check_finite_weights(model: nn.Module) -> None:
    """Raise NotFinite, naming the tensors, for NaN or infinity in any weight."""
    bad = [name for name, part in model.named_parameters() if part.is_floating_point() and not part.isfinite().all()]
    if bad:
        raise NotFinite(f"weights that are not finite: {', '.join(bad[:8])}; they are damaged, copy the model again")


def with_rows(model: LanguageModel, rows: Rows, roles: Mapping[str, int | None]) -> LanguageModel:
    """A model of its own with these rows; the one given is not touched. ``roles``: what bos, eos, pad, ... are now.

    Raises NotOffered where something other than embedding and head depends on the vocabulary.
    """
    if isinstance(model, HuggingFaceModel):
        return _pretrained(model, rows, roles)
    if isinstance(model, Skeleton):
        return _native(model, rows)
    raise NotOffered(f"a {type(model).__name__} cannot be given other rows")


def _native(model: Skeleton, rows: Rows) -> LanguageModel:
    """The recipe with another number of tokens, and everything else as it was."""
    what, count = type(model.recipe).__name__, len(rows.embedding)
    made = model.recipe.build(count).to(device=model.device, dtype=model.dtype)
    ends = {"embedding.weight", "head.weight", "head.bias"}
    held = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    with torch.no_grad():
        for name, tensor in {
            **dict(made.named_parameters(remove_duplicate=False)),
            **dict(made.named_buffers()),
        }.items():
            if name in ends:
                continue
            if name not in held or held[name].shape != tensor.shape:
                raise NotOffered(f"{what} has weights besides embedding and head that depend on the vocabulary: {name}")
            tensor.copy_(held[name])
        _fill(made.embedding, made.head, rows)
    return made.train(model.training)


def _pretrained(model: HuggingFaceModel, rows: Rows, roles: Mapping[str, int | None]) -> LanguageModel:
    check_padding(model.inner, roles)
    made: Any = copy.deepcopy(model.inner)
    if isinstance(model.parts.embedding, FactorisedEmbedding):
        raise NotOffered("a factorised embedding is given no other rows; materialise it first (models/factorised.py)")
    with torch.random.fork_rng(devices=[]):  # new rows are drawn, and overwritten below
        made.resize_token_embeddings(len(rows.embedding), mean_resizing=False)
    embedding, head = made.get_input_embeddings(), made.get_output_embeddings()
    with torch.no_grad():
        _fill(embedding, head, rows)
        for name in leftovers(model.inner):  # resizing leaves them as they were, or makes them one with the bias
            home, _, leaf = name.rpartition(".")
            setattr(made.get_submodule(home), leaf, nn.Parameter(head.bias.detach().clone()))
    if getattr(embedding, "padding_idx", None) is not None:
        embedding.padding_idx = roles.get("pad")
    respeak(made.config, getattr(made, "generation_config", None), len(rows.embedding), roles)
    return wrap(made).train(model.training)


def leftovers(model: nn.Module) -> list[str]:
    """Parameters that a model saves beside the bias of its head and never reads: what the bias is tied to where the
    head is tied, and a copy apart where it is not."""
    said: Any = getattr(model, "_tied_weights_keys", None) or {}
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    held = dict(model.named_parameters(remove_duplicate=False))
    ours = {name for name, part in held.items() if part is getattr(head, "bias", None)}
    ties = said.items() if isinstance(said, Mapping) else ()
    each = [(one, other) for pair in ties for one, other in (pair, pair[::-1])]
    return [other for one, other in each if one in ours and other in held and other not in ours]


def respeak(config: Any, generation: Any, count: int, roles: Mapping[str, int | None]) -> None:
    """Tell a configuration, and that of writing where there is one, of another vocabulary and its special tokens."""
    for one in {id(one): one for one in (config, config.get_text_config())}.values():
        one.vocab_size = count
        for role in ROLES:
            if hasattr(one, f"{role}_token_id"):
                setattr(one, f"{role}_token_id", roles.get(role))
    if generation is not None:
        for role in ("bos", "eos", "pad"):
            setattr(generation, f"{role}_token_id", roles.get(role))


def check_padding(model: nn.Module, roles: Mapping[str, int | None]) -> None:
    """Raise ValueError where positions are counted from the id of the padding, which the tokenizer moves."""
    for part in model.modules():
        table = getattr(part, "position_embeddings", None)
        start = getattr(table, "padding_idx", None)
        if isinstance(table, nn.Embedding) and start is not None and roles.get("pad") != start:
            raise ValueError(
                f"{type(model).__name__} counts positions from its padding token, which has the id {start}; the "
                f"tokenizer's has {roles.get('pad')}. Train it with the padding token at that id"
            )


def _fill(embedding: nn.Module, head: nn.Module, rows: Rows) -> None:
    pairs: list[tuple[str, object, object]] = [("embedding", embedding.weight, rows.embedding)]
    if not rows.tied:
        pairs.append(("head", head.weight, rows.head))
    elif head.weight is not embedding.weight:
        raise NotOffered("the head of the new model is not tied to its embedding, as that of the old one was")
    if rows.bias is not None:
        pairs.append(("head's bias", head.bias, rows.bias))
    for name, place, value in pairs:
        if not isinstance(place, Tensor) or not isinstance(value, Tensor) or place.shape != value.shape:
            raise NotOffered(f"the {name} of the new model does not take rows of {getattr(value, 'shape', None)}")
        place.copy_(value)
