"""Quasi-LSTM: the recurrent baseline of the Languini Kitchen, whose gates see the input alone and not its output.

Source
    Stanic et al. 2023, "The Languini Kitchen: Enabling Language Modelling Research at Different Scales of Compute",
    arXiv:2309.11197. Written from the equations; the cell agrees with the authors' code.
Equation
    f = sigmoid(W_f x + b_f + 1)   i = sigmoid(W_i x + b_i)   z = tanh(W_z x + b_z)   o = sigmoid(W_o x + b_o)
    c_t = f_t c_{t-1} + i_t z_t;   h_t = o_t tanh(c_t);   y_t = W_y h_t + b_y, over all heads together
    h = x + qLSTM(LN(x));   x' = h + MLP(LN(h)), of width 4 D with GELU;   logits = W_u LN(x_L)
    Embeddings times sqrt(width), no positions.   Not quasi: each gate of a head adds R h_{t-1} of that head
Shapes
    ids (batch, time) -> logits (batch, time, vocab). State per layer: c and h, (batch, heads, head_width) each, in
    float32.
Cost
    Forward per token 2 P, with P the parameters in matrix products, whatever the length; beside them elementwise work
    alone, in block + time / block steps one after another. State: 2 heads head_width numbers per layer. Not quasi: 8
    head_width operations more per channel and token, and as many steps as tokens.
Caveats
    The 1 on the forget gate is a constant of the equation, no initial bias. Cells do not depend on how channels are
    shared out to heads, unless it is not quasi: there each head hears itself alone, which is our reading; the authors'
    cell of that kind, whose shapes do not fit together, was not followed. They make the sums of a block from logarithms
    plus 1e-8, so that their results depend on the block by up to 1e-7; here they do not.
    h is no part of the recurrence of the quasi cell and is kept as the authors keep it. Their trainer carries the state
    from one batch to the next along a stream; here rows are packed documents, each of which starts from nothing. A loss
    by bytes is evaluation/bits_per_byte, and a budget in seconds that of the training loop. Initial values:
    N(0, 0.02^2), W_y included, the second matrix of the MLP divided by sqrt(2 depth). In the paper GPT is better at
    every compute measured, 6 to 96 hours of one card, and the loss of the LSTM falls more steeply.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trivium.core.method import method
from trivium.models.sites import Heads, Site
from trivium.models.skeleton import Block, Context, Linear, Memory, Role, SequenceMixer, Skeleton, linear_flops
from trivium.models.slots import Head, LayerNorm, PlainMLP, TokenEmbedding
from trivium.nn.lstm import LSTMState, lstm, quasi_lstm


@method(title="Quasi-LSTM", source="arXiv:2309.11197", year=2023)
@dataclass(frozen=True)
class QuasiLSTM:
    """A decoder of pre-norm blocks with an LSTM whose gates do not hear its output, and a plain feed-forward."""

    width: int = 64
    depth: int = 2
    heads: int = 4
    head_width: int | None = None
    """Channels of a head; None for the width over the heads."""
    hidden: int | None = None
    """Width inside the feed-forward; None for 4 times the width."""
    quasi: bool = True
    """Whether gates see the input alone; if not they hear the last output of their head too, as in an LSTM."""
    block: int = 16
    """Tokens of a block; blocks are worked on side by side. Changes the cost, never the result."""
    eps: float = 1e-5
    tied: bool = False
    """Whether the head reads the embedding table."""

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "block"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.head_width is None and self.width % self.heads:
            raise ValueError(
                f"width {self.width} must be a multiple of the {self.heads} heads; or give head_width, which need not "
                "make up the width"
            )
        for name in ("head_width", "hidden"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.eps <= 0:
            raise ValueError(f"eps must be positive, got {self.eps}")

    def build(self, vocab_size: int, *, seed: int = 0) -> Skeleton:
        """A model with initial weights that depend on the seed alone."""
        embedding = TokenEmbedding(vocab_size, self.width, math.sqrt(self.width))
        return Skeleton(
            self,
            vocab_size=vocab_size,
            embedding=embedding,
            blocks=[
                Block(
                    LayerNorm(self.width, self.eps),
                    LSTMMixer(self),
                    LayerNorm(self.width, self.eps),
                    PlainMLP(self.width, self.hidden or 4 * self.width, nn.GELU(approximate="tanh"), bias=True),
                )
                for _ in range(self.depth)
            ],
            norm=LayerNorm(self.width, self.eps),
            head=Head(self.width, vocab_size, tied=embedding if self.tied else None),
            seed=seed,
        )


class LSTMMixer(SequenceMixer):
    """The token mixer: four maps of the input, the cells of all heads, and a map back."""

    remembers = "summary"

    def __init__(self, recipe: QuasiLSTM) -> None:
        super().__init__()
        self.heads = recipe.heads
        self.head_width = recipe.head_width or recipe.width // recipe.heads
        self.block = recipe.block
        inner = self.heads * self.head_width
        self.forget_gate = Linear(recipe.width, inner, bias=True)
        self.input_gate = Linear(recipe.width, inner, bias=True)
        self.cell_input = Linear(recipe.width, inner, bias=True)
        self.output_gate = Linear(recipe.width, inner, bias=True)
        self.y_proj = Linear(inner, recipe.width, bias=True)
        self.recurrent: nn.Parameter | None = None
        if not recipe.quasi:  # for each head a matrix to its four gates
            self.recurrent = nn.Parameter(torch.empty(self.heads, self.head_width, 4 * self.head_width))
        self.roles: dict[str, Role] = {"recurrent": "in"}

    def parallel(self, x: Tensor, ctx: Context) -> Tensor:
        return self._mix(x, None, ctx)[0]

    def forward_chunk(self, x: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        cell, out = memory
        return self._mix(x, (cell, out), ctx)

    def _mix(self, x: Tensor, state: LSTMState | None, ctx: Context) -> tuple[Tensor, LSTMState]:
        f, i, z, o = (
            projection(x).unflatten(-1, (self.heads, -1))  # (batch, time, heads, head width)
            for projection in (self.forget_gate, self.input_gate, self.cell_input, self.output_gate)
        )
        if self.recurrent is None:
            h, state = quasi_lstm(f, i, z, o, state=state, real=ctx.real, documents=ctx.documents, block=self.block)
        else:
            h, state = lstm(f, i, z, o, self.recurrent, state=state, real=ctx.real, documents=ctx.documents)
        return self.y_proj(h.flatten(2)), state

    def init_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Memory:
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        empty = torch.zeros(batch, self.heads, self.head_width, device=device, dtype=wide)
        return empty, empty

    def state_bytes(self, length: int, dtype: torch.dtype) -> int:
        return 2 * self.heads * self.head_width * (8 if dtype == torch.float64 else 4)

    def flops(self, length: int) -> int:
        heard = 0 if self.recurrent is None else 2 * length * self.recurrent.numel()
        return linear_flops(self, length) + heard

    def sites(self) -> Mapping[str, Site]:
        return {"z": Site(self.y_proj, "input", view=Heads(self.heads))}


SHAPES: Mapping[str, QuasiLSTM] = {
    "mini": QuasiLSTM(width=512, depth=4, heads=8, head_width=32),
    "tiny": QuasiLSTM(width=768, depth=4, heads=12, head_width=64),
    "small": QuasiLSTM(width=768, depth=12, heads=12, head_width=64),
    "medium": QuasiLSTM(width=1024, depth=24, heads=16, head_width=64),
    "large": QuasiLSTM(width=1536, depth=24, heads=16, head_width=96),
    "XL": QuasiLSTM(width=2048, depth=24, heads=24, head_width=128),
}
"""The models of the authors, for a vocabulary of 16384 and rows of 512 tokens. Trained there with a cosine from 6e-4 to
6e-6 over all steps of a budget, and no clipping."""
