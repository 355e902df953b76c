"""Causal convolution of a few taps, one filter per channel.

    y_t = bias + sum_{j < taps} weight_j x_{t-j}

x_{t-j} is the j-th token before in the same document: padding is skipped, another document counts as zeros. The memory
is the last taps - 1 inputs.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trivium.nn.sequences import columns_at, tokens_first


def short_convolution(
    x: Float[Tensor, "batch time channels"],
    weight: Float[Tensor, "channels taps"],
    bias: Float[Tensor, "channels"] | None = None,
    *,
    state: Float[Tensor, "batch taps-1 channels"] | None = None,
    real: Bool[Tensor, "batch time"] | None = None,
    documents: Int[Tensor, "batch time"] | None = None,
) -> tuple[Float[Tensor, "batch time channels"], Float[Tensor, "batch taps-1 channels"]]:
    """Outputs and the last inputs. ``documents`` as ``document_numbers`` gives them; the state that comes in belongs to
    document 0."""
    batch, time, channels = x.shape
    before = weight.shape[1] - 1
    back = None
    if real is not None:
        order, back = tokens_first(real)
        x = columns_at(x, order)
        documents = None if documents is None else columns_at(documents, order)
    old = x.new_zeros(batch, before, channels) if state is None else state.to(x.dtype)
    x = torch.cat((old, x), 1)
    documents = None if documents is None else F.pad(documents, (before, 0))
    y = torch.zeros_like(x[:, before:]) if bias is None else bias.expand(batch, time, channels)
    for lag in range(before + 1):
        part = slice(before - lag, before - lag + time)
        if lag == 0 or documents is None:
            y = y + x[:, part] * weight[:, lag]
        else:
            y = y + x[:, part] * (documents[:, part] == documents[:, before:])[..., None] * weight[:, lag]
    columns = torch.arange(before, device=x.device) + (time if real is None else real.sum(1, keepdim=True))
    columns = columns.expand(batch, before)
    state = columns_at(x, columns)
    if documents is not None and before:
        same = columns_at(documents, columns) == columns_at(documents, columns[:, -1:])
        state = state * same[..., None]
    return y if back is None else columns_at(y, back), state


def short_convolution_reference(
    x: Float[Tensor, "batch time channels"],
    weight: Float[Tensor, "channels taps"],
    bias: Float[Tensor, "channels"] | None = None,
    *,
    state: Float[Tensor, "batch taps-1 channels"] | None = None,
    real: Bool[Tensor, "batch time"] | None = None,
    documents: Int[Tensor, "batch time"] | None = None,
) -> tuple[Float[Tensor, "batch time channels"], Float[Tensor, "batch taps-1 channels"]]:
    """``short_convolution`` as a loop over rows and time; zeros at padding."""
    before = weight.shape[1] - 1
    rows, ends = [], []
    for row in range(x.shape[0]):
        past = x.new_zeros(before, x.shape[2]) if state is None else state[row]
        document, out = 0, []
        for t in range(x.shape[1]):
            if real is not None and not bool(real[row, t]):
                out.append(torch.zeros_like(x[row, t]))
                continue
            if documents is not None and int(documents[row, t]) != document:
                past, document = torch.zeros_like(past), int(documents[row, t])
            recent = torch.cat((past, x[row, t : t + 1]))
            y = (recent.flip(0) * weight.mT).sum(0)
            out.append(y if bias is None else y + bias)
            past = recent[1:]
        rows.append(torch.stack(out))
        ends.append(past)
    return torch.stack(rows), torch.stack(ends)
