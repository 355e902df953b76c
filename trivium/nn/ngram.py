"""What followed the last n tokens wherever they stood before: the matrix behind n-gram heads.

    A_ij = 1  iff  j < i  and  id_{i-k} = id_{j-1-k}  for k = 0 .. n-1
    h_i  = sum_j A_ij x_j / sum_j A_ij,   0 where no j has A_ij = 1

So j stands right behind an earlier occurrence of the n tokens that end at i. A token carries its ``trail``: itself and
the n tokens before it in its text, NOTHING where there are none. Token i asks with the first n of its trail and token j
answers to the last n of its own, so that neither padding, nor another document, nor another branch of a tree comes
between, whatever stands in the columns. NOTHING matches nothing.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NOTHING = -1


def trails(
    ids: Int[Tensor, "batch time"],
    previous: Int[Tensor, "#batch time"],
    order: int,
    past: Int[Tensor, "batch slots back"] | None = None,
) -> Int[Tensor, "batch time back"]:
    """Each token followed by the ``order`` tokens before it, the nearest first. ``past``: the trails of the columns
    before these; ``previous``: the column of the token before, counted from the first of the past, or NOTHING."""
    previous = previous.expand(ids.shape)
    trail = [ids]
    for back in range(order):
        known = trail[back] if past is None else torch.cat((past[..., back].to(ids.dtype), trail[back]), 1)
        trail.append(known.gather(1, previous.clamp(min=0)).where(previous >= 0, NOTHING))
    return torch.stack(trail, -1)


def follows(
    asking: Int[Tensor, "batch time back"],
    answering: Int[Tensor, "batch columns back"],
    visible: Bool[Tensor, "#batch time columns"] | None = None,
) -> Bool[Tensor, "batch time columns"]:
    """Where A is 1. The tokens that ask are the last of those that answer. ``visible``: the columns that a token may
    see; None for all."""
    time, columns, order = asking.shape[1], answering.shape[1], asking.shape[2] - 1
    # A token never answers to itself: what follows it is not known yet.
    found = torch.ones(time, columns, dtype=torch.bool, device=asking.device).tril(columns - time - 1)[None]
    if visible is not None:
        found = found & visible
    found = found & (asking[..., order - 1] != NOTHING)[..., None]
    for back in range(order):
        found = found & (asking[:, :, None, back] == answering[:, None, :, back + 1])
    return found


def mean_over(
    found: Bool[Tensor, "batch time columns"], x: Float[Tensor, "batch columns width"]
) -> Float[Tensor, "batch time width"]:
    """The mean of the columns that each row of the matrix marks, 0 for none; in float32 at least."""
    with torch.autocast(x.device.type, enabled=False):
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        count = found.sum(-1, keepdim=True).clamp(min=1)
        return (found.to(wide.dtype) @ wide / count).to(x.dtype)


def successors(
    x: Float[Tensor, "batch time width"],
    ids: Int[Tensor, "batch time"],
    order: int,
    previous: Int[Tensor, "#batch time"],
    visible: Bool[Tensor, "#batch time time"] | None = None,
) -> Float[Tensor, "batch time width"]:
    """h of whole sequences, of which each token sees the columns that are ``visible``; all earlier ones for None."""
    trail = trails(ids, previous, order)
    return mean_over(follows(trail, trail, visible), x)


def successors_reference(
    x: Float[Tensor, "batch time width"],
    ids: Int[Tensor, "batch time"],
    order: int,
    *,
    real: Bool[Tensor, "batch time"] | None = None,
    documents: Int[Tensor, "batch time"] | None = None,
) -> Float[Tensor, "batch time width"]:
    """``successors`` by the definition: each document by itself without its padding, all pairs of places one by one."""
    out = torch.zeros_like(x)
    for row in range(ids.shape[0]):
        kept = range(ids.shape[1]) if real is None else real[row].nonzero()[:, 0].tolist()
        numbers = [0 if documents is None else int(documents[row, t]) for t in kept]
        for number in dict.fromkeys(numbers):
            text = [t for t, other in zip(kept, numbers, strict=True) if other == number]
            said = ids[row, text].tolist()
            for i in range(order - 1, len(said)):
                last = [said[i - k] for k in range(order)]
                found = [j for j in range(order, i) if [said[j - 1 - k] for k in range(order)] == last]
                if found:
                    out[row, text[i]] = x[row, [text[j] for j in found]].mean(0)
    return out


def previous_columns(
    time: int,
    slots: int = 0,
    *,
    real: Bool[Tensor, "batch columns"] | None = None,
    documents: Int[Tensor, "batch time"] | None = None,
    device: torch.device | None = None,
) -> Int[Tensor, "batch time"]:
    """Of each of ``time`` tokens behind ``slots`` columns, the column of the token before it in its text, or NOTHING;
    one row where all are alike. ``real`` says which columns, the earlier ones included, are tokens."""
    before = torch.arange(slots - 1, slots + time - 1, device=device)[None]
    if real is not None:
        columns = torch.arange(slots + time, device=device)
        last = columns.where(real, NOTHING).cummax(1).values  # the last token up to each column
        before = torch.cat((torch.full_like(last[:, :1], NOTHING), last[:, :-1]), 1)[:, slots:]
    if documents is not None:
        before = before.expand(documents.shape)
        same = documents.gather(1, before.clamp(min=0)) == documents
        before = before.where(same, NOTHING)
    return before


def previous_in_tree(mask: Bool[Tensor, "batch time columns"]) -> Int[Tensor, "batch time"]:
    """The same under a mask that says which columns each of the last tokens may see, itself included: the last of them,
    so in a tree the parent. Behind texts laid side by side no one token comes before: NOTHING, since the last of them
    does not see all that the token sees."""
    time, columns = mask.shape[1:]
    earlier = mask.tril(columns - time - 1)
    before = torch.arange(columns, device=mask.device).where(earlier, NOTHING).amax(-1)
    seen = mask.sum(-1)
    inside = before - (columns - time)
    joined = (inside >= 0) & (seen.gather(1, inside.clamp(min=0)) < seen - 1)
    return before.masked_fill(joined, NOTHING)
