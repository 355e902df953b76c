"""TransNormerLLM: linear attention with a fading memory, gated, normed without parameters.

Source
    Qin et al. 2023, "Scaling TransNormer to 175 Billion Parameters" (later "TransNormerLLM: A Faster and Better Large
    Language Model with Improved TransNormer"), arXiv:2307.14995, in the form of the authors' released model; the layer
    without LRPE agrees with the authors' code.
Equation
    h = x + GLA(SRMS(x));   x' = h + SGLU(SRMS(h));   SRMS(x) = x / sqrt(mean(x^2) + eps), no gain
    GLA:  q = silu(W_q x), k = silu(W_k x), v = W_v x, u = W_u x
          o_t = sum_{s <= t} lambda^{t-s} (f(q_t) . f(k_s)) v_s
          y = W_o (u * SRMS(o)), the norm over all heads together;   no denominator
    LRPE: f(x_t) = [x_t cos(t theta); x_t sin(t theta)], theta learned, in the layers listed; elsewhere f(x) = x
    Decay of head h of H in layer l of L:  lambda = e^-r,   alibi: r = m_h (1 - l/(L-1) + 1e-5), m_h the ALiBi slopes
          linear: r = (8 h/H) (1 - l/L), h from 1;   none: r = 0
    SGLU: W_3 (W_1 x * W_2 x), no activation.   Embeddings times sqrt(width), final SRMS, head of its own.
Shapes
    ids (batch, time) -> logits (batch, time, vocab). State per layer (batch, heads, d_k, d_v) in float32, with
    d_v = width / heads and d_k = d_v, doubled where LRPE is on.
Cost
    Per token and layer, beside the projections: heads (2 m (d_k + d_v) + 4 d_k d_v) for chunks of m, whatever the
    length. State: heads d_k d_v numbers per layer, whatever the length.
Caveats
    The linear decay is the paper's formula as secondary sources give it; released models use alibi, hence the default.
    With one layer the schedule of alibi has no span, and the factor is taken as 1. Embedding scaling differs between
    releases, so it is a field. The authors let padding on the left fade an empty memory, which changes nothing; here
    padding anywhere is not counted as time. LRPE starts from theta_j = 10000^(-2j/width) over all coordinates of all
    heads, as released, so the later heads hardly turn. With decay "none", no LRPE layers and no gate the mixer is plain
    causal linear attention under a norm. The paper's gains of a few percent were shown at 385M
    parameters and more.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.core.method import method
from trivium.models.sites import Heads, Site
from trivium.models.skeleton import Block, Context, Linear, Memory, Role, SequenceMixer, Skeleton, linear_flops
from trivium.models.slots import GatedMLP, Head, SimpleRMSNorm, TokenEmbedding, round_up
from trivium.nn.linear_attention import decayed_attention, decayed_attention_step
from trivium.nn.norms import simple_rms_norm

Decay = Literal["alibi", "linear", "none"]


@method(title="TransNormerLLM", source="arXiv:2307.14995", year=2023)
@dataclass(frozen=True)
class TransNormer:
    """A decoder of pre-norm blocks with gated, decayed linear attention and a gated linear unit."""

    width: int = 64
    depth: int = 2
    heads: int = 4
    hidden: int | None = None
    """Width inside the channel mixer; None for 8/3 of the width, rounded up to a multiple of 64."""
    decay: Decay = "alibi"
    """How the fading of the memory is spread over heads and layers; "none" is plain linear attention."""
    lrpe_layers: tuple[int, ...] = (0,)
    """Layers with learned rotary positions; () for none."""
    gate: bool = True
    """Whether the output of the mixer is multiplied by a learned gate."""
    scale_embedding: bool = True
    """Whether embeddings are multiplied by the square root of the width."""
    eps: float = 1e-6
    chunk: int = 64
    """Tokens worked on at once; changes the cost, never the result."""
    tied: bool = False
    """Whether the head reads the embedding table."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "lrpe_layers", tuple(self.lrpe_layers))  # a saved recipe brings a list
        for name in ("width", "depth", "heads", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of the {self.heads} heads")
        if self.hidden is not None and self.hidden < 1:
            raise ValueError(f"hidden must be at least 1, got {self.hidden}")
        if self.decay not in ("alibi", "linear", "none"):
            raise ValueError(f"decay must be 'alibi', 'linear' or 'none', got {self.decay!r}")
        if any(not 0 <= layer < self.depth for layer in self.lrpe_layers):
            raise ValueError(f"lrpe_layers {self.lrpe_layers} must lie in 0 to {self.depth - 1}")
        if self.eps <= 0:
            raise ValueError(f"eps must be positive, got {self.eps}")

    def build(self, vocab_size: int, *, seed: int = 0) -> Skeleton:
        """A model with initial weights that depend on the seed alone."""
        hidden = self.hidden or round_up(8 * self.width / 3, 64)
        embedding = TokenEmbedding(vocab_size, self.width, math.sqrt(self.width) if self.scale_embedding else 1.0)
        return Skeleton(
            self,
            vocab_size=vocab_size,
            embedding=embedding,
            blocks=[
                Block(
                    SimpleRMSNorm(self.eps),
                    GatedLinearAttention(self, layer),
                    SimpleRMSNorm(self.eps),
                    GatedMLP(self.width, hidden, activation=False),
                )
                for layer in range(self.depth)
            ],
            norm=SimpleRMSNorm(self.eps),
            head=Head(self.width, vocab_size, tied=embedding if self.tied else None),
            seed=seed,
        )

    def rates(self, layer: int) -> tuple[float, ...]:
        """How fast the memory of each head fades in a layer: lambda = exp(-rate)."""
        if self.decay == "alibi":
            span = 1 - layer / (self.depth - 1) + 1e-5 if self.depth > 1 else 1.0
            return tuple(slope * span for slope in alibi_slopes(self.heads))
        if self.decay == "linear":
            return tuple(8 * head / self.heads * (1 - layer / self.depth) for head in range(1, self.heads + 1))
        return (0.0,) * self.heads


class GatedLinearAttention(SequenceMixer):
    """The token mixer: decayed linear attention, one norm over all heads, and a gate."""

    remembers = "summary"

    def __init__(self, recipe: TransNormer, layer: int) -> None:
        super().__init__()
        width = recipe.width
        self.heads = recipe.heads
        self.rates = recipe.rates(layer)
        self.chunk = recipe.chunk
        self.eps = recipe.eps
        self.value_width = width // self.heads
        self.lrpe = LearnedRotary(self.heads, self.value_width) if layer in recipe.lrpe_layers else None
        self.key_width = self.value_width * (1 if self.lrpe is None else 2)
        self.q_proj = Linear(width, width)
        self.k_proj = Linear(width, width)
        self.v_proj = Linear(width, width)
        self.u_proj = Linear(width, width) if recipe.gate else None
        self.o_proj = Linear(width, width, role="out")

    def parallel(self, x: Tensor, ctx: Context) -> Tensor:
        q, k, v, rate = self._read(x, ctx)
        o, _ = decayed_attention(q, k, v, rate, real=ctx.real, documents=ctx.documents, chunk=self.chunk)
        return self._write(x, o)

    def forward_chunk(self, x: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        q, k, v, rate = self._read(x, ctx)
        o, state = decayed_attention(
            q, k, v, rate, state=memory[0], real=ctx.real, documents=ctx.documents, chunk=self.chunk
        )
        return self._write(x, o), (state,)

    def step(self, x: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        q, k, v, rate = self._read(x, ctx)
        real = None if ctx.real is None else ctx.real[:, 0]
        o, state = decayed_attention_step(q[:, :, 0], k[:, :, 0], v[:, :, 0], rate, memory[0], real=real)
        return self._write(x, o[:, :, None]), (state,)

    def _read(self, x: Tensor, ctx: Context) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, keys and values (batch, heads, time, width), and the rate of each head."""
        q, k, v = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = F.silu(q), F.silu(k)
        if self.lrpe is not None:
            q, k = self.lrpe(q, ctx.positions), self.lrpe(k, ctx.positions)
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        return q, k, v, torch.tensor(self.rates, dtype=wide, device=x.device)

    def _write(self, x: Tensor, o: Tensor) -> Tensor:
        """(batch, heads, time, width) -> (batch, time, width): norm over all heads, gate, output projection."""
        o = simple_rms_norm(o.transpose(1, 2).flatten(2), self.eps)
        return self.o_proj(o if self.u_proj is None else self.u_proj(x) * o)

    def init_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Memory:
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return (torch.zeros(batch, self.heads, self.key_width, self.value_width, device=device, dtype=wide),)

    def state_bytes(self, length: int, dtype: torch.dtype) -> int:
        return self.heads * self.key_width * self.value_width * (8 if dtype == torch.float64 else 4)

    def flops(self, length: int) -> int:
        size = min(self.chunk, length)
        pairs = length // size * size**2 + (length % size) ** 2  # a chunk computes its whole square
        core = 2 * pairs * (self.key_width + self.value_width) + 4 * length * self.key_width * self.value_width
        return linear_flops(self, length) + self.heads * core

    def sites(self) -> Mapping[str, Site]:
        heads = Heads(self.heads)
        return {
            "q": Site(self.q_proj, view=heads),
            "k": Site(self.k_proj, view=heads),
            "v": Site(self.v_proj, view=heads),
            "z": Site(self.o_proj, "input", view=heads),
        }


class LearnedRotary(nn.Module):
    """LRPE: inner products become sum_j q_j k_j cos(theta_j (t - s)), with theta learned."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.empty(heads, width))
        self.theta._no_weight_decay = True  # type: ignore[attr-defined]  # an angle, which zero is no better than
        self.roles: dict[str, Role] = {"theta": "own"}

    def initial(self, name: str) -> Tensor:
        """theta_j = 10000^(-2j/D), with j counted over all coordinates of all heads."""
        count = self.theta.numel()
        return (10_000.0 ** (-2 * torch.arange(count, dtype=torch.float64) / count)).view_as(self.theta)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """(batch, heads, time, width) -> (batch, heads, time, 2 width)"""
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        angles = positions[:, None, :, None].to(wide) * self.theta[None, :, None].to(wide)
        return torch.cat((x * angles.cos().to(x.dtype), x * angles.sin().to(x.dtype)), -1)


def alibi_slopes(heads: int) -> tuple[float, ...]:
    """2^(-8h/H) for h = 1 to H where H is a power of two; otherwise those of the power below, followed by every other
    one of the power above."""
    power = 2 ** int(math.log2(heads))
    slopes = [2.0 ** (-8 * head / power) for head in range(1, power + 1)]
    between = [2.0 ** (-4 * head / power) for head in range(1, 2 * power + 1, 2)]
    return tuple(slopes + between[: heads - power])
