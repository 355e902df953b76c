"""Softmax attention over a sliding window: a query sees the last W tokens of its document, itself among them.

The window itself is ``banded_attention``; here is what is remembered of a row whose window slides on: the W - 1 last
keys and values, or fewer while there are fewer, and how many of these columns are tokens of the row, the last so many.
Padding is no token, wherever it stands: the tokens of a row are first brought together.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trivium.nn.attention import banded_attention
from trivium.nn.sequences import columns_at, tokens_first

Memory = tuple[Tensor, ...]
"""Keys and values (batch, heads, kept, width), and the number of tokens among these columns (batch,)."""


def window_attention(
    q: Float[Tensor, "batch heads time width"],
    k: Float[Tensor, "batch heads time width"],
    v: Float[Tensor, "batch heads time value"],
    window: int,
    *,
    memory: Memory | None = None,
    real: Bool[Tensor, "batch time"] | None = None,
    documents: Int[Tensor, "batch time"] | None = None,
) -> tuple[Float[Tensor, "batch heads time value"], Memory]:
    """Outputs and the memory after the last token. ``documents`` as ``document_numbers`` gives them; the memory that
    comes in belongs to document 0."""
    batch, _, time, _ = q.shape
    back = None
    if real is not None:
        order, back = tokens_first(real)
        q, k, v = (columns_at(x, order, 2) for x in (q, k, v))
        documents = None if documents is None else columns_at(documents, order)
    if memory is not None:
        k, v = (torch.cat((old.to(new.dtype), new), 2) for old, new in zip(memory[:2], (k, v), strict=True))
    held = None if memory is None else memory[2]
    out = banded_attention(q, k, v, window, documents=_numbered(held, k.shape[2] - time, documents, q))
    if back is not None:
        out = columns_at(out, back, 2)
    kept = min(window - 1, k.shape[2])
    tokens = q.new_full((batch,), time, dtype=torch.int64) if real is None else real.sum(1)
    if real is None:
        first = k.shape[2] - kept
        keys, values = k[:, :, first:].clone(), v[:, :, first:].clone()  # a view would hold on to all columns
    else:  # columns before the first are no tokens, whichever they are
        ends = k.shape[2] - time + tokens[:, None] - kept + torch.arange(kept, device=q.device)
        keys, values = (columns_at(x, ends.clamp(min=0), 2) for x in (k, v))
    if documents is not None:
        final = documents.gather(1, (tokens - 1).clamp(min=0)[:, None])
        inside = torch.arange(time, device=q.device) < tokens[:, None]
        tokens = ((documents == final) & inside).sum(1)
        held = None if held is None else held * (final[:, 0] == 0)
    return out, (keys, values, (tokens if held is None else tokens + held).clamp(max=kept))


def _numbered(held: Tensor | None, past: int, documents: Tensor | None, q: Tensor) -> Tensor | None:
    """(batch, past + time): the document of each column; that of what is remembered is 0, and columns of the memory
    that are no tokens are of none. None where a query may see all columns of its window."""
    whole = held is None or bool((held == past).all())
    if documents is None and whole:
        return None
    batch, _, time, _ = q.shape
    own = torch.zeros(batch, time, dtype=torch.int64, device=q.device) if documents is None else documents
    if held is None:
        return own
    before = -(torch.arange(past, device=q.device) < past - held[:, None]).long()
    return torch.cat((before, own), 1)


def window_attention_reference(
    q: Float[Tensor, "batch heads time width"],
    k: Float[Tensor, "batch heads time width"],
    v: Float[Tensor, "batch heads time value"],
    window: int,
    *,
    real: Bool[Tensor, "batch time"] | None = None,
    documents: Int[Tensor, "batch time"] | None = None,
) -> Float[Tensor, "batch heads time value"]:
    """``window_attention`` query by query, from an empty memory; zeros at padding."""
    out = torch.zeros_like(v)
    for row in range(q.shape[0]):
        tokens: list[int] = []
        for t in range(q.shape[2]):
            if real is not None and not bool(real[row, t]):
                continue
            if tokens and documents is not None and int(documents[row, t]) != int(documents[row, tokens[-1]]):
                tokens = []
            tokens = [*tokens, t][-window:]
            scores = (k[row, :, tokens] @ q[row, :, t, :, None])[..., 0] / q.shape[-1] ** 0.5
            mixed = (scores.softmax(-1)[:, None] @ v[row, :, tokens])[:, 0]
            out = out.index_put((torch.tensor(row), torch.arange(q.shape[1]), torch.tensor(t)), mixed)
    return out
