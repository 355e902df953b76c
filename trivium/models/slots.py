"""What fills the slots of the skeleton most often: tables, norms, positions, softmax attention, feed-forwards."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.models.sites import Heads, Site
from trivium.models.skeleton import (
    ChannelMixer,
    Context,
    Divided,
    Linear,
    Role,
    SequenceMixer,
    TokenMemory,
    linear_flops,
)
from trivium.nn.attention import attention, banded_attention, banded_pairs, shown_attention
from trivium.nn.feedforward import swiglu
from trivium.nn.norms import layer_norm, rms_norm, simple_rms_norm
from trivium.nn.rotary import Layout, rotary_table, rotate


class TokenEmbedding(nn.Embedding):
    """A table of one vector per token, times ``scale``."""

    def __init__(self, vocab_size: int, width: int, scale: float = 1.0) -> None:
        super().__init__(vocab_size, width)
        self.scale = scale
        self.roles: dict[str, Role] = {"weight": "embed"}

    def reset_parameters(self) -> None:
        """Nothing: the values come from ``initialise``."""

    def forward(self, input: Tensor) -> Tensor:
        hidden = F.embedding(input, self.weight)
        return hidden if self.scale == 1.0 else hidden * self.scale


class Head(Linear):
    """Hidden vectors to logits. Given the embedding it reads that table and has none of its own ("tied")."""

    def __init__(self, width: int, vocab_size: int, tied: TokenEmbedding | None = None, *, bias: bool = False) -> None:
        super().__init__(width, vocab_size, bias=bias, role="embed")
        if tied is not None:
            self.weight = tied.weight


class RMSNorm(nn.Module):
    """``nn.norms.rms_norm`` with a learned gain."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.gain = nn.Parameter(torch.empty(width))
        self.roles: dict[str, Role] = {"gain": "one"}

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.gain, self.eps)


class SimpleRMSNorm(nn.Module):
    """``nn.norms.simple_rms_norm``: nothing is learned."""

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return simple_rms_norm(x, self.eps)


class LayerNorm(nn.Module):
    """``nn.norms.layer_norm`` with a learned gain and bias."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.gain = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width))
        self.roles: dict[str, Role] = {"gain": "one", "bias": "zero"}

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.gain, self.bias, self.eps)


class RotaryPosition(nn.Module):
    """Publishes one rotary table per pass; attention layers turn their queries and keys by it. Positions are divided by
    ``stretch``."""

    def __init__(self, head_width: int, base: float, stretch: float = 1.0) -> None:
        super().__init__()
        self.head_width = head_width
        self.base = base
        self.stretch = stretch

    def forward(self, hidden: Tensor, ctx: Context) -> Tensor:
        ctx.rotary = rotary_table(ctx.positions, self.head_width, self.base, hidden.dtype, stretch=self.stretch)
        return hidden


ATTENTION_PLAN: Mapping[str, Divided] = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj"), "columns"),
    "o_proj": "rows",
}
"""Attention over processes: each has some of the heads."""


class Attention(SequenceMixer):
    """Softmax attention with grouped queries; rotary where a table was published; over the last ``window`` tokens alone
    where that is given."""

    remembers = "tokens"
    bidirectional = True

    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int,
        layout: Layout = "half",
        *,
        bias: bool = False,
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.kv_heads = kv_heads
        self.head_width = width // heads
        self.layout: Layout = layout
        self.window = window
        self.q_proj = Linear(width, heads * self.head_width, bias=bias)
        self.k_proj = Linear(width, kv_heads * self.head_width, bias=bias)
        self.v_proj = Linear(width, kv_heads * self.head_width, bias=bias)
        self.o_proj = Linear(heads * self.head_width, width, bias=bias, role="out")
        self.scores, self.weights = nn.Identity(), nn.Identity()  # passed where somebody looks at them

    def parallel(self, x: Tensor, ctx: Context) -> Tensor:
        return self._attend(x, None, ctx)

    def forward_chunk(self, x: Tensor, memory: TokenMemory, ctx: Context) -> tuple[Tensor, TokenMemory]:
        return self._attend(x, memory, ctx), memory

    def _attend(self, x: Tensor, memory: TokenMemory | None, ctx: Context) -> Tensor:
        # Where processes share the layer, there are as many heads as this one has.
        q = self.q_proj(x).unflatten(-1, (-1, self.head_width)).transpose(1, 2)  # (batch, heads, time, head width)
        k = self.k_proj(x).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        v = self.v_proj(x).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        if ctx.rotary is not None:
            q, k = rotate(q, *ctx.rotary, self.layout), rotate(k, *ctx.rotary, self.layout)
        if memory is not None:
            k, v = memory.extend(k, v)
        if self.scores._forward_hooks or self.weights._forward_hooks:
            mask = ctx.attention_mask if self.window is None else ctx.last_seen(self.window)
            z = shown_attention(q, k, v, mask, scores=self.scores, weights=self.weights)
        elif self.window is None:
            z = attention(q, k, v, ctx.attention_mask)
        elif ctx.unbroken:
            z = banded_attention(q, k, v, self.window, documents=ctx.documents)
        else:
            z = attention(q, k, v, ctx.last_seen(self.window))
        return self.o_proj(z.transpose(1, 2).flatten(2))

    def state_bytes(self, length: int, dtype: torch.dtype) -> int:
        return 2 * self.kv_heads * self.head_width * length * dtype.itemsize

    def flops(self, length: int) -> int:
        pairs = banded_pairs(length, length if self.window is None else self.window)
        return linear_flops(self, length) + 4 * self.heads * self.head_width * pairs

    def tensor_plan(self) -> Mapping[str, Divided]:
        return ATTENTION_PLAN

    def sites(self) -> Mapping[str, Site]:
        return {
            "q": Site(self.q_proj, view=Heads(self.heads)),
            "k": Site(self.k_proj, view=Heads(self.kv_heads)),
            "v": Site(self.v_proj, view=Heads(self.kv_heads)),
            "scores": Site(self.scores),
            "weights": Site(self.weights),
            "z": Site(self.o_proj, "input", view=Heads(self.heads)),
        }


class GatedMLP(ChannelMixer):
    """``down (act(gate x) * up x)``, with act the SiLU ("swiglu") or nothing at all ("sglu")."""

    def __init__(self, width: int, hidden: int, *, activation: bool = True) -> None:
        super().__init__()
        self.activation = activation
        self.gate_proj = Linear(width, hidden)
        self.up_proj = Linear(width, hidden)
        self.down_proj = Linear(hidden, width, role="out")

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        gate, up = self.gate_proj(x), self.up_proj(x)
        return self.down_proj(swiglu(gate, up) if self.activation else gate * up)

    def flops(self, length: int) -> int:
        return linear_flops(self, length)

    def tensor_plan(self) -> Mapping[str, Divided]:
        return {"gate_proj": "columns", "up_proj": "columns", "down_proj": "rows"}

    def sites(self) -> Mapping[str, Site]:
        return {"act": Site(self.down_proj, "input")}


class PlainMLP(ChannelMixer):
    """``down act(up x)``."""

    def __init__(self, width: int, hidden: int, activation: nn.Module, *, bias: bool = False) -> None:
        super().__init__()
        self.up_proj = Linear(width, hidden, bias=bias)
        self.activation = activation
        self.down_proj = Linear(hidden, width, bias=bias, role="out")

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return self.down_proj(self.activation(self.up_proj(x)))

    def flops(self, length: int) -> int:
        return linear_flops(self, length)

    def tensor_plan(self) -> Mapping[str, Divided]:
        if any(True for _ in self.activation.parameters()):  # of which each process would see some channels only
            return {}
        return {"up_proj": "columns", "down_proj": "rows"}

    def sites(self) -> Mapping[str, Site]:
        return {"act": Site(self.down_proj, "input")}


def round_up(number: float, multiple: int) -> int:
    """The next multiple at or above a number."""
    return -(-int(-(-number // 1)) // multiple) * multiple
