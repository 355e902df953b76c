"""Softplus attention with re-weighting (LSSA, LSSAR): weights that stay sharp beyond the length of training.

Source
    Gao, Spratling and Gionfrida 2025, "Softplus Attention with Re-weighting Boosts Length Extrapolation in Large
    Language Models", arXiv:2501.13428, in the form of its later versions, from notes about the paper: neither its full
    text nor the authors' code was read.
Equation
    q, k of length 1 after rotary positions;   s_ij = ln d ln n_i q_i . k_j,   n_i keys are visible to query i
    LSSA:   A_i = softplus(s_i) / sum_j softplus(s_ij)
    LSSAR:  R_i = relu(n_i A_i - O_i)^p, over its sum;   O_i = 0 where n_i <= 3, else 1;   o_i = sum_j R_ij v_j
    The rest is the Llama-style decoder; d is the width of a head.
Shapes
    ids (batch, time) -> logits (batch, time, vocab). Heads are (batch, heads, time, width / heads); keys and values
    have kv_heads groups, and keys are remembered as they are compared: turned, of length 1.
Cost
    Forward per token 2 P + 4 width T: whole rows of weights are made, twice the visible pairs, and every row is gone
    over twice, so fused softmax kernels do not apply. State: 2 kv_heads (width / heads) depth numbers per token.
Caveats
    n_i counts visible keys: no padding, no other document; it decides the offset too, so that a document in the middle
    of a row starts as one at the front does. Where all weights of a row are alike to rounding, n A - 1 is nothing and
    LSSA stands. Without qk_norm scores are divided by sqrt(d), as an earlier version of the paper is said to do. With
    kernel "exp", neither qk_norm nor length_scale, and power None it is the Llama-style decoder. The authors find p = 3
    best at the length of training and p = 15 from eight times that on; the default is 15. Shown at 124M parameters,
    trained on 1024 tokens.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from trivium.architectures._decoder import check_decoder, decoder
from trivium.core.method import method
from trivium.models.sites import Heads, Site
from trivium.models.skeleton import Context, Divided, Linear, SequenceMixer, Skeleton, TokenMemory, linear_flops
from trivium.models.slots import ATTENTION_PLAN, GatedMLP, round_up
from trivium.nn.rotary import Layout, rotate
from trivium.nn.softplus_attention import Kernel, softplus_attention


@method(title="Softplus attention with re-weighting", source="arXiv:2501.13428", year=2025)
@dataclass(frozen=True)
class SoftplusAttention:
    """The Llama-style decoder with softplus attention, its weights raised to a power."""

    width: int = 64
    depth: int = 2
    heads: int = 4
    kv_heads: int | None = None
    """Key-value groups; None for as many as heads."""
    hidden: int | None = None
    """Width inside the feed-forward; None for 8/3 of the width, rounded up to a multiple of 64."""
    power: float | None = 15.0
    """To which weights above average are raised (LSSAR); None leaves the weights as they are (LSSA)."""
    offset_rows: int = 3
    """Up to so many visible keys, all are kept, not only those above average."""
    qk_norm: bool = True
    """Whether queries and keys are brought to length 1; scores are divided by the root of the head width if not."""
    length_scale: bool = True
    """Whether scores are multiplied by the logarithms of the head width and of the number of visible keys."""
    kernel: Kernel = "softplus"
    """What makes weights of scores; "exp" is that of softmax."""
    base: float = 10_000.0
    """Rotary base: the larger, the slower the slowest pair of coordinates turns."""
    layout: Layout = "interleaved"
    """Which coordinates of a head are turned together: neighbours, or the two halves."""
    eps: float = 1e-5
    context: int = 2048
    """Longest sequence that the model accepts."""
    tied: bool = True
    """Whether the head reads the embedding table."""

    def __post_init__(self) -> None:
        check_decoder(self)
        if self.power is not None and self.power < 1:
            raise ValueError(
                f"power must be at least 1, got {self.power}: below it the gradient at the average is infinite; "
                "None leaves the weights as they are"
            )
        if self.offset_rows < 0:
            raise ValueError(f"offset_rows must not be negative, got {self.offset_rows}")
        if self.kernel not in get_args(Kernel):
            raise ValueError(f"kernel must be one of {', '.join(get_args(Kernel))}; got {self.kernel!r}")

    def build(self, vocab_size: int, *, seed: int = 0) -> Skeleton:
        """A model with initial weights that depend on the seed alone."""
        hidden = self.hidden or round_up(8 * self.width / 3, 64)
        return decoder(
            self,
            vocab_size,
            seed=seed,
            mixer=lambda: SoftplusMixer(self),
            channel=lambda: GatedMLP(self.width, hidden),
        )


class SoftplusMixer(SequenceMixer):
    """The token mixer: rotary, normalise, remember, attend."""

    remembers = "tokens"
    bidirectional = True

    def __init__(self, recipe: SoftplusAttention) -> None:
        super().__init__()
        self.recipe = recipe
        self.heads = recipe.heads
        self.kv_heads = recipe.kv_heads or recipe.heads
        self.head_width = recipe.width // recipe.heads
        self.q_proj = Linear(recipe.width, self.heads * self.head_width)
        self.k_proj = Linear(recipe.width, self.kv_heads * self.head_width)
        self.v_proj = Linear(recipe.width, self.kv_heads * self.head_width)
        self.o_proj = Linear(self.heads * self.head_width, recipe.width, role="out")

    @property
    def scale(self) -> float:
        """What scores are multiplied by, but for the logarithm of the number of keys."""
        root = 1.0 if self.recipe.qk_norm else self.head_width**-0.5
        return root * (math.log(self.head_width) if self.recipe.length_scale else 1.0)

    def parallel(self, x: Tensor, ctx: Context) -> Tensor:
        return self._attend(x, None, ctx)

    def forward_chunk(self, x: Tensor, memory: TokenMemory, ctx: Context) -> tuple[Tensor, TokenMemory]:
        return self._attend(x, memory, ctx), memory

    def _attend(self, x: Tensor, memory: TokenMemory | None, ctx: Context) -> Tensor:
        q = self.q_proj(x).unflatten(-1, (-1, self.head_width)).transpose(1, 2)  # (batch, heads, time, head width)
        k = self.k_proj(x).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        v = self.v_proj(x).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        if ctx.rotary is not None:
            q, k = rotate(q, *ctx.rotary, self.recipe.layout), rotate(k, *ctx.rotary, self.recipe.layout)
        if self.recipe.qk_norm:
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        if memory is not None:
            k, v = memory.extend(k, v)
        z = softplus_attention(
            q,
            k,
            v,
            ctx.attention_mask,
            scale=self.scale,
            by_length=self.recipe.length_scale,
            kernel=self.recipe.kernel,
            power=self.recipe.power,
            offset_rows=self.recipe.offset_rows,
        )
        return self.o_proj(z.transpose(1, 2).flatten(2))

    def state_bytes(self, length: int, dtype: torch.dtype) -> int:
        return 2 * self.kv_heads * self.head_width * length * dtype.itemsize

    def flops(self, length: int) -> int:
        return linear_flops(self, length) + 4 * self.heads * self.head_width * length**2

    def tensor_plan(self) -> Mapping[str, Divided]:
        return ATTENTION_PLAN

    def sites(self) -> Mapping[str, Site]:
        return {
            "q": Site(self.q_proj, view=Heads(self.heads)),
            "k": Site(self.k_proj, view=Heads(self.kv_heads)),
            "v": Site(self.v_proj, view=Heads(self.kv_heads)),
            "z": Site(self.o_proj, "input", view=Heads(self.heads)),
        }
