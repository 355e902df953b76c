"""Softmax attention over a sliding window: a query sees the last W tokens of its document, itself among them.

Queries are taken in blocks of W, each over the 2 W - 1 columns that any of them may see, so that the cost grows with
time times W and not with the square of time. The memory holds the W - 1 last keys and values, or fewer while there are
fewer, and how many of its columns are tokens of the row: the last so many. Padding is no token, wherever it stands: the
tokens of a row are first brought together.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trivium.nn.attention import attention
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
    out = _blocks(q, k, v, window, held, documents)
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


def _blocks(q: Tensor, k: Tensor, v: Tensor, window: int, held: Tensor | None, documents: Tensor | None) -> Tensor:
    """Queries, the last of as many columns as there are keys, in blocks. ``held``: tokens among the columns before."""
    batch, _, time, _ = q.shape
    past = k.shape[2] - time
    if window >= time and held is None and documents is None:
        return attention(q, k, v)
    window = min(window, past + time)
    size = min(window, time)
    lead, tail = window - 1 - past, -time % size  # columns that are missing before the first and behind the last
    span = size + window - 1
    q = F.pad(q, (0, 0, 0, tail)).unflatten(2, (-1, size)).transpose(1, 2)  # (batch, blocks, heads, size, width)
    k, v = (F.pad(x, (0, 0, lead, tail)).unfold(2, span, size).permute(0, 2, 1, 4, 3) for x in (k, v))
    columns = torch.arange(window - 1 + time + tail, device=q.device)
    first = lead + past - (0 if held is None else held[:, None])  # the first column that is a token
    seen = (columns >= first).view(-1, 1, columns.shape[0]).unfold(2, span, size)  # (batch or 1, 1, blocks, span)
    mask = torch.ones(size, span, dtype=torch.bool, device=q.device).tril(window - 1).triu() & seen[:, 0, :, None]
    if documents is not None:
        asking = F.pad(documents, (0, tail)).unflatten(1, (-1, size))
        mask = mask & (asking[..., None] == F.pad(documents, (window - 1, tail)).unfold(1, span, size)[:, :, None])
    mask = mask.expand(batch, -1, -1, -1).flatten(0, 1)[:, None]  # (batch * blocks, 1, size, span)
    out = attention(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), mask)
    return out.unflatten(0, (batch, -1)).transpose(1, 2).flatten(2, 3)[:, :, :time]


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
