"""A function of whole sequences, applied to the real tokens of each document by itself."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def by_document(
    x: Float[Tensor, "batch time width"],
    mix: Callable[[Tensor], Tensor],
    real: Bool[Tensor, "batch time"] | None = None,
    documents: Int[Tensor, "batch time"] | None = None,
) -> Float[Tensor, "batch time width"]:
    """``mix`` maps (sequences, length, width) to the same shape. It is given every document without the padding within
    or around it, those of one length together; padding gives zeros. ``documents`` are numbers that never fall within a
    row (``linear_attention.document_numbers``)."""
    if real is None and documents is None:
        return mix(x)
    batch, time = x.shape[:2]
    real = torch.ones(batch, time, dtype=torch.bool, device=x.device) if real is None else real
    owner = torch.arange(batch, device=x.device)[:, None].expand(batch, time)
    if documents is not None:
        owner = owner * (int(documents.max()) + 1) + documents
    _, counts = owner[real].unique_consecutive(return_counts=True)
    pieces = list(x[real].split(counts.tolist()))
    for length in set(counts.tolist()):
        alike = [at for at, piece in enumerate(pieces) if len(piece) == length]
        mixed = mix(torch.stack([pieces[at] for at in alike]))
        for at, piece in zip(alike, mixed, strict=True):
            pieces[at] = piece
    if not pieces:
        return torch.zeros_like(x)
    mixed = torch.cat(pieces)
    return mixed.new_zeros(x.shape).masked_scatter(real[..., None], mixed)


def by_document_reference(
    x: Float[Tensor, "batch time width"],
    mix: Callable[[Tensor], Tensor],
    real: Bool[Tensor, "batch time"] | None = None,
    documents: Int[Tensor, "batch time"] | None = None,
) -> Float[Tensor, "batch time width"]:
    """``by_document`` one document after another."""
    out = torch.zeros_like(x)
    for row in range(len(x)):
        known = torch.ones(x.shape[1], dtype=torch.bool) if real is None else real[row]
        numbers = torch.zeros(x.shape[1], dtype=torch.int64) if documents is None else documents[row]
        for number in numbers[known].unique().tolist():
            inside = known & (numbers == number)
            out[row, inside] = mix(x[row, inside][None])[0]
    return out
