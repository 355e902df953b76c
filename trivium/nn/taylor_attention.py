"""Causal linear attention whose weights are the Taylor polynomial of second order of softmax's.

    o_t = sum_{s <= t} w(q_t, k_s) v_s / (sum_{s <= t} w(q_t, k_s) + eps)
    w(q, k) = 1 + z + z^2 / 2 = phi(q) . phi(k),    z = q . k / sqrt(d)
    phi(x) = [1, x / d^(1/4), x_i^2 / sqrt(2 d), and x_i x_j / sqrt(d) for each pair i < j]

w is at least 1/2, so the denominator is at least half the number of keys, and ``eps`` shows only where there is none.
The paper's map has x_i x_j and x_j x_i apart, each over sqrt(2 d): 273 features for d = 16, where 153 say the same.

The memory is one sum of phi(k) [v, 1] over the past: its last column is the running denominator. Within a chunk w is
the polynomial itself; features are made for the memory only. Padding and documents are as in ``nn.linear_attention``,
and so is the precision: sums are kept in float32 or wider.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trivium.nn.linear_attention import Kernel, decayed_attention, decayed_attention_step

EPS = 1e-12


def taylor_width(key_width: int) -> int:
    """Features of a vector so wide."""
    return 1 + key_width + key_width * (key_width + 1) // 2


def taylor_features(x: Float[Tensor, "*batch key"]) -> Float[Tensor, "*batch feature"]:
    """phi, with every product of two coordinates once: squares, then products of coordinates 1 apart, 2 apart and on,
    counted round the end. By slices: to pick out pairs by their numbers takes longer than what is done with them."""
    width = x.shape[-1]
    x = x / width**0.25
    twice = torch.cat((x, x), -1)
    products = [x * x / math.sqrt(2)]
    products += [x * twice[..., apart : apart + width] for apart in range(1, (width + 1) // 2)]
    if width % 2 == 0:  # half way round, every pair would come twice
        products.append(x[..., : width // 2] * x[..., width // 2 :])
    return torch.cat((torch.ones_like(x[..., :1]), x, *products), -1)


def taylor_features_reference(x: Float[Tensor, "*batch key"]) -> Float[Tensor, "*batch feature"]:
    """phi as the paper writes it: the constant, the vector, and its whole outer product row by row."""
    width = x.shape[-1]
    outer = (x[..., :, None] * x[..., None, :]).flatten(-2) / math.sqrt(2 * width)
    return torch.cat((torch.ones_like(x[..., :1]), x / width**0.25, outer), -1)


def _polynomial(q: Tensor, k: Tensor) -> Tensor:
    z = q @ k.mT / math.sqrt(q.shape[-1])
    return 1 + z + z.square() / 2


TAYLOR = Kernel(_polynomial, taylor_features)


def taylor_attention(
    q: Float[Tensor, "batch heads time key"],
    k: Float[Tensor, "batch heads time key"],
    v: Float[Tensor, "batch heads time value"],
    *,
    state: Float[Tensor, "batch heads feature value+1"] | None = None,
    real: Bool[Tensor, "batch time"] | None = None,
    documents: Int[Tensor, "batch time"] | None = None,
    chunk: int = 64,
    eps: float = EPS,
) -> tuple[Float[Tensor, "batch heads time value"], Float[Tensor, "batch heads feature value+1"]]:
    """Outputs and the state after the last token. ``documents`` as ``document_numbers`` gives them; the state that
    comes in belongs to document 0."""
    wide = _wide(q)
    sums, state = decayed_attention(
        q.to(wide),
        k.to(wide),
        F.pad(v.to(wide), (0, 1), value=1.0),
        torch.zeros(q.shape[1], dtype=wide, device=q.device),
        state=state,
        real=real,
        documents=documents,
        chunk=chunk,
        kernel=TAYLOR,
    )
    return _divided(sums, eps).to(q.dtype), state


def taylor_attention_step(
    q: Float[Tensor, "batch heads key"],
    k: Float[Tensor, "batch heads key"],
    v: Float[Tensor, "batch heads value"],
    state: Float[Tensor, "batch heads feature value+1"],
    *,
    real: Bool[Tensor, "batch"] | None = None,
    eps: float = EPS,
) -> tuple[Float[Tensor, "batch heads value"], Float[Tensor, "batch heads feature value+1"]]:
    """One token: the state moves on, then answers. The given state is left as it was."""
    wide = state.dtype
    sums, state = decayed_attention_step(
        taylor_features(q.to(wide)),
        taylor_features(k.to(wide)),
        F.pad(v.to(wide), (0, 1), value=1.0),
        torch.zeros(q.shape[1], dtype=wide, device=q.device),
        state,
        real=real,
    )
    return _divided(sums, eps).to(q.dtype), state


def taylor_attention_reference(
    q: Float[Tensor, "batch heads time key"],
    k: Float[Tensor, "batch heads time key"],
    v: Float[Tensor, "batch heads time value"],
    *,
    real: Bool[Tensor, "batch time"] | None = None,
    documents: Int[Tensor, "batch time"] | None = None,
    eps: float = EPS,
) -> Float[Tensor, "batch heads time value"]:
    """``taylor_attention`` as a loop over rows and time, with the paper's features and its two sums."""
    rows = []
    for row in range(q.shape[0]):
        values = q.new_zeros(q.shape[1], taylor_features_reference(q[0, 0, 0]).shape[0], v.shape[3])
        keys = values.new_zeros(values.shape[:2])
        document, out = 0, []
        for t in range(q.shape[2]):
            if documents is not None and int(documents[row, t]) != document:
                document = int(documents[row, t])
                values, keys = torch.zeros_like(values), torch.zeros_like(keys)
            if real is None or bool(real[row, t]):
                features = taylor_features_reference(k[row, :, t])
                values = values + features[..., None] * v[row, :, t, None]
                keys = keys + features
            asked = taylor_features_reference(q[row, :, t])
            out.append((asked[:, None] @ values)[:, 0] / ((asked * keys).sum(-1, keepdim=True) + eps))
        rows.append(torch.stack(out, 1))
    return torch.stack(rows)


def _divided(sums: Tensor, eps: float) -> Tensor:
    return sums[..., :-1] / (sums[..., -1:] + eps)


def _wide(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32
