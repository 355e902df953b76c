"""PanGu-pi: more nonlinearity against the collapse of features, by a series of activations and a path past attention.

Source
    Wang et al. 2023, "PanGu-pi: Enhancing Language Model Architectures via Nonlinearity Compensation",
    arXiv:2312.17276. Written from the equations; no training code of the authors was found.
Equation
    FFN(x) = W_2 (act(W_1 x) * W_3 x),   act(u) = sum_{i=1..n} silu(a_i u + b_i),   a_i, b_i learned per channel
    h = z + MSA(norm z) + sum_{i=1..m} T_i(z),   T(z) = W_b gelu(W_a z),   width -> width / r -> width
    a_1 = 1, a_i = (i - 2) / 10, b_i = 0 and W_b = 0 at the start;   the rest is the Llama-style decoder
Shapes
    ids (batch, time) -> logits (batch, time, vocab). Per layer a and b (terms, hidden).
Cost
    Forward per token 2 P + 4 width T', as for Llama. 2 n hidden parameters per layer for the series, elementwise work
    alone, and 2 m width^2 / r for the shortcuts.
Caveats
    The paper does not say where a series sits in a gated feed-forward: here it takes the place of the gate's SiLU. All
    its terms have one shape; one term alone is the plain activation, without scale and bias. The start values are ours:
    with the default two terms a fresh model is the baseline of the same seed, bit by bit. Terms that start alike would
    stay alike, so from the third on they do not start at nothing. The shortcut reads the stream as it is, as in the
    formula, or normalised: raw, it can grow fast at high learning rates. Comparisons mean something at equal parameters
    only, so take from ``hidden`` or ``depth`` what the two parts add. Shown by the authors at 1B and 7B parameters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.architectures._decoder import check_decoder, decoder
from trivium.core.method import method
from trivium.models.sites import Site
from trivium.models.skeleton import ChannelMixer, Context, Linear, PreNorm, Residual, Role, Skeleton, linear_flops
from trivium.models.slots import Attention, GatedMLP, round_up
from trivium.nn.feedforward import series_silu
from trivium.nn.rotary import Layout

ShortcutInput = Literal["raw", "normed"]


@method(title="PanGu-pi", source="arXiv:2312.17276", year=2023)
@dataclass(frozen=True)
class PanGu:
    """The Llama-style decoder with a series of activations and a bottleneck beside the attention."""

    width: int = 64
    depth: int = 2
    heads: int = 4
    kv_heads: int | None = None
    """Key-value groups; None for as many as heads."""
    hidden: int | None = None
    """Width inside the feed-forward; None for 8/3 of the width, rounded up to a multiple of 64."""
    terms: int = 2
    """Activations that are added up; 1 is the plain one."""
    shortcuts: int = 1
    """Bottlenecks beside each attention; 0 for none."""
    reduction: int = 32
    """By how much a bottleneck is narrower than the stream; it is 1 wide at least."""
    shortcut_input: ShortcutInput = "raw"
    """What a bottleneck reads: the stream as it is, or what the attention reads."""
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
        for name, least, off in (("terms", 1, "is the plain activation"), ("shortcuts", 0, "leaves them out")):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, which {off}; got {getattr(self, name)}")
        if self.reduction < 1:
            raise ValueError(f"reduction must be at least 1, which is no bottleneck; got {self.reduction}")
        if self.shortcut_input not in get_args(ShortcutInput):
            raise ValueError(f"shortcut_input must be 'raw' or 'normed', got {self.shortcut_input!r}")

    def build(self, vocab_size: int, *, seed: int = 0) -> Skeleton:
        """A model with initial weights that depend on the seed alone."""
        hidden = self.hidden or round_up(8 * self.width / 3, 64)
        channel: Callable[[], ChannelMixer] = lambda: (  # noqa: E731
            GatedMLP(self.width, hidden) if self.terms == 1 else SeriesMLP(self.width, hidden, self.terms)
        )
        return decoder(
            self,
            vocab_size,
            seed=seed,
            mixer=lambda: Attention(self.width, self.heads, self.kv_heads or self.heads, self.layout),
            channel=channel,
            mixer_residual=lambda: PreNorm() if self.shortcuts == 0 else AugmentedShortcut(self),
        )


class SeriesActivation(nn.Module):
    """``nn.feedforward.series_silu`` with learned scales and biases."""

    def __init__(self, terms: int, hidden: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(terms, hidden))
        self.bias = nn.Parameter(torch.empty(terms, hidden))
        for parameter in (self.scale, self.bias):  # a scale that shrinks to nothing would take its term along
            parameter._no_weight_decay = True  # type: ignore[attr-defined]
        self.roles: dict[str, Role] = {"scale": "own", "bias": "zero"}

    def initial(self, name: str) -> Tensor:
        """The first term as it is, the second nothing, and the further ones apart from each other."""
        starts = torch.tensor([1.0, *((term - 2) / 10 for term in range(2, len(self.scale) + 1))])
        return starts[:, None].expand_as(self.scale)

    def forward(self, x: Tensor) -> Tensor:
        return series_silu(x, self.scale, self.bias)


class SeriesMLP(ChannelMixer):
    """``down (act(gate x) * up x)`` with a series for act."""

    def __init__(self, width: int, hidden: int, terms: int) -> None:
        super().__init__()
        self.gate_proj = Linear(width, hidden)
        self.up_proj = Linear(width, hidden)
        self.activation = SeriesActivation(terms, hidden)
        self.down_proj = Linear(hidden, width, role="out")

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))

    def flops(self, length: int) -> int:
        return linear_flops(self, length)

    def sites(self) -> Mapping[str, Site]:
        return {"act": Site(self.down_proj, "input")}


class AugmentedShortcut(Residual):
    """The branch is added to the stream, and so is what bottlenecks make of the stream itself."""

    def __init__(self, recipe: PanGu) -> None:
        super().__init__()
        self.reads = recipe.shortcut_input
        self.shortcut = Bottlenecks(recipe.width, -(-recipe.width // recipe.reduction), recipe.shortcuts)

    def forward(self, stream: Tensor, norm: nn.Module, branch: Callable[[Tensor], Tensor]) -> Tensor:
        x = norm(stream)
        return stream + branch(x) + self.shortcut(stream if self.reads == "raw" else x)

    def sites(self) -> Mapping[str, Site]:
        return {"shortcut": Site(self.shortcut)}


class Bottlenecks(nn.Module):
    """The sum of so many ``up gelu(down z)``, each of which starts as nothing."""

    def __init__(self, width: int, narrow: int, count: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(Linear(width, narrow) for _ in range(count))
        self.up = nn.ModuleList(Linear(narrow, width, role="zero") for _ in range(count))

    def forward(self, z: Tensor) -> Tensor:
        return torch.stack([up(F.gelu(down(z))) for down, up in zip(self.down, self.up, strict=True)]).sum(0)
