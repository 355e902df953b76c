"""Texts as vectors: the states of a language model over a text's tokens, pooled.

    mean      the mean over the tokens
    last      the state of the last one, which alone has seen the whole text
    weighted  the mean in which token i of n weighs i / (1 + ... + n), since later ones have seen more (SGPT,
              Muennighoff 2022, arXiv:2202.08904)

Tokens that the tokenizer puts before every text are seen and not counted: their states say nothing of the text, and
are often far longer than the others. A vector does not depend on the batch or the order.
"""

import logging
from collections.abc import Sequence
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from torch import Tensor

from trivium.core.errors import NotFinite, NotOffered
from trivium.models._rows import LOGITS, check_batch, padded
from trivium.models.system import System

log = logging.getLogger(__name__)

Pooling = Literal["mean", "last", "weighted"]


@runtime_checkable
class Embedding(Protocol):
    """What embeds by itself, such as a server."""

    def embedded(self, texts: Sequence[str], *, pooling: Pooling, layer: int | None, batch_size: int) -> Tensor: ...


def embed(
    system: System | Embedding,
    texts: Sequence[str],
    *,
    pooling: Pooling = "mean",
    layer: int | None = None,
    batch_size: int = 16,
) -> Tensor:
    """(texts, width), on the CPU and in float32 at least, of no particular length.

    ``layer``: the residual stream behind that block, counted from 0 or, if negative, from the end; by default what
    enters the head. A text that is longer than the model takes is cut on the right, and a warning says how many were.
    Raises ValueError for a text without a token, NotOffered for a layer of a model that shows none.
    """
    if pooling not in get_args(Pooling):
        raise ValueError(f"pooling must be one of {', '.join(get_args(Pooling))}; got {pooling!r}")
    if not texts:
        raise ValueError("there is no text to embed")
    if isinstance(system, Embedding):
        return system.embedded(texts, pooling=pooling, layer=layer, batch_size=batch_size)
    check_batch(system, batch_size)
    model, site = system.model, None if layer is None else _site(system, layer)
    opening = len(getattr(system.tokenizer, "opening", ()))
    rows = []
    for text in texts:
        if not text:
            raise ValueError(f"text {len(rows)} is empty and has no vector; leave it out")
        rows.append(system.prompt(text)[0].tolist())
        if len(rows[-1]) <= opening:
            raise ValueError(f"text {len(rows) - 1}, {text[:40]!r}, has no token and so no vector; leave it out")
    most = model.max_positions
    if most is not None and (long := sum(len(row) > most for row in rows)):
        log.warning(
            "%d of %d texts are longer than the %d tokens of %s and are cut", long, len(rows), most, system.name
        )
        rows = [row[:most] for row in rows]
    order = sorted(range(len(rows)), key=lambda at: -len(rows[at]))
    if site is None:  # logits of every token are made beside the states
        batch_size = max(1, min(batch_size, LOGITS // (max(map(len, rows)) * model.vocab_size)))
    found: dict[int, Tensor] = {}
    was = model.training
    model.eval()
    try:
        with torch.no_grad():
            for start in range(0, len(order), batch_size):
                places = order[start : start + batch_size]
                pooled = _pooled(system, [rows[at] for at in places], opening, pooling, site)
                if not pooled.isfinite().all():
                    bad = places[int((~pooled.isfinite().all(-1)).nonzero()[0, 0])]
                    raise NotFinite(
                        f"{system.name} gives text {bad}, {texts[bad][:40]!r}, a vector that is not finite; its "
                        "weights are damaged, or need a wider dtype"
                    )
                found |= zip(places, pooled.cpu(), strict=True)
    finally:
        model.train(was)
    return torch.stack([found[at] for at in range(len(rows))])


def _site(system: System, layer: int) -> str:
    depth = system.model.depth
    if not -depth <= layer < depth:
        raise ValueError(f"layer {layer} is none of the {depth} of {system.name} (0 to {depth - 1}, or from -1 down)")
    name = f"blocks.{layer % depth}.out"
    if name not in system.model.sites():
        raise NotOffered(f"{system.name} does not show the stream behind its layers; leave layer out")
    return name


def _pooled(system: System, rows: Sequence[Sequence[int]], opening: int, pooling: Pooling, site: str | None) -> Tensor:
    """One pass; padding stands on the right, where no token sees it."""
    model = system.model
    ids, mask = padded(rows, model.device, left=False)
    if site is None:
        hidden = model(ids, mask=mask).hidden
    else:
        with model.capture(site) as seen:
            model(ids, mask=mask, logits_to_keep=1)
        hidden = seen[site]
    hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))[:, opening:]
    lengths = torch.tensor([len(row) - opening for row in rows], device=hidden.device)[:, None]
    place = torch.arange(hidden.shape[1], device=hidden.device)
    weight = (place == lengths - 1) if pooling == "last" else (place < lengths)
    weight = weight * (place + 1) if pooling == "weighted" else weight
    hidden = torch.where(weight[..., None] > 0, hidden, 0.0)  # padding may hold anything
    weight = weight.to(hidden.dtype)
    return (weight[..., None] * hidden).sum(1) / weight.sum(1, keepdim=True)
