"""H3: queries, keys and values multiplied around two state-space models, one that shifts and one that decays.

Source
    Fu et al. 2023, "Hungry Hungry Hippos: Towards Language Modeling with State Space Models", arXiv:2212.14052, ICLR
    2023. Written from the equations; the mixer with head width 1 agrees with the authors' code in all its forms.
Equation
    h = x + Mixer(LayerNorm(x));   x' = h + W_2 gelu(W_1 LayerNorm(h) + b_1) + b_2
    q, k, v = W_q x + b_q, ...;   kbar = shift(k) + delta * k;   Z_t,h = kbar_t,h v_t,h^T, p by p in each of D / p heads
    S_h = diagonal_h(Z_h) + D_h Z_h;   o_t,h = q_t,h^T S_t,h;   y = W_o o + b_o.   For p = 1: o = q * ssm(kbar * v)
    shift: x_t = S x_{t-1} + B k_t, S one place down, y_t = C . x_t;   N real states per channel
    diagonal: x_t = A x_{t-1} + B z_t, y_t = 2 Re(C . x_t);   N/2 complex modes per head, which its p^2 channels share
    A, B from a_n = -1/2 + i pi n, b_n = 1 and a step per head:  A = (1 + step a/2) / (1 - step a/2),
    B = step b / (1 - step a/2), or zero-order hold.   Layers of ``attention_layers`` are softmax attention instead.
Shapes
    ids (batch, time) -> logits (batch, time, vocab). State per H3 layer: shift (batch, width, N) in float32, diagonal
    (batch, width / p, p^2, N/2) in complex64; per attention layer its keys and values.
Cost
    Per token, beside the projections: 10 width (1 + p) log2(2 T) in Fourier transforms over T tokens; beyond ``chunk``
    tokens 4 width p N to pass the state on. A single token costs O(width p N), whatever went before. State:
    width N (1 + p) numbers per H3 layer; 2 width per token and attention layer.
Caveats
    The published hybrids keep two attention layers, of 12 (125M) the second and the middle one by the paper and layer 6
    by their loading commands; the default here is the second of two. No positions are given, to attention neither.
    Heads are put together as (head, column), the order of the authors' fused kernel; their plain path has (column,
    head) where p > 1. Kernels are transformed once per pass, whatever the rows, and declared as if a row were alone.
    Documents in a row and rows with padding are convolved each by itself, so what they cost depends on their lengths.
    State-space parameters take no weight decay; a learning rate of their own is left to the training loop. No dropout
    on embeddings, no GLU behind the mixer and no fused kernel. Shown at 125M to 2.7B parameters.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn

from trivium.core.method import method
from trivium.models.sites import Site
from trivium.models.skeleton import Block, Context, Linear, Memory, Role, SequenceMixer, Skeleton, linear_flops
from trivium.models.slots import Attention, Head, LayerNorm, PlainMLP, TokenEmbedding
from trivium.nn.sequences import each_document
from trivium.nn.state_space import Rule, diagonal_ssm, diagonal_step, discretised, shift_ssm, shift_step


@method(title="H3", source="arXiv:2212.14052", year=2023)
@dataclass(frozen=True)
class H3:
    """A decoder of pre-norm blocks with H3 mixers, some of them replaced by softmax attention."""

    width: int = 64
    depth: int = 2
    heads: int = 4
    """Heads of the attention layers."""
    hidden: int | None = None
    """Width inside the feed-forward; None for 4 times the width."""
    attention_layers: tuple[int, ...] = (1,)
    """Layers of softmax attention; () for H3 alone."""
    head_width: int = 1
    """Width p of an H3 head: p by p products of keys and values share one diagonal system."""
    states: int = 64
    """Real states N of either system, two to a complex mode."""
    rule: Rule = "bilinear"
    """How the diagonal system is brought to discrete time; "zoh" holds the input over a step."""
    step_range: tuple[float, float] = (1e-3, 1e-1)
    """Time steps that the heads start from lie in between, their logarithms uniformly."""
    eps: float = 1e-5
    chunk: int = 2048
    """Tokens convolved at once; changes the cost, never the result."""
    tied: bool = True
    """Whether the head reads the embedding table."""

    def __post_init__(self) -> None:
        for name in ("attention_layers", "step_range"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # a saved recipe brings a list
        for name in ("width", "depth", "heads", "head_width", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("heads", "head_width"):
            if self.width % getattr(self, name):
                raise ValueError(f"width {self.width} must be a multiple of {name}, got {getattr(self, name)}")
        if self.hidden is not None and self.hidden < 1:
            raise ValueError(f"hidden must be at least 1, got {self.hidden}")
        if any(not 0 <= layer < self.depth for layer in self.attention_layers):
            raise ValueError(f"attention_layers {self.attention_layers} must lie in 0 to {self.depth - 1}")
        if self.states < 2 or self.states % 2:
            raise ValueError(f"states come in pairs, one complex mode each, so an even number; got {self.states}")
        if self.rule not in get_args(Rule):
            raise ValueError(f"rule must be one of {', '.join(get_args(Rule))}; got {self.rule!r}")
        if len(self.step_range) != 2 or not 0 < self.step_range[0] <= self.step_range[1]:
            raise ValueError(f"step_range must be the least and the greatest step, above 0; got {self.step_range}")
        if self.eps <= 0:
            raise ValueError(f"eps must be positive, got {self.eps}")

    def build(self, vocab_size: int, *, seed: int = 0) -> Skeleton:
        """A model with initial weights that depend on the seed alone."""
        embedding = TokenEmbedding(vocab_size, self.width)
        return Skeleton(
            self,
            vocab_size=vocab_size,
            embedding=embedding,
            blocks=[
                Block(
                    LayerNorm(self.width, self.eps),
                    Attention(self.width, self.heads, self.heads) if layer in self.attention_layers else H3Mixer(self),
                    LayerNorm(self.width, self.eps),
                    PlainMLP(self.width, self.hidden or 4 * self.width, nn.GELU(), bias=True),
                )
                for layer in range(self.depth)
            ],
            norm=LayerNorm(self.width, self.eps),
            head=Head(self.width, vocab_size, tied=embedding if self.tied else None),
            seed=seed,
        )


class H3Mixer(SequenceMixer):
    """Keys through the shift, their products with values through the diagonal system, read by queries."""

    remembers = "summary"

    def __init__(self, recipe: H3) -> None:
        super().__init__()
        self.width, self.head_width, self.states = recipe.width, recipe.head_width, recipe.states
        self.heads = recipe.width // recipe.head_width
        self.chunk = recipe.chunk
        self.q_proj = Linear(recipe.width, recipe.width, bias=True)
        self.k_proj = Linear(recipe.width, recipe.width, bias=True)
        self.v_proj = Linear(recipe.width, recipe.width, bias=True)
        self.o_proj = Linear(recipe.width, recipe.width, bias=True, role="out")
        self.shift = Shift(recipe.width, recipe.states)
        self.diagonal = Diagonal(self.heads, recipe)

    def parallel(self, x: Tensor, ctx: Context) -> Tensor:
        return self._mix(x, None, ctx)[0]

    def forward_chunk(self, x: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        return self._mix(x, memory, ctx)

    def step(self, x: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        with torch.autocast(x.device.type, enabled=False):
            q, k, v = (x.to(memory[0].dtype).mT for x in self._project(x))  # (batch, width, 1)
            kbar, moved = self.shift.step(k[..., 0], memory[0])
            s, decayed = self.diagonal.step(self._product(kbar[..., None], v)[..., 0], memory[1])
            o = self._read(q, s[..., None]).mT
        after = (moved, decayed)
        if ctx.real is not None:
            after = tuple(
                torch.where(ctx.real[:, 0].view(-1, *[1] * (new.ndim - 1)), new, old)
                for new, old in zip(after, memory, strict=True)
            )
        return self.o_proj(o.to(x.dtype)), after

    def _mix(self, x: Tensor, memory: Memory | None, ctx: Context) -> tuple[Tensor, Any]:
        inputs = self._project(x)
        if ctx.sequences is None:
            o, memory = self._core(*inputs, memory)
        else:  # a document, or a row without its padding, is convolved by itself, and nothing reaches it from another
            o, memory = each_document(self._core, inputs, memory, ctx.sequences)
        return self.o_proj(o), memory

    def _core(
        self, q: Tensor, k: Tensor, v: Tensor, memory: Memory | None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Memory | None]:
        """Whole sequences, (batch, time, width) each, that go on from the memory; it is kept where one was given."""
        dtype = q.dtype
        with torch.autocast(q.device.type, enabled=False):
            q, k, v = (x.to(_wide(dtype)).mT for x in (q, k, v))  # (batch, width, time)
            kbar, moved = self.shift(k, None if memory is None else memory[0], lengths)
            s, decayed = self.diagonal(self._product(kbar, v), None if memory is None else memory[1], lengths)
            o = self._read(q, s).mT.to(dtype)
        return o, None if memory is None else (moved, decayed)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.q_proj(x), self.k_proj(x), self.v_proj(x)

    def _product(self, k: Tensor, v: Tensor) -> Tensor:
        """(batch, width, time) each -> (batch, heads, p * p, time): entry (a, b) of a head is k_a v_b."""
        k, v = (x.unflatten(1, (self.heads, self.head_width)) for x in (k, v))
        return (k[:, :, :, None] * v[:, :, None]).flatten(2, 3)

    def _read(self, q: Tensor, s: Tensor) -> Tensor:
        """(batch, width, time) and (batch, heads, p * p, time) -> (batch, width, time)"""
        q = q.unflatten(1, (self.heads, self.head_width))
        return (q[:, :, :, None] * s.unflatten(2, (self.head_width, -1))).sum(2).flatten(1, 2)

    def init_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Memory:
        wide = _wide(dtype)
        modes = torch.complex128 if wide == torch.float64 else torch.complex64
        return (
            torch.zeros(batch, self.width, self.states, device=device, dtype=wide),
            torch.zeros(batch, self.heads, self.head_width**2, self.states // 2, device=device, dtype=modes),
        )

    def state_bytes(self, length: int, dtype: torch.dtype) -> int:
        return self.width * self.states * (1 + self.head_width) * _wide(dtype).itemsize

    def flops(self, length: int) -> int:
        """With the transforms of the kernels, as of a row alone."""
        size = min(self.chunk, length)
        count = -(-length // size)
        channels = self.width * self.head_width
        shift = 3 * self.width * _transform(length + min(length, self.states))
        diagonal = (2 * channels * count + self.heads) * _transform(2 * size)
        handed_on = 4 * channels * (count - 1) * size * self.states
        return linear_flops(self, length) + round(shift + diagonal) + handed_on

    def sites(self) -> Mapping[str, Site]:
        return {
            "q": Site(self.q_proj),
            "k": Site(self.k_proj),
            "v": Site(self.v_proj),
            "z": Site(self.o_proj, "input"),
        }


class Shift(nn.Module):
    """A shift system per channel, and the input past it: with B = e_1 a causal filter, whose taps are C."""

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        self.b = _spared(width, states)
        self.c = _spared(width, states)
        self.skip = nn.Parameter(torch.empty(width))
        self.roles: dict[str, Role] = {"b": "own", "c": "drawn", "skip": "drawn"}

    def initial(self, name: str) -> Tensor:
        return torch.eye(1, self.b.shape[1]).expand_as(self.b)

    def draw(self, name: str, generator: torch.Generator) -> Tensor:
        if name == "skip":
            return torch.randn(self.skip.shape, generator=generator)
        return (2 * torch.rand(self.c.shape, generator=generator) - 1) / self.c.shape[1] ** 0.5

    def forward(self, k: Tensor, state: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        b, c, skip = (x.to(k.dtype) for x in (self.b, self.c, self.skip))
        y, state = shift_ssm(k, b, c, state=state, lengths=lengths)
        return y + skip[:, None] * k, state

    def step(self, k: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        b, c, skip = (x.to(k.dtype) for x in (self.b, self.c, self.skip))
        y, state = shift_step(k, b, c, state)
        return y + skip * k, state


class Diagonal(nn.Module):
    """A diagonal system per head, and the input past it. Complex numbers are kept as pairs."""

    def __init__(self, heads: int, recipe: H3) -> None:
        super().__init__()
        self.rule: Rule = recipe.rule
        self.step_range = recipe.step_range
        self.chunk = recipe.chunk
        modes = recipe.states // 2
        self.log_step = nn.Parameter(torch.empty(heads))
        self.log_decay = _spared(heads, modes)
        self.frequency = _spared(heads, modes)
        self.b = _spared(heads, modes, 2)
        self.c = _spared(heads, modes, 2)
        self.skip = nn.Parameter(torch.empty(heads))
        self.roles: dict[str, Role] = {
            "log_step": "drawn",
            "log_decay": "own",
            "frequency": "own",
            "b": "own",
            "c": "drawn",
            "skip": "drawn",
        }

    def initial(self, name: str) -> Tensor:
        """a_n = -1/2 + i pi n and b_n = 1."""
        if name == "log_decay":
            return torch.full_like(self.log_decay, math.log(0.5))
        if name == "frequency":
            return (math.pi * torch.arange(self.frequency.shape[1])).expand_as(self.frequency)
        return torch.tensor([1.0, 0.0]).expand_as(self.b)

    def draw(self, name: str, generator: torch.Generator) -> Tensor:
        if name == "log_step":
            least, most = (math.log(step) for step in self.step_range)
            return least + (most - least) * torch.rand(self.log_step.shape, generator=generator)
        if name == "c":
            return torch.randn(self.c.shape, generator=generator) / 2**0.5
        return torch.randn(self.skip.shape, generator=generator)

    def system(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """log A, B and C, (heads, modes) complex. Made anew in every pass, so that no stale copy is ever used."""
        a = torch.complex(-self.log_decay.to(dtype).exp(), self.frequency.to(dtype))
        b, c = (torch.view_as_complex(x.to(dtype)) for x in (self.b, self.c))
        return *discretised(self.log_step.to(dtype).exp(), a, b, self.rule), c

    def forward(self, z: Tensor, state: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        y, state = diagonal_ssm(z, *self.system(z.dtype), state=state, lengths=lengths, chunk=self.chunk)
        return y + self.skip.to(z.dtype)[:, None, None] * z, state

    def step(self, z: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, state = diagonal_step(z, *self.system(z.dtype), state)
        return y + self.skip.to(z.dtype)[:, None] * z, state


def _spared(*shape: int) -> nn.Parameter:
    """A parameter that weight decay is not for."""
    parameter = nn.Parameter(torch.empty(shape))
    parameter._no_weight_decay = True  # type: ignore[attr-defined]
    return parameter


def _transform(points: int) -> float:
    """Operations of one real Fourier transform, in the convention of ``core.meter``."""
    return 2.5 * points * math.log2(points)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
