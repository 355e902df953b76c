"""Causal linear attention whose memory fades, one rate per head, in three equal forms.

    S_t = lambda S_{t-1} + k_t v_t^T        o_t = q_t S_t        lambda = exp(-rate)

``decayed_attention`` works through chunks (lightning attention), ``decayed_attention_step`` takes one token, and
``decayed_attention_reference`` is the loop over time. Rate 0 is plain causal linear attention. There is no denominator.

The chunked form only ever raises lambda to powers that are not negative, so nothing overflows at any length. The common
factorisation of the decay into lambda^t and lambda^-s does: ``exp(rate * s)`` is infinite in float32 from
``rate * s = 89`` on.

Two facts about the tokens change the plain sum. A padded token (``real`` False) adds nothing and does not count as
time, so padding never fades the memory. A token of a new document starts from an empty memory, exactly. Input in half
precision is computed, and the state kept, in float32.

With a ``Kernel`` the inner product of two vectors gives way to that of their features, phi(q) . phi(k): within a chunk
it is computed as such, and features are made only for what goes into the state and comes out of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Kernel:
    """An inner product of features: ``scores`` gives it for (..., time, key) queries and keys, ``features`` makes those
    of either."""

    scores: Callable[[Tensor, Tensor], Tensor]
    features: Callable[[Tensor], Tensor]


PLAIN = Kernel(lambda q, k: q @ k.mT, lambda x: x)


def decayed_attention(
    q: Float[Tensor, "batch heads time key"],
    k: Float[Tensor, "batch heads time key"],
    v: Float[Tensor, "batch heads time value"],
    rate: Float[Tensor, "heads"],
    *,
    state: Float[Tensor, "batch heads feature value"] | None = None,
    real: Bool[Tensor, "batch time"] | None = None,
    documents: Int[Tensor, "batch time"] | None = None,
    chunk: int = 64,
    kernel: Kernel = PLAIN,
) -> tuple[Float[Tensor, "batch heads time value"], Float[Tensor, "batch heads feature value"]]:
    """Outputs and the state after the last token. ``documents`` as ``document_numbers`` gives them; the state that
    comes in belongs to document 0."""
    dtype = q.dtype
    with torch.autocast(q.device.type, enabled=False):
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        q, k, v, rate = (tensor.to(wide) for tensor in (q, k, v, rate))
        state = None if state is None else state.to(wide)
        time = q.shape[2]
        size = max(1, min(chunk, time))
        whole = time - time % size
        out, state = _chunks(q, k, v, rate, state, real, documents, slice(0, whole), size, None, kernel)
        if whole < time:
            before = None if documents is None else documents[:, whole - 1]
            span = slice(whole, time)
            rest, state = _chunks(q, k, v, rate, state, real, documents, span, time - whole, before, kernel)
            out = torch.cat((out, rest), 2)
    return out.to(dtype), state


def _chunks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    state: Tensor | None,
    real: Tensor | None,
    documents: Tensor | None,
    span: slice,
    size: int,
    before: Tensor | None,
    kernel: Kernel,
) -> tuple[Tensor, Tensor]:
    """The tokens of ``span`` in chunks of ``size``, which divides it. ``before``: the document that the state is of."""
    q, k, v = (tensor[:, :, span].unflatten(2, (-1, size)) for tensor in (q, k, v))  # (batch, heads, chunks, size, .)
    count = q.shape[2]
    device = q.device
    if real is None:
        clock = torch.arange(1, size + 1, device=device).expand(1, 1, size)
    else:
        real = real[:, span].unflatten(1, (-1, size))  # (batch, chunks, size)
        clock = real.cumsum(-1)
    clock = clock[:, None].to(q.dtype)  # (batch or 1, 1, chunks or 1, size): real tokens of the chunk up to this one
    rate = rate[:, None, None]  # (heads, 1, 1)

    causal = torch.ones(size, size, dtype=torch.bool, device=device).tril()
    age = (clock[..., :, None] - clock[..., None, :]) * causal  # never negative
    within = torch.exp(-rate[..., None] * age) * causal  # (batch or 1, heads, chunks or 1, size, size)
    onward = torch.exp(-rate * (clock[..., -1:] - clock))  # from each token to the end of its chunk
    inward = torch.exp(-rate * clock)  # from the incoming state to each token
    fade = inward[..., -1]  # (batch or 1, heads, chunks or 1)
    if real is not None:  # a padded token is no key
        within = within * real[:, None, :, None]
        onward = onward * real[:, None]
    if documents is not None:
        documents = documents[:, span].unflatten(1, (-1, size))[:, None]  # (batch, 1, chunks, size)
        first = torch.zeros_like(documents[:, :, :1, 0]) if before is None else before[:, None, None]
        previous = torch.cat((first, documents[:, :, :-1, -1]), 2)  # (batch, 1, chunks): document of the incoming state
        within = within * (documents[..., :, None] == documents[..., None, :])
        onward = onward * (documents == documents[..., -1:])
        inward = inward * (documents == previous[..., None])
        fade = fade * (documents[..., -1] == previous)

    out = (kernel.scores(q, k) * within) @ v
    added = kernel.features(k).mT @ (v * onward[..., None])  # (batch, heads, chunks, feature, value)
    state = torch.zeros_like(added[:, :, 0]) if state is None else state
    fade = fade.expand(*fade.shape[:2], count)[..., None, None]
    states = []
    # Taken apart once: an index per chunk would make a gradient of the whole size for each.
    for kept, new in zip(fade.unbind(2), added.unbind(2), strict=True):
        states.append(state)
        state = kept * state + new
    out = out + (kernel.features(q) @ torch.stack(states, 2)) * inward[..., None]
    return out.flatten(2, 3), state


def decayed_attention_step(
    q: Float[Tensor, "batch heads key"],
    k: Float[Tensor, "batch heads key"],
    v: Float[Tensor, "batch heads value"],
    rate: Float[Tensor, "heads"],
    state: Float[Tensor, "batch heads key value"],
    *,
    real: Bool[Tensor, "batch"] | None = None,
) -> tuple[Float[Tensor, "batch heads value"], Float[Tensor, "batch heads key value"]]:
    """One token: the state moves on, then answers. The given state is left as it was."""
    dtype = q.dtype
    with torch.autocast(q.device.type, enabled=False):
        q, k, v, rate = (tensor.to(state.dtype) for tensor in (q, k, v, rate))
        moved = torch.exp(-rate)[:, None, None] * state + k[..., :, None] * v[..., None, :]
        state = moved if real is None else torch.where(real[:, None, None, None], moved, state)
        return (q[..., None, :] @ state)[..., 0, :].to(dtype), state


def decayed_attention_reference(
    q: Float[Tensor, "batch heads time key"],
    k: Float[Tensor, "batch heads time key"],
    v: Float[Tensor, "batch heads time value"],
    rate: Float[Tensor, "heads"],
    *,
    state: Float[Tensor, "batch heads key value"] | None = None,
    real: Bool[Tensor, "batch time"] | None = None,
    documents: Int[Tensor, "batch time"] | None = None,
) -> tuple[Float[Tensor, "batch heads time value"], Float[Tensor, "batch heads key value"]]:
    """``decayed_attention`` as a loop over rows and time."""
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    ends, outs = [], []
    for row in range(q.shape[0]):
        memory = q.new_zeros(q.shape[1], q.shape[3], v.shape[3], dtype=wide) if state is None else state[row].to(wide)
        document, out = 0, []
        for t in range(q.shape[2]):
            if documents is not None and int(documents[row, t]) != document:
                memory, document = torch.zeros_like(memory), int(documents[row, t])
            if real is None or bool(real[row, t]):
                added = k[row, :, t, :, None].to(wide) * v[row, :, t, None, :].to(wide)
                memory = torch.exp(-rate.to(wide))[:, None, None] * memory + added
            out.append((q[row, :, t, None, :].to(wide) @ memory)[:, 0])
        ends.append(memory)
        outs.append(torch.stack(out, 1))
    return torch.stack(outs).to(q.dtype), torch.stack(ends)


def document_numbers(
    segments: Int[Tensor, "batch time"], real: Bool[Tensor, "batch time"] | None = None
) -> Int[Tensor, "batch time"]:
    """Count documents within each row: 0 up to the first change of segment, then 1, and so on.

    Only real tokens can begin a document; a padded one counts with the last real token before it.
    """
    if real is None:
        real = torch.ones_like(segments, dtype=torch.bool)
    time = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    last = torch.where(real, time, -1).cummax(1).values  # the last real token up to here, -1 before the first
    before = torch.cat((torch.full_like(last[:, :1], -1), last[:, :-1]), 1)
    changed = segments != segments.gather(1, before.clamp(min=0))
    return (changed & real & (before >= 0)).cumsum(1)
