"""GPT-3-style decoder: LayerNorm, learned positions, GELU, biases everywhere, every second layer looking back a little.

Source
    Brown et al. 2020, "Language Models are Few-Shot Learners", arXiv:2005.14165, section 2.1 and table 2.1; its blocks
    are those of GPT-2 (Radford et al. 2019). Written from the equations; logits agree with the GPT2LMHeadModel of
    transformers 5 where all layers are dense, and with its GPTNeoForCausalLM where they alternate.
Equation
    x_0 = E[ids] + P[t];   h = x + Attn(LN(x));   x' = h + FFN(LN(h));   logits = LN(x_L) E^T
    Attn: softmax(q_t . k_s / sqrt(d)) over s <= t in layers 0, 2, ..., over t - window < s <= t in layers 1, 3, ...
    FFN:  W_2 gelu(W_1 x + b_1) + b_2;   LN(x) = g (x - mean(x)) / sqrt(var(x) + eps) + b;   every product has a bias
Shapes
    ids (batch, time) -> logits (batch, time, vocab). Heads are (batch, heads, time, width / heads); P is
    (context, width).
Cost
    Forward per token 2 P + 4 width T', with P the parameters in matrix products and T' the mean number of keys worked
    on: (T + 1) / 2 in a dense layer, up to 2 window - 1 in a banded one. State: 2 width depth numbers per token.
Caveats
    The paper says neither how wide the band is nor which layer comes first; 128 tokens, with a dense layer first, are
    our choice. GELU is the tanh approximation of the released GPT-2. Banded layers remember every token, so that states
    can be cut and gathered; with padding or a mask of the caller's they work on all pairs, as dense layers do. A bias
    of the keys moves all scores of a query alike and so changes nothing; it is kept as in the original. No dropout.
    Initial values: N(0, 0.02^2), the last matrix of each branch divided by sqrt(2 depth). Weight decay spares both
    tables. Shown at 125M to 175B parameters and 300B tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trivium.core.method import method
from trivium.models.skeleton import Block, Context, Skeleton
from trivium.models.slots import Attention, Head, LayerNorm, PlainMLP, TokenEmbedding


@method(title="GPT-3-style decoder", source="arXiv:2005.14165", year=2020)
@dataclass(frozen=True)
class GPT:
    """A decoder of pre-norm blocks with learned positions and attention that is dense and banded in turns."""

    width: int = 64
    depth: int = 2
    heads: int = 4
    hidden: int | None = None
    """Width inside the feed-forward; None for 4 times the width."""
    window: int | None = 128
    """Tokens that layers 1, 3, 5, ... attend to, each query's own among them; None makes them dense like the others."""
    eps: float = 1e-5
    context: int = 2048
    """Positions that are learned, so the longest sequence that the model accepts."""
    tied: bool = True
    """Whether the head reads the embedding table."""

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "context"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of the {self.heads} heads")
        if self.hidden is not None and self.hidden < 1:
            raise ValueError(f"hidden must be at least 1, got {self.hidden}")
        if self.window is not None and self.window < 1:
            raise ValueError(f"window must be at least 1, got {self.window}; None makes all layers dense")
        if self.eps <= 0:
            raise ValueError(f"eps must be positive, got {self.eps}")

    def build(self, vocab_size: int, *, seed: int = 0) -> Skeleton:
        """A model with initial weights that depend on the seed alone."""
        embedding = TokenEmbedding(vocab_size, self.width)
        return Skeleton(
            self,
            vocab_size=vocab_size,
            embedding=embedding,
            position=LearnedPosition(self.context, self.width),
            blocks=[
                Block(
                    LayerNorm(self.width, self.eps),
                    Attention(self.width, self.heads, self.heads, bias=True, window=self.window if layer % 2 else None),
                    LayerNorm(self.width, self.eps),
                    PlainMLP(self.width, self.hidden or 4 * self.width, nn.GELU(approximate="tanh"), bias=True),
                )
                for layer in range(self.depth)
            ],
            norm=LayerNorm(self.width, self.eps),
            head=Head(self.width, vocab_size, tied=embedding if self.tied else None),
            max_positions=self.context,
            seed=seed,
        )


class LearnedPosition(nn.Module):
    """Adds one learned vector per position to the embeddings."""

    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        self.context = context
        self.table = TokenEmbedding(context, width)

    def forward(self, hidden: Tensor, ctx: Context) -> Tensor:
        if not (torch.compiler.is_compiling() or ctx.positions.is_meta):
            low, high = (int(end) for end in torch.aminmax(ctx.positions))
            if low < 0 or high >= self.context:
                raise ValueError(
                    f"position {low if low < 0 else high} is not among the {self.context} that were learned "
                    f"(0 to {self.context - 1}); shorten the text, or build the model with a longer context"
                )
        return hidden + self.table(ctx.positions)


GRID: Mapping[str, tuple[GPT, float]] = {
    "125M": (GPT(width=768, depth=12, heads=12), 6e-4),
    "350M": (GPT(width=1024, depth=24, heads=16), 3e-4),
    "760M": (GPT(width=1536, depth=24, heads=16), 2.5e-4),
    "1.3B": (GPT(width=2048, depth=24, heads=16), 2e-4),
    "2.7B": (GPT(width=2560, depth=32, heads=32), 1.6e-4),
    "6.7B": (GPT(width=4096, depth=32, heads=32), 1.2e-4),
    "13B": (GPT(width=5120, depth=40, heads=40), 1e-4),
    "175B": (GPT(width=12288, depth=96, heads=96), 0.6e-4),
}
"""The models of the paper by parameters, with a vocabulary of 50257: the recipe, and the peak learning rate. Its table
gives the 13B a width of 5140, which is no multiple of its 40 heads, and the 1.3B heads that do not fit its width: here
those are 5120, and 16 heads of 128. Trained there on 300B tokens with Adam (0.9, 0.95), weight decay 0.1, a clip of 1,
375M tokens of warm-up and a cosine down to a tenth."""
