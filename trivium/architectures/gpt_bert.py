"""GPT-BERT: a gated transformer with relative positions, causal or bidirectional as its mask says.

Source
    Charpentier, Samuel 2024, "GPT or BERT: why not both?", BabyLM Challenge at CoNLL 2024, arXiv:2410.24159; the layers
    as in the authors' released model, written from a description of it. Depth weights are those of Pagliardini et al.
    2024, "DenseFormer", arXiv:2402.02622; relative positions those of He et al. 2021, DeBERTa, arXiv:2006.03654.
Equation
    X_0 = LN(E[ids]);   X_j = Y_{j-1} + branch_j(LN(Y_{j-1}));   Y_j = sum_{i <= j} a_ji X_i, at first a_j = (0 ... 0 1)
    branches take turns, attention and feed-forward;   logits = E LN(gelu(W LN(Y))) + b
    attention: q, k = W_qk x,  v, g = W_vg x;   qp, kp = W_qk R, R = LN(table of 2 buckets - 1 relative positions)
          s_ts = (q_t . k_s + q_t . kp_i + qp_i . k_s) / sqrt(3 d),  i the bucket of t - s,  d = width / heads
          y = W_o LN(softmax(s) v * gelu(g))
    feed-forward: u, g = W_1 x;   y = W_2 LN(u * gelu(g)), gelu by tanh.      LN learns nothing, but for the one of R
Shapes
    ids (batch, time) -> logits (batch, time, vocab). Heads are (batch, heads, time, width / heads); keys are remembered
    as projected, without positions.
Cost
    Forward per token 2 P + 4 width T, whole rows of scores, and 4 width (2 buckets - 1) for the positions, per layer;
    the table is projected once per pass and layer. State: 2 width depth numbers per token. Depth weights keep all
    streams of a pass and add up half of their number squared.
Caveats
    A pass is causal unless a 4-D mask lets positions see later ones; the objective ``masked_next_token`` trains it both
    ways. The tables of embeddings and of positions start as in every architecture here; matrices start from a normal
    distribution of variance 2 / (5 width), cut at two deviations, those of feed-forward i times sqrt(1 / (2 (1 + i))).
    What our source leaves open: matrices have no biases; both terms of position take the bucket of t - s; buckets are
    exact up to half their number and logarithmic up to ``reach``, as in DeBERTa; the second half of W_1 is the gate;
    feed-forwards are counted from 0. With depth weights a layer reads the streams below it, so that ranges of layers
    cannot be run and "layers" is not offered. Dropout is left out. The authors train with LAMB and an average of the
    weights. Shown with 12 layers of width 384 and 768 in the BabyLM challenge.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.core.method import method
from trivium.models.sites import Heads, Site, Slice
from trivium.models.skeleton import (
    Block,
    ChannelMixer,
    Context,
    Linear,
    Role,
    SequenceMixer,
    Skeleton,
    TokenMemory,
    linear_flops,
)
from trivium.models.slots import Head, TokenEmbedding, round_up
from trivium.nn.norms import layer_norm
from trivium.nn.relative_attention import FEW, disentangled_attention, log_buckets


@method(title="GPT-BERT", source="arXiv:2410.24159", year=2024)
@dataclass(frozen=True)
class GptBert:
    """Blocks of gated attention with relative positions and a gated feed-forward, averaged over depth."""

    width: int = 64
    depth: int = 2
    heads: int = 4
    hidden: int | None = None
    """Width inside the feed-forward; None for 10/3 of the width, rounded up to a multiple of 64."""
    buckets: int = 32
    """Relative positions to either side that are told apart."""
    reach: int = 512
    """Distance from which on all are one bucket."""
    depth_weights: bool = True
    """Whether what a branch reads is a learned sum of all streams below; the last one alone if not."""
    eps: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of the {self.heads} heads")
        if self.hidden is not None and self.hidden < 1:
            raise ValueError(f"hidden must be at least 1, got {self.hidden}")
        if self.buckets < 2 or self.reach <= self.buckets // 2 + 1:
            raise ValueError(
                f"buckets must be at least 2 and reach more than half of them plus 1, got {self.buckets} and "
                f"{self.reach}"
            )
        if self.eps <= 0:
            raise ValueError(f"eps must be positive, got {self.eps}")

    @property
    def spread(self) -> float:
        """The deviation from which matrices start."""
        return (2 / (5 * self.width)) ** 0.5

    def build(self, vocab_size: int, *, seed: int = 0) -> Skeleton:
        """A model with initial weights that depend on the seed alone."""
        embedding = TokenEmbedding(vocab_size, self.width)
        return Skeleton(
            self,
            vocab_size=vocab_size,
            embedding=embedding,
            position=RelativePosition(self),
            blocks=[
                Block(
                    LayerNorm(self.eps),
                    GatedAttention(self),
                    LayerNorm(self.eps),
                    GatedGELU(self, layer),
                    averages=(DepthWeights(2 * layer + 2), DepthWeights(2 * layer + 3)) if self.depth_weights else None,
                )
                for layer in range(self.depth)
            ],
            norm=Transform(self),
            head=Head(self.width, vocab_size, tied=embedding, bias=True),
            seed=seed,
        )


class Matrix(Linear):
    """A linear layer that starts from a normal distribution of its own spread, cut at two deviations."""

    def __init__(self, inputs: int, outputs: int, spread: float) -> None:
        super().__init__(inputs, outputs)
        self.spread = spread
        self.roles: dict[str, Role] = {"weight": "drawn"}

    def draw(self, name: str, generator: torch.Generator) -> Tensor:
        new, cut = torch.empty(self.weight.shape), 2 * self.spread
        return nn.init.trunc_normal_(new, std=self.spread, a=-cut, b=cut, generator=generator)


class LayerNorm(nn.Module):
    """``nn.norms.layer_norm``: nothing is learned."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, eps=self.eps)


class RelativePosition(nn.Module):
    """Norms the embeddings; publishes the vectors of relative positions, and which of them each pair has."""

    def __init__(self, recipe: GptBert) -> None:
        super().__init__()
        self.recipe = recipe
        self.table = TokenEmbedding(2 * recipe.buckets - 1, recipe.width)
        self.gain = nn.Parameter(torch.empty(recipe.width))
        self.bias = nn.Parameter(torch.empty(recipe.width))
        self.roles: dict[str, Role] = {"gain": "one", "bias": "zero"}

    def forward(self, hidden: Tensor, ctx: Context) -> Tensor:
        distance = ctx.positions[:, :, None] - ctx.key_positions[:, None]
        index = log_buckets(distance, self.recipe.buckets, self.recipe.reach) + self.recipe.buckets - 1
        ctx.relative = layer_norm(self.table.weight, self.gain, self.bias, self.recipe.eps), index
        return layer_norm(hidden, eps=self.recipe.eps)


class GatedAttention(SequenceMixer):
    """The token mixer: disentangled attention, a gate, a norm over all heads."""

    remembers = "tokens"
    bidirectional = True
    relative = True

    def __init__(self, recipe: GptBert) -> None:
        super().__init__()
        width = recipe.width
        self.recipe = recipe
        self.heads = recipe.heads
        self.qk_proj = Matrix(width, 2 * width, recipe.spread)
        self.vg_proj = Matrix(width, 2 * width, recipe.spread)
        self.out_proj = Matrix(width, width, recipe.spread)

    def parallel(self, x: Tensor, ctx: Context) -> Tensor:
        return self._attend(x, None, ctx)

    def forward_chunk(self, x: Tensor, memory: TokenMemory, ctx: Context) -> tuple[Tensor, TokenMemory]:
        return self._attend(x, memory, ctx), memory

    def _attend(self, x: Tensor, memory: TokenMemory | None, ctx: Context) -> Tensor:
        if ctx.relative is None:
            raise ValueError("no relative positions were published; put RelativePosition in the position slot")
        vectors, index = ctx.relative
        q, k = self._headed(self.qk_proj(x))  # (batch, heads, time, width / heads)
        qp, kp = self._headed(F.linear(vectors, self.qk_proj.weight))  # (heads, relative positions, width / heads)
        v, gate = self.vg_proj(x).chunk(2, -1)
        v = v.unflatten(-1, (self.heads, -1)).transpose(-3, -2)
        if memory is not None:
            k, v = memory.extend(k, v)
        scale = (3 * q.shape[-1]) ** -0.5
        z = disentangled_attention(q, k, v, qp, kp, index, ctx.attention_mask, scale=scale)
        return self.out_proj(layer_norm(z.transpose(1, 2).flatten(2) * F.gelu(gate), eps=self.recipe.eps))

    def _headed(self, both: Tensor) -> tuple[Tensor, Tensor]:
        """Two projections beside each other, apart and by heads."""
        q, k = (part.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for part in both.chunk(2, -1))
        return q, k

    def state_bytes(self, length: int, dtype: torch.dtype) -> int:
        return 2 * self.recipe.width * length * dtype.itemsize

    def flops(self, length: int) -> int:
        offsets = 2 * self.recipe.buckets - 1
        by_key = length if length <= FEW else offsets
        return linear_flops(self, length) + 2 * self.recipe.width * length * (2 * length + offsets + by_key)

    def shared_flops(self) -> int:
        return linear_flops(self.qk_proj, 2 * self.recipe.buckets - 1)

    def sites(self) -> Mapping[str, Site]:
        width = self.recipe.width
        return {
            "q": Site(self.qk_proj, view=Slice(0, width, self.heads)),
            "k": Site(self.qk_proj, view=Slice(width, 2 * width, self.heads)),
            "v": Site(self.vg_proj, view=Slice(0, width, self.heads)),
            "z": Site(self.out_proj, "input", view=Heads(self.heads)),
        }


class GatedGELU(ChannelMixer):
    """``down LN(up x * gelu(gate x))``."""

    def __init__(self, recipe: GptBert, layer: int) -> None:
        super().__init__()
        hidden = recipe.hidden or round_up(10 * recipe.width / 3, 64)
        spread = recipe.spread * (1 / (2 * (1 + layer))) ** 0.5
        self.eps = recipe.eps
        self.in_proj = Matrix(recipe.width, 2 * hidden, spread)
        self.out_proj = Matrix(hidden, recipe.width, spread)

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        up, gate = self.in_proj(x).chunk(2, -1)
        return self.out_proj(layer_norm(up * F.gelu(gate, approximate="tanh"), eps=self.eps))

    def flops(self, length: int) -> int:
        return linear_flops(self, length)

    def sites(self) -> Mapping[str, Site]:
        return {"act": Site(self.out_proj, "input")}


class DepthWeights(nn.Module):
    """A learned sum of all streams of the pass, of which there are so many by now; at first the last one."""

    def __init__(self, streams: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(streams))
        self.roles: dict[str, Role] = {"weight": "own"}

    def initial(self, name: str) -> Tensor:
        return F.one_hot(torch.tensor(len(self.weight) - 1), len(self.weight)).float()

    def forward(self, stream: Tensor, ctx: Context) -> Tensor:
        ctx.streams.append(stream)
        if len(ctx.streams) != len(self.weight):
            raise ValueError(
                f"weights for {len(self.weight)} streams met {len(ctx.streams)}: a layer was left out or run twice"
            )
        total = self.weight[-1] * stream
        for weight, earlier in zip(self.weight[:-1], ctx.streams[:-1], strict=True):
            total = total + weight * earlier
        return total


class Transform(nn.Module):
    """What the stream passes before the head's matrix: norm, matrix, GELU, norm."""

    def __init__(self, recipe: GptBert) -> None:
        super().__init__()
        self.eps = recipe.eps
        self.proj = Matrix(recipe.width, recipe.width, recipe.spread)

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(F.gelu(self.proj(layer_norm(x, eps=self.eps))), eps=self.eps)
