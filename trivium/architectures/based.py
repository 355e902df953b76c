"""Based: linear attention by a Taylor polynomial of softmax, exact softmax in a small window, and short convolutions.

Source
    Arora et al. 2024, "Simple linear attention language models balance the recall-throughput tradeoff",
    arXiv:2402.18668. Written from the equations; the linear attention agrees with the authors' code.
Equation
    h = x + Mixer(RMSNorm(x));   x' = h + SwiGLU(RMSNorm(h));   the mixer of layer l is entry l mod n of the pattern
    linear: o_t = sum_{s <= t} w_ts v_s / sum_{s <= t} w_ts,   w_ts = 1 + z + z^2 / 2,   z = q_t . k_s / sqrt(d')
    window: o_t = sum_{t - W < s <= t} softmax_s(R_t q_t . R_s k_s / sqrt(d)) v_s
    conv:   [a, b] = W_in x + c_in,   y = W_out (silu(sum_{j < 3} f_j a_{t-j} + c_f) * b) + c_out
Shapes
    ids (batch, time) -> logits (batch, time, vocab). State of a linear layer (batch, heads, 1 + d' + d' (d' + 1) / 2,
    d + 1) in float32; of a window layer keys and values (batch, heads, W - 1, d); of a convolution (batch, 2, 2 width).
    d = width / heads, d' = feature_dim.
Cost
    Per token, beside the projections: linear heads (2 m (d' + d + 1) + 4 F (d + 1)) for chunks of m and F features;
    window 4 width (2 W - 1), or 2 width (T + 1) up to W tokens; a convolution nothing that counts. State: a constant,
    which feature_dim and window set; while there are fewer than W tokens a window holds what there is.
Caveats
    W counts visible keys, the query's own among them; the released code is configured with a window of 256 and sees the
    128 keys before the query. Products of two coordinates are summed once, 153 features for d' = 16 in place of the
    paper's 273, which give the same numbers and count as a smaller state. The denominator carries 1e-12 as in the
    authors' module; other kernels carry 1e-6. Positions reach the windows only. Released convolutions have a bias on
    one path and none on the other: here they have one. Filters start as torch starts a convolution, uniform within
    1 / sqrt(3), the rest as in all architectures here, our choice. The pattern is that of the 360M model, whose 27
    layers end on two convolutions more: ("conv", "linear", "window", "conv", "conv") * 5 + ("conv", "conv"). With the
    pattern ("window",) and a window of the whole sequence it is the Llama-style decoder. Shown at up to 1.3B
    parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.core.method import method
from trivium.models.sites import Heads, Site
from trivium.models.skeleton import Block, Context, Linear, Memory, Role, SequenceMixer, Skeleton, linear_flops
from trivium.models.slots import GatedMLP, Head, RMSNorm, RotaryPosition, TokenEmbedding
from trivium.nn.attention import banded_pairs
from trivium.nn.convolution import short_convolution
from trivium.nn.rotary import rotate
from trivium.nn.taylor_attention import taylor_attention, taylor_attention_step, taylor_width
from trivium.nn.window_attention import window_attention

Layer = Literal["linear", "window", "conv"]
TAPS = 3
"""Inputs that a convolution sees."""


@method(title="Based", source="arXiv:2402.18668", year=2024)
@dataclass(frozen=True)
class Based:
    """A decoder of pre-norm blocks whose layers take turns: linear attention, sliding window, short convolution."""

    width: int = 64
    depth: int = 3
    heads: int = 4
    hidden: int | None = None
    """Width inside the feed-forward; None for twice the width."""
    pattern: tuple[Layer, ...] = ("conv", "linear", "window", "conv", "conv")
    """What the layers are, from the first one on; begun anew where it ends before the depth."""
    feature_dim: int = 16
    """Width d' of queries and keys of the linear attention; its state grows with the square."""
    window: int = 64
    """Keys that a query of a window layer sees, its own among them."""
    base: float = 10_000.0
    """Rotary base of the window layers."""
    eps: float = 1e-5
    chunk: int = 64
    """Tokens that linear attention works on at once; changes the cost, never the result."""
    tied: bool = True
    """Whether the head reads the embedding table."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", tuple(self.pattern))  # a saved recipe brings a list
        for name in ("width", "depth", "heads", "feature_dim", "window", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads or self.width // self.heads % 2:
            raise ValueError(f"width {self.width} must give each of {self.heads} heads an even number of coordinates")
        if self.hidden is not None and self.hidden < 1:
            raise ValueError(f"hidden must be at least 1, got {self.hidden}")
        if not self.pattern or set(self.pattern) - set(get_args(Layer)):
            raise ValueError(
                f"pattern must name at least one layer, each of {', '.join(get_args(Layer))}; got {self.pattern}"
            )
        if self.base <= 0 or self.eps <= 0:
            raise ValueError(f"base and eps must be positive, got {self.base} and {self.eps}")

    def build(self, vocab_size: int, *, seed: int = 0) -> Skeleton:
        """A model with initial weights that depend on the seed alone."""
        mixers = {"linear": TaylorAttention, "window": WindowAttention, "conv": GatedConvolution}
        embedding = TokenEmbedding(vocab_size, self.width)
        return Skeleton(
            self,
            vocab_size=vocab_size,
            embedding=embedding,
            position=RotaryPosition(self.width // self.heads, self.base),
            blocks=[
                Block(
                    RMSNorm(self.width, self.eps),
                    mixers[self.pattern[layer % len(self.pattern)]](self),
                    RMSNorm(self.width, self.eps),
                    GatedMLP(self.width, self.hidden or 2 * self.width),
                )
                for layer in range(self.depth)
            ],
            norm=RMSNorm(self.width, self.eps),
            head=Head(self.width, vocab_size, tied=embedding if self.tied else None),
            seed=seed,
        )


class TaylorAttention(SequenceMixer):
    """Linear attention whose weights are 1 + z + z^2 / 2, with its denominator."""

    remembers = "summary"

    def __init__(self, recipe: Based) -> None:
        super().__init__()
        self.heads = recipe.heads
        self.key_width = recipe.feature_dim
        self.value_width = recipe.width // recipe.heads
        self.chunk = recipe.chunk
        self.q_proj = Linear(recipe.width, self.heads * self.key_width)
        self.k_proj = Linear(recipe.width, self.heads * self.key_width)
        self.v_proj = Linear(recipe.width, recipe.width)
        self.o_proj = Linear(recipe.width, recipe.width, role="out")

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """Of one row: heads, features, and values with the denominator behind them."""
        return self.heads, taylor_width(self.key_width), self.value_width + 1

    def parallel(self, x: Tensor, ctx: Context) -> Tensor:
        return self._attend(x, None, ctx)[0]

    def forward_chunk(self, x: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        return self._attend(x, memory[0], ctx)

    def step(self, x: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        q, k, v = (part[:, :, 0] for part in _read(self, x))
        real = None if ctx.real is None else ctx.real[:, 0]
        o, state = taylor_attention_step(q, k, v, memory[0], real=real)
        return self.o_proj(o.flatten(1))[:, None], (state,)

    def _attend(self, x: Tensor, state: Tensor | None, ctx: Context) -> tuple[Tensor, Memory]:
        q, k, v = _read(self, x)
        o, state = taylor_attention(q, k, v, state=state, real=ctx.real, documents=ctx.documents, chunk=self.chunk)
        return self.o_proj(o.transpose(1, 2).flatten(2)), (state,)

    def init_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Memory:
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return (torch.zeros(batch, *self.state_shape, device=device, dtype=wide),)

    def state_bytes(self, length: int, dtype: torch.dtype) -> int:
        heads, features, values = self.state_shape
        return heads * features * values * (8 if dtype == torch.float64 else 4)

    def flops(self, length: int) -> int:
        heads, features, values = self.state_shape
        size = min(self.chunk, length)
        pairs = length // size * size**2 + (length % size) ** 2  # a chunk computes its whole square
        core = 2 * pairs * (self.key_width + values) + 4 * length * features * values
        return linear_flops(self, length) + heads * core

    def sites(self) -> Mapping[str, Site]:
        return _sites(self)


class WindowAttention(SequenceMixer):
    """Rotary softmax attention to the last tokens. Its memory is of fixed size, hence a summary."""

    remembers = "summary"

    def __init__(self, recipe: Based) -> None:
        super().__init__()
        self.heads = recipe.heads
        self.head_width = recipe.width // recipe.heads
        self.window = recipe.window
        self.q_proj = Linear(recipe.width, recipe.width)
        self.k_proj = Linear(recipe.width, recipe.width)
        self.v_proj = Linear(recipe.width, recipe.width)
        self.o_proj = Linear(recipe.width, recipe.width, role="out")

    def parallel(self, x: Tensor, ctx: Context) -> Tensor:
        return self._attend(x, None, ctx)[0]

    def forward_chunk(self, x: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        return self._attend(x, memory, ctx)

    def _attend(self, x: Tensor, memory: Memory | None, ctx: Context) -> tuple[Tensor, Memory]:
        q, k, v = _read(self, x)
        if ctx.rotary is not None:
            q, k = rotate(q, *ctx.rotary, "interleaved"), rotate(k, *ctx.rotary, "interleaved")
        o, memory = window_attention(q, k, v, self.window, memory=memory, real=ctx.real, documents=ctx.documents)
        return self.o_proj(o.transpose(1, 2).flatten(2)), memory

    def init_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Memory:
        empty = torch.zeros(batch, self.heads, 0, self.head_width, device=device, dtype=dtype)
        return empty, empty, torch.zeros(batch, dtype=torch.int64, device=device)

    def state_bytes(self, length: int, dtype: torch.dtype) -> int:
        kept = min(length, self.window - 1)
        return 2 * self.heads * self.head_width * kept * dtype.itemsize + torch.int64.itemsize

    def flops(self, length: int) -> int:
        pairs = banded_pairs(length, self.window)
        return linear_flops(self, length) + 4 * self.heads * self.head_width * pairs

    def sites(self) -> Mapping[str, Site]:
        return _sites(self)


class GatedConvolution(SequenceMixer):
    """A short convolution of one half of a projection, multiplied by the other half."""

    remembers = "summary"

    def __init__(self, recipe: Based) -> None:
        super().__init__()
        self.inner = 2 * recipe.width
        self.in_proj = Linear(recipe.width, 2 * self.inner, bias=True)
        self.filter = nn.Parameter(torch.empty(self.inner, TAPS))
        self.filter_bias = nn.Parameter(torch.empty(self.inner))
        self.out_proj = Linear(self.inner, recipe.width, bias=True, role="out")
        self.roles: dict[str, Role] = {"filter": "drawn", "filter_bias": "zero"}

    def draw(self, name: str, generator: torch.Generator) -> Tensor:
        return (2 * torch.rand(self.inner, TAPS, generator=generator) - 1) / TAPS**0.5

    def parallel(self, x: Tensor, ctx: Context) -> Tensor:
        return self._convolve(x, None, ctx)[0]

    def forward_chunk(self, x: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        return self._convolve(x, memory[0], ctx)

    def _convolve(self, x: Tensor, state: Tensor | None, ctx: Context) -> tuple[Tensor, Memory]:
        a, b = self.in_proj(x).chunk(2, -1)
        y, state = short_convolution(
            a, self.filter, self.filter_bias, state=state, real=ctx.real, documents=ctx.documents
        )
        return self.out_proj(F.silu(y) * b), (state,)

    def init_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Memory:
        return (torch.zeros(batch, TAPS - 1, self.inner, device=device, dtype=dtype),)

    def state_bytes(self, length: int, dtype: torch.dtype) -> int:
        return (TAPS - 1) * self.inner * dtype.itemsize

    def flops(self, length: int) -> int:
        return linear_flops(self, length)

    def sites(self) -> Mapping[str, Site]:
        return {"in": Site(self.in_proj), "z": Site(self.out_proj, "input")}


def _read(mixer: TaylorAttention | WindowAttention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (batch, heads, time, width)."""
    projections = mixer.q_proj, mixer.k_proj, mixer.v_proj
    q, k, v = (projection(x).unflatten(-1, (mixer.heads, -1)).transpose(1, 2) for projection in projections)
    return q, k, v


def _sites(mixer: TaylorAttention | WindowAttention) -> Mapping[str, Site]:
    heads = Heads(mixer.heads)
    return {
        "q": Site(mixer.q_proj, view=heads),
        "k": Site(mixer.k_proj, view=heads),
        "v": Site(mixer.v_proj, view=heads),
        "z": Site(mixer.o_proj, "input", view=heads),
    }
