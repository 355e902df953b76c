"""FlexiBERT: a two-way encoder whose layers differ in how they mix tokens, in width and in their feed-forwards.

Source
    Tuli, Dedhia, Tuli and Jha 2022, "FlexiBERT: Are Current Transformer Architectures too Homogeneous and Rigid?",
    arXiv:2205.11656 (JAIR 77, 2023), from notes on the authors' code. The dynamic span convolution is that of Jiang et
    al. 2020 (ConvBERT), the linear transform that of Lee-Thorp et al. 2021 (FNet), the rest Devlin et al. 2019 (BERT).
    With one kind of layer, attention, the logits agree with the BertForMaskedLM of transformers 5.
Equation
    x_0 = LN(E[ids] + P[t]);   h = LN(x + Mix(x));   x' = LN(h + FFN(h));   x W_j first where the width changes
    sdp:  softmax(q_t . k_s / sqrt(d)) over all s;   wma: the same of  q_t (I + W) . k_s,  one W for each head
    dft:  Re DFT over time and width;   dct: the DCT of type II over both
    conv: a_t = softmax(W_a (q_t * s_t)) over K places and for each head,  s = W_p depthwise_K(x);
          o_t = sum_j a_tj v_{t+j-(K-1)/2};   every mixer but the transforms ends in W_o
    FFN:  W_n gelu(W_{n-1} ... gelu(W_1 x)), one to three hidden layers;   logits = LN(gelu(W_t x_L)) E^T + b
Shapes
    ids (batch, time) -> logits (batch, time, vocab), each of a token in sight of all the others. The stream has the
    width of its layer; ``hidden`` has that of the embeddings.
Cost
    Per token and layer beside the projections: 4 width T for attention, 4 width K for a convolution, about 2.5 width
    (log2 width + log2 T) for a transform, which has no parameters. There is no state.
Caveats
    The embeddings of the second sentence are left out; those of the first are part of P. Keys have no bias, which
    would change no weight. W starts near 0, so that wma starts near sdp; the authors' start is not known to us. Several
    feed-forward layers are taken to follow one another within one branch. A transform is not split into heads. Padding
    and other documents are no part of a transform or a span: each document is mixed as if it stood alone. There is no
    dropout. Not for decoders: every layer sees later tokens. The default shows one layer of each kind and is no model
    of the paper, whose search is in ``compare/boshnas.py``. Shown up to the size of BERT-Large.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.core.method import method
from trivium.models.sites import Heads, Site
from trivium.models.skeleton import (
    Block,
    ChannelMixer,
    Context,
    Linear,
    PostNorm,
    Role,
    Skeleton,
    TwoWayMixer,
    linear_flops,
)
from trivium.models.slots import Head, LayerNorm, TokenEmbedding
from trivium.nn.attention import attention
from trivium.nn.by_document import by_document
from trivium.nn.graphs import Graph
from trivium.nn.span_convolution import span_convolution
from trivium.nn.spectral import cosine_mix, cosine_mix_flops, fourier_mix, fourier_mix_flops

Operation = Literal["sdp", "wma", "dft", "dct", "conv"]


@dataclass(frozen=True)
class EncoderLayer:
    """One layer: what mixes its tokens, and how wide it is."""

    operation: Operation = "sdp"
    width: int | None = None
    """Of the stream within the layer; None for that of the embeddings."""
    heads: int = 4
    """Of attention and convolution; a transform has none."""
    kernel: int = 9
    """Places of a convolution, an odd number."""
    hidden: tuple[int, ...] | None = None
    """Widths inside the feed-forward, one after another; None for one of 4 times the layer's width."""

    def __post_init__(self) -> None:
        if self.hidden is not None:
            object.__setattr__(self, "hidden", tuple(self.hidden))  # a saved recipe brings a list
        if self.operation not in get_args(Operation):
            raise ValueError(f"operation must be one of {', '.join(get_args(Operation))}; got {self.operation!r}")
        for name in ("width", "heads"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that a span lies evenly around a token; got {self.kernel}")
        if self.hidden is not None and (not self.hidden or min(self.hidden) < 1):
            raise ValueError(f"hidden must be one or more widths of at least 1, got {self.hidden}; None for the usual")

    @property
    def split(self) -> bool:
        """Whether the layer has heads."""
        return self.operation not in ("dft", "dct")


@method(title="FlexiBERT", source="arXiv:2205.11656", year=2022)
@dataclass(frozen=True)
class FlexiBERT:
    """A two-way encoder of post-norm blocks, each with its own way of mixing tokens, width and feed-forward."""

    width: int = 64
    """Of the embeddings, and of every layer that names no other."""
    depth: int | None = None
    """Layers; None for as many as are listed. The list is gone through again where they are more."""
    layers: tuple[EncoderLayer, ...] = (
        EncoderLayer("sdp"),
        EncoderLayer("conv"),
        EncoderLayer("dft", hidden=(128, 128)),
        EncoderLayer("wma", width=32, heads=2),
    )
    eps: float = 1e-12
    context: int = 512
    """Positions that are learned, so the longest sequence that the model accepts."""

    def __post_init__(self) -> None:
        made: list[Any] = [EncoderLayer(**one) if isinstance(one, dict) else one for one in self.layers]
        object.__setattr__(self, "layers", tuple(made))
        if not self.layers:
            raise ValueError("layers must list one layer at least, such as EncoderLayer('sdp')")
        for name in ("width", "depth", "context"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.eps <= 0:
            raise ValueError(f"eps must be positive, got {self.eps}")
        for number, layer in enumerate(self.stack):
            width = layer.width or self.width
            if layer.split and width % layer.heads:
                raise ValueError(f"layer {number}: width {width} must be a multiple of the {layer.heads} heads")

    @property
    def stack(self) -> tuple[EncoderLayer, ...]:
        """Every layer, in order."""
        return tuple(itertools.islice(itertools.cycle(self.layers), self.depth or len(self.layers)))

    def build(self, vocab_size: int, *, seed: int = 0) -> Skeleton:
        """A model with initial weights that depend on the seed alone."""
        embedding = TokenEmbedding(vocab_size, self.width)
        blocks, before = [], self.width
        for layer in self.stack:
            width = layer.width or self.width
            blocks.append(
                Block(
                    LayerNorm(width, self.eps),
                    MIXERS[layer.operation](layer, width),
                    LayerNorm(width, self.eps),
                    StackedMLP(width, layer.hidden or (4 * width,)),
                    PostNorm(),
                    PostNorm(),
                    join=Linear(before, width) if width != before else None,
                )
            )
            before = width
        return Skeleton(
            self,
            vocab_size=vocab_size,
            embedding=embedding,
            position=EncoderPosition(self.context, self.width, self.eps),
            blocks=blocks,
            norm=Readout(before, self.width, self.eps),
            head=BiasedHead(self.width, vocab_size, embedding),
            max_positions=self.context,
            seed=seed,
        )

    def graph(self) -> Graph:
        """What is computed, as blocks and the arrows between them. Labels read from the rough to the fine."""
        labels, edges = ["input"], []
        ends, before = [0], self.width

        def add(label: str, sources: Sequence[int]) -> int:
            labels.append(label)
            edges.extend((source, len(labels) - 1) for source in sources)
            return len(labels) - 1

        for layer in self.stack:
            width = layer.width or self.width
            if width != before:
                ends, before = [add(f"join/{width}", ends)], width
            inside = ends[0]
            if layer.split:
                kind = f"{layer.operation} {layer.kernel}" if layer.operation == "conv" else layer.operation
                family = "span" if layer.operation == "conv" else "attention"
                heads = [add(f"{family}/{kind}/{width // layer.heads}", [inside]) for _ in range(layer.heads)]
            else:
                heads = [add(f"transform/{layer.operation}/{width}", [inside])]
            inside = end = add("add and norm", [*heads, inside])
            for hidden in layer.hidden or (4 * width,):
                end = add(f"feed-forward/{hidden}", [end])
            ends = [add("add and norm", [end, inside])]
        add("output", ends)
        return Graph(tuple(labels), tuple(edges))


@dataclass(frozen=True)
class Space:
    """Layers to choose from, and how many there may be."""

    layers: tuple[EncoderLayer, ...]
    depths: tuple[int, ...] = (2, 4, 6)
    base: FlexiBERT = FlexiBERT()
    """What all encoders of the space have in common."""

    def __post_init__(self) -> None:
        if not self.layers or not self.depths or min(self.depths) < 1:
            raise ValueError(f"a space needs layers, and depths of at least 1; got {self.layers} and {self.depths}")

    def stacks(self, size: int = 2) -> Iterator[FlexiBERT]:
        """Every encoder made of stacks of so many equal layers: the rough level of a search."""
        for depth in self.depths:
            if depth % size:
                raise ValueError(f"a depth of {depth} is no whole number of stacks of {size} layers")
            for chosen in itertools.product(self.layers, repeat=depth // size):
                yield self._encoder([layer for layer in chosen for _ in range(size)])

    def around(self, recipe: FlexiBERT) -> Iterator[FlexiBERT]:
        """Every encoder that differs from this one in a single layer: the fine level of a search."""
        for place, there in enumerate(recipe.stack):
            for layer in self.layers:
                if layer != there:
                    yield self._encoder([*recipe.stack[:place], layer, *recipe.stack[place + 1 :]])

    def _encoder(self, layers: Sequence[EncoderLayer]) -> FlexiBERT:
        return replace(self.base, depth=None, layers=tuple(layers))


class EncoderPosition(nn.Module):
    """Adds one learned vector per position and normalises."""

    def __init__(self, context: int, width: int, eps: float) -> None:
        super().__init__()
        self.context = context
        self.table = TokenEmbedding(context, width)
        self.norm = LayerNorm(width, eps)

    def forward(self, hidden: Tensor, ctx: Context) -> Tensor:
        if not ctx.positions.is_meta and int(ctx.positions.max()) >= self.context:
            raise ValueError(
                f"position {int(ctx.positions.max())} is beyond the {self.context} that are learned; shorten the text, "
                "or build the model with a longer context"
            )
        return self.norm(hidden + self.table(ctx.positions))


class TwoWayAttention(TwoWayMixer):
    """Softmax attention to all tokens of the document."""

    def __init__(self, layer: EncoderLayer, width: int) -> None:
        super().__init__()
        self.heads = layer.heads
        self.q_proj = Linear(width, width, bias=True)
        self.k_proj = Linear(width, width)
        self.v_proj = Linear(width, width, bias=True)
        self.o_proj = Linear(width, width, bias=True, role="out")
        self.between: nn.Parameter | None = None
        if layer.operation == "wma":
            self.between = nn.Parameter(torch.empty(self.heads, width // self.heads, width // self.heads))
            self.roles: dict[str, Role] = {"between": "in"}

    def parallel(self, x: Tensor, ctx: Context) -> Tensor:
        q, k, v = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        if self.between is not None:
            q = q + q @ self.between
        z = attention(q, k, v, ctx.document_mask, causal=False)
        return self.o_proj(z.transpose(1, 2).flatten(2))

    def flops(self, length: int) -> int:
        width = self.q_proj.in_features
        between = 0 if self.between is None else 2 * length * self.between.numel()
        return linear_flops(self, length) + between + 4 * width * length**2

    def sites(self) -> Mapping[str, Site]:
        return {
            "q": Site(self.q_proj, view=Heads(self.heads)),
            "k": Site(self.k_proj, view=Heads(self.heads)),
            "v": Site(self.v_proj, view=Heads(self.heads)),
            "z": Site(self.o_proj, "input", view=Heads(self.heads)),
        }


class LinearTransform(TwoWayMixer):
    """A Fourier or cosine transform over time and width."""

    def __init__(self, layer: EncoderLayer, width: int) -> None:
        super().__init__()
        self.width = width
        self.fourier = layer.operation == "dft"

    def parallel(self, x: Tensor, ctx: Context) -> Tensor:
        return by_document(x, fourier_mix if self.fourier else cosine_mix, ctx.real, ctx.documents)

    def flops(self, length: int) -> int:
        return (fourier_mix_flops if self.fourier else cosine_mix_flops)(length, self.width)


class DynamicSpan(TwoWayMixer):
    """A convolution whose kernels are made of the span around each token."""

    def __init__(self, layer: EncoderLayer, width: int) -> None:
        super().__init__()
        self.heads = layer.heads
        self.kernel = layer.kernel
        self.q_proj = Linear(width, width, bias=True)
        self.v_proj = Linear(width, width, bias=True)
        self.depthwise = nn.Parameter(torch.empty(width, 1, layer.kernel))
        self.pointwise = Linear(width, width, bias=True)
        self.kernels = Linear(width, layer.heads * layer.kernel, bias=True)
        self.o_proj = Linear(width, width, bias=True, role="out")
        self.roles: dict[str, Role] = {"depthwise": "in"}

    def parallel(self, x: Tensor, ctx: Context) -> Tensor:
        return self.o_proj(by_document(x, self._mix, ctx.real, ctx.documents))

    def _mix(self, x: Tensor) -> Tensor:
        near = F.conv1d(x.mT, self.depthwise, padding=self.kernel // 2, groups=x.shape[-1]).mT
        made = self.kernels(self.q_proj(x) * self.pointwise(near))
        weights = made.unflatten(-1, (self.heads, self.kernel)).softmax(-1)
        return span_convolution(weights, self.v_proj(x).unflatten(-1, (self.heads, -1)).to(weights.dtype)).flatten(2)

    def flops(self, length: int) -> int:
        return linear_flops(self, length) + 4 * length * self.q_proj.in_features * self.kernel

    def sites(self) -> Mapping[str, Site]:
        return {"z": Site(self.o_proj, "input", view=Heads(self.heads))}


MIXERS: Mapping[str, type[TwoWayAttention] | type[LinearTransform] | type[DynamicSpan]] = {
    "sdp": TwoWayAttention,
    "wma": TwoWayAttention,
    "dft": LinearTransform,
    "dct": LinearTransform,
    "conv": DynamicSpan,
}


class StackedMLP(ChannelMixer):
    """Linear layers with a GELU between each two."""

    def __init__(self, width: int, hidden: Sequence[int]) -> None:
        super().__init__()
        sizes = [width, *hidden]
        self.up_projs = nn.ModuleList(Linear(a, b, bias=True) for a, b in itertools.pairwise(sizes))
        self.down_proj = Linear(sizes[-1], width, bias=True, role="out")

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        for up in self.up_projs:
            x = F.gelu(up(x))
        return self.down_proj(x)

    def flops(self, length: int) -> int:
        return linear_flops(self, length)

    def sites(self) -> Mapping[str, Site]:
        return {"act": Site(self.down_proj, "input")}


class Readout(nn.Module):
    """Before the head: a linear layer, GELU, and a norm, at the width of the embeddings."""

    def __init__(self, width: int, outputs: int, eps: float) -> None:
        super().__init__()
        self.dense = Linear(width, outputs, bias=True)
        self.norm = LayerNorm(outputs, eps)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.norm(F.gelu(self.dense(hidden)))


class BiasedHead(Head):
    """The embedding table, and a bias for each token."""

    def __init__(self, width: int, vocab_size: int, tied: TokenEmbedding) -> None:
        super().__init__(width, vocab_size, tied)
        self.bias = nn.Parameter(torch.empty(vocab_size))
