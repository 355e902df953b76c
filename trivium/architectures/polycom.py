"""PolyCom: a feed-forward whose activation is a learned cubic, of the rectified input or of normed powers.

Source
    Zhuo et al. 2025, "Polynomial Composition Activations: Unleashing the Dynamics of Large Language Models",
    arXiv:2411.03884, ICLR 2025. Written from the equations; both activations agree with the authors' code.
Equation
    FFN(x) = W_2 act(W_1 x)
    polyrelu: act(u) = a_0 + sum_{i=1..3} a_i relu(u)^i
    polynorm: act(u) = a_0 + sum_{i=1..3} a_i u^i / rms(u^i),   rms(v) = sqrt(mean(v^2) + eps) over the hidden axis
    a_1 = a_2 = a_3 = 1/3 and a_0 = 0 at the start, learned per layer;   the rest is the Llama-style decoder
Shapes
    ids (batch, time) -> logits (batch, time, vocab). Per layer a (3,) and a_0 (1,).
Cost
    Forward per token 2 P + 4 width T', as for Llama; four parameters per layer on top of the two matrices. The backward
    pass computes the powers anew from the input of the activation, which is all that is kept.
Caveats
    Two matrices where SwiGLU has three: equal parameters mean 3/2 of its hidden width, and the default is 4 times the
    width, as in the paper. Stored here in rising order (a_1, a_2, a_3); the authors store the cubic one first. The
    activation is computed in float32 or wider, and its coefficients are vectors, which weight decay spares. The plain
    activations of the paper's comparison are offered too; "relu" is polyrelu with a = (1, 0, 0). The mixture of experts
    of the paper is left out: its activation is this one on rows put together again. Shown by the authors at 1B
    parameters and 250B tokens.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.architectures._decoder import check_decoder, decoder
from trivium.core.method import method
from trivium.models.skeleton import Role, Skeleton
from trivium.models.slots import Attention, PlainMLP
from trivium.nn.polynomial import ORDER, poly_norm, poly_relu
from trivium.nn.rotary import Layout

Activation = Literal["polynorm", "polyrelu", "relu", "squared_relu", "gelu"]


@method(title="PolyCom", source="arXiv:2411.03884", year=2025)
@dataclass(frozen=True)
class PolyCom:
    """The Llama-style decoder with a plain feed-forward around a polynomial activation."""

    width: int = 64
    depth: int = 2
    heads: int = 4
    kv_heads: int | None = None
    """Key-value groups; None for as many as heads."""
    hidden: int | None = None
    """Width inside the feed-forward; None for 4 times the width."""
    activation: Activation = "polynorm"
    """Between the two matrices; the last three learn nothing and are there to compare with."""
    poly_eps: float = 1e-6
    """Added to the mean squares of polynorm."""
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
        if self.activation not in get_args(Activation):
            raise ValueError(f"activation must be one of {', '.join(get_args(Activation))}; got {self.activation!r}")
        if self.poly_eps <= 0:
            raise ValueError(f"poly_eps must be positive, got {self.poly_eps}; a row of zeros has no size of its own")

    def build(self, vocab_size: int, *, seed: int = 0) -> Skeleton:
        """A model with initial weights that depend on the seed alone."""
        hidden = self.hidden or 4 * self.width
        return decoder(
            self,
            vocab_size,
            seed=seed,
            mixer=lambda: Attention(self.width, self.heads, self.kv_heads or self.heads, self.layout),
            channel=lambda: PlainMLP(self.width, hidden, activated(self.activation, self.poly_eps)),
        )


def activated(activation: Activation, eps: float = 1e-6) -> nn.Module:
    """The activation of a name, with coefficients of its own where it learns any."""
    if activation in ("polynorm", "polyrelu"):
        return Polynomial(normed=activation == "polynorm", eps=eps)
    return {"relu": nn.ReLU, "squared_relu": SquaredReLU, "gelu": nn.GELU}[activation]()


class Polynomial(nn.Module):
    """``nn.polynomial.poly_norm`` or ``poly_relu`` with learned coefficients."""

    def __init__(self, *, normed: bool, eps: float) -> None:
        super().__init__()
        self.normed = normed
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(ORDER))
        self.bias = nn.Parameter(torch.empty(1))
        self.roles: dict[str, Role] = {"weight": "own", "bias": "zero"}

    def initial(self, name: str) -> Tensor:
        return torch.full((ORDER,), 1 / ORDER)

    def forward(self, x: Tensor) -> Tensor:
        if self.normed:
            return poly_norm(x, self.weight, self.bias, self.eps)
        return poly_relu(x, self.weight, self.bias)


class SquaredReLU(nn.Module):
    """``relu(x)^2``."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()
