"""Mixture of experts: many feed-forwards, of which each token passes a few.

Source
    Cai et al. 2024, "A Survey on Mixture of Experts", arXiv:2407.06204; its parts are of Shazeer et al. 2017
    (arXiv:1701.06538), Lepikhin et al. 2020 (GShard, arXiv:2006.16668), Fedus et al. 2021 (Switch, arXiv:2101.03961),
    Zoph et al. 2022 (z-loss, arXiv:2202.08906), Zhou et al. 2022 (expert choice, arXiv:2202.09368), Gale et al. 2022
    (dropless, arXiv:2211.15841) and Dai et al. 2024 (shared and fine-grained experts, arXiv:2401.06066). The forms are
    those the field agrees on; losses and outputs agree with transformers 5, logits with its MixtralForCausalLM.
Equation
    r = W_r x;   p = softmax(r) over the E experts;   y = FFN_shared(x) + sum over the experts e of x of  g_e FFN_e(x)
    tokens choose: the k largest r;   g_e = p_e ("none"), or p_e over its sum among the k ("topk")
    experts choose: each takes ceil(k n / E) of n tokens, those with its largest p_e;   g_e = p_e
    capacity c: an expert serves ceil(c k n / E) choices, first choices first, then by position; the others give 0
    training adds  balance mean_t(E sum_e f_e p_te) + z_loss mean_t(logsumexp(r_t)^2),  f_e the share of e in the
    choices of the row, held constant;  means over tokens and layers.   The rest is the Llama-style decoder
Shapes
    ids (batch, time) -> logits (batch, time, vocab). Router (experts, width); experts (experts, hidden, width) twice
    and (experts, width, hidden).
Cost
    Forward per token 2 P + 4 width T', with P the active parameters in matrix products: attention, router, k of E
    experts, the shared ones, head. All parameters are held; ``active_parameters`` counts those of one token.
Caveats
    Capacity is for training only, where later tokens, other rows and the length then decide whether a choice is
    served; padding takes no place. Evaluation serves every choice (the factor of 2 that Switch has there is left out),
    so that a model that trained with a capacity still depends on earlier tokens alone. Experts that choose look at all
    tokens of the pass, later ones and other rows included: such a model offers neither 'causal' nor 'state'. Seats
    follow the real tokens of a pass, while a meter counts once per shape, so that padding blurs its figures there. The
    balance loss counts what was chosen, served or not. It is taken row by row, so that micro-batches and processes add
    up exactly; "pass" pools all rows of a pass, as Mixtral's does, which then balances each micro-batch for itself.
    The losses are added by this library's training loop; another loop must add them.
    Left out: jitter of the router, balancing by a bias in place of a loss, Switch's smaller initial values. With
    several experts a gate of 1 would teach the router nothing, so top_k 1 wants gate_norm "none". One expert is the
    dense feed-forward, with no router. Gates that sum to 1 take the mean of k narrow experts where a dense layer takes
    the sum over its whole width, so that at first the layer says less and learns more slowly. Large gains were shown at
    equal compute, not at equal parameters or memory.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.architectures._decoder import check_decoder, decoder
from trivium.core.method import method
from trivium.models.sites import Site
from trivium.models.skeleton import ChannelMixer, Context, Linear, Role, Skeleton, linear_flops
from trivium.models.slots import Attention, GatedMLP, round_up
from trivium.nn.experts import (
    balance_loss,
    grouped_experts,
    seated_experts,
    seats_by_experts,
    seats_by_tokens,
    shares,
    top_experts,
    z_loss,
)
from trivium.nn.rotary import Layout

Routing = Literal["tokens", "experts"]
GateNorm = Literal["topk", "none"]
BalanceOver = Literal["rows", "pass"]


@method(title="Mixture of experts", source="arXiv:2407.06204", year=2024)
@dataclass(frozen=True)
class MixtureOfExperts:
    """The Llama-style decoder with several SwiGLU feed-forwards, and a router that picks among them."""

    width: int = 64
    depth: int = 2
    heads: int = 4
    kv_heads: int | None = None
    """Key-value groups; None for as many as heads."""
    hidden: int | None = None
    """Width inside one expert; None for that of the dense feed-forward over the experts that a token passes."""
    experts: int = 8
    """Among which is chosen; 1 is the dense decoder."""
    top_k: int = 2
    """Experts that a token is sent to; where experts choose, the mean number of them."""
    routing: Routing = "tokens"
    """Who chooses. Experts that do are busy evenly, but the model is no longer causal."""
    gate_norm: GateNorm = "topk"
    """Whether the gates of a token's experts sum to 1, or are their probabilities among all experts."""
    shared: int = 0
    """Further experts that every token passes, with gate 1."""
    dense: int = 0
    """First so many layers that keep one feed-forward, as wide as all that a token passes elsewhere."""
    capacity: float | None = None
    """In training, what an expert serves at most, as a multiple of its even share; None: all that choose it."""
    balance: float = 0.01
    """Weight of the balance loss in training; plays no part where experts choose."""
    balance_over: BalanceOver = "rows"
    """Where the load is to be even: in each row, or over all rows of a pass together."""
    z_loss: float = 1e-3
    """Weight of the squared logarithm of the router's normaliser, which keeps its scores small, in training."""
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
        for name, choices in (("routing", Routing), ("gate_norm", GateNorm), ("balance_over", BalanceOver)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}; got {getattr(self, name)!r}")
        if not 1 <= self.top_k <= self.experts:
            raise ValueError(f"top_k must be 1 to the {self.experts} experts, got {self.top_k}")
        if self.shared < 0:
            raise ValueError(f"shared must not be negative, got {self.shared}")
        if not 0 <= self.dense < self.depth:
            raise ValueError(f"dense must leave one of the {self.depth} layers to the experts, got {self.dense}")
        if self.capacity is not None and not 0.0 < self.capacity < math.inf:
            raise ValueError(f"capacity must be positive and finite, got {self.capacity}; None serves every choice")
        for name in ("balance", "z_loss"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {getattr(self, name)}; 0 leaves it out")
        if self.experts > 1 and self.gate_norm == "topk":
            if self.routing == "experts":
                raise ValueError(
                    "gates of experts that choose are their probabilities, so set gate_norm='none' beside "
                    "routing='experts'"
                )
            if self.top_k == 1:
                raise ValueError(
                    "with top_k 1 a gate that is normalised is always 1, which would teach the router nothing; set "
                    "gate_norm='none'"
                )
        if self.routing == "experts" and self.capacity is not None:
            raise ValueError(f"experts that choose are never overfull; leave capacity None, got {self.capacity}")

    @property
    def auxiliary(self) -> dict[str, float]:
        """What training adds to the objective: the losses that layers report, and their weights."""
        if self.experts == 1:
            return {}
        return {"z": self.z_loss} | ({"balance": self.balance} if self.routing == "tokens" else {})

    def build(self, vocab_size: int, *, seed: int = 0) -> Skeleton:
        """A model with initial weights that depend on the seed alone."""
        passed = self.top_k + self.shared
        hidden = self.hidden or round_up(round_up(8 * self.width / 3, 64) / passed, 8)
        layers = iter(range(self.depth))

        def channel() -> ChannelMixer:
            if next(layers) < self.dense or self.experts == 1:
                return GatedMLP(self.width, hidden * passed)
            return RoutedMLP(self, hidden)

        return decoder(
            self,
            vocab_size,
            seed=seed,
            mixer=lambda: Attention(self.width, self.heads, self.kv_heads or self.heads, self.layout),
            channel=channel,
        )


def active_parameters(model: Skeleton) -> int:
    """Parameters that the pass of one token makes use of; where experts choose, on the average."""
    idle = 0
    for part in model.modules():
        if isinstance(part, RoutedMLP):
            idle += sum(weight.numel() for weight in part.experts) * (part.count - part.k) // part.count
    return sum(parameter.numel() for parameter in model.parameters()) - idle


class Router(Linear):
    """Scores of the experts, in float32 or wider whatever the precision of the rest."""

    def forward(self, input: Tensor) -> Tensor:
        wide = torch.promote_types(input.dtype, torch.float32)
        with torch.autocast(input.device.type, enabled=False):
            return F.linear(input.to(wide), self.weight.to(wide))


class RoutedMLP(ChannelMixer):
    """The channel mixer: a router, the experts it picks among, and those that all tokens pass."""

    def __init__(self, recipe: MixtureOfExperts, hidden: int) -> None:
        super().__init__()
        self.recipe = recipe
        self.causal = recipe.routing == "tokens"
        self.count, self.k = recipe.experts, recipe.top_k
        self.router = Router(recipe.width, self.count)
        self.gate_proj = nn.Parameter(torch.empty(self.count, hidden, recipe.width))
        self.up_proj = nn.Parameter(torch.empty(self.count, hidden, recipe.width))
        self.down_proj = nn.Parameter(torch.empty(self.count, recipe.width, hidden))
        self.roles: dict[str, Role] = {"gate_proj": "in", "up_proj": "in", "down_proj": "out"}
        self.shared = GatedMLP(recipe.width, hidden * recipe.shared) if recipe.shared else None

    @property
    def experts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Gate, up and down matrices, the experts first."""
        return self.gate_proj, self.up_proj, self.down_proj

    def seats(self, tokens: int, factor: float = 1.0) -> int:
        """What an expert serves of so many tokens: its even share, times a factor."""
        return min(math.ceil(factor * self.k * tokens / self.count), tokens)

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        scores = self.router(x)  # (batch, time, experts)
        y = self._routed(x.flatten(0, 1), scores, ctx).view_as(x)
        return y if self.shared is None else y + self.shared(x, ctx)

    def _routed(self, rows: Tensor, scores: Tensor, ctx: Context) -> Tensor:
        """Of (tokens, width), what the experts make."""
        real = None if ctx.real is None else ctx.real.flatten()
        capacity = self.recipe.capacity if self.training else None
        count = len(rows) if real is None or (capacity is None and self.causal) else int(real.sum())
        if self.training:
            ctx.aux[f"z.{ctx.layer}"] = z_loss(scores)
        if not self.causal:
            seated = seats_by_experts(scores.flatten(0, 1).softmax(-1), self.seats(count), real)
            return seated_experts(rows, *seated, *self.experts)
        gates, chosen = top_experts(scores.flatten(0, 1), self.k, normalised=self.recipe.gate_norm == "topk")
        self._report(scores, chosen.unflatten(0, scores.shape[:2]), ctx)
        if capacity is None:
            return grouped_experts(rows, gates, chosen, *self.experts)
        token, held = seats_by_tokens(gates, chosen, self.count, self.seats(count, capacity), real)
        ctx.aux[f"dropped.{ctx.layer}"] = 1 - (held > 0).sum() / max(count * self.k, 1)
        return seated_experts(rows, token, held, *self.experts)

    def _report(self, scores: Tensor, chosen: Tensor, ctx: Context) -> None:
        """The load of each expert, as a share of all choices, and in training the balance loss of each token."""
        real = ctx.real
        pooled = None if real is None else real.flatten()[None]
        ctx.aux[f"load.{ctx.layer}"] = shares(chosen.flatten(0, 1)[None], self.count, pooled)[0]
        if self.training and self.recipe.balance_over == "rows":
            ctx.aux[f"balance.{ctx.layer}"] = balance_loss(scores.softmax(-1), chosen, real)
        elif self.training:
            each = balance_loss(scores.flatten(0, 1).softmax(-1)[None], chosen.flatten(0, 1)[None], pooled)
            ctx.aux[f"balance.{ctx.layer}"] = each.view(scores.shape[:2])

    def flops(self, length: int) -> int:
        served = length * self.k if self.causal else self.count * self.seats(length)
        return linear_flops(self, length) + 2 * served * sum(weight[0].numel() for weight in self.experts)

    def sites(self) -> Mapping[str, Site]:
        return {"router": Site(self.router)}
