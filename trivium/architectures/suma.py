"""SUMA: a shallow untrained block of many heads, applied over and over, whose language units feed a small decoder.

Source
    AlKhamissi, Tuckute, Bosselut and Schrimpf 2024, "Brain-Like Language Processing via a Shallow Untrained Multihead
    Attention Network", arXiv:2406.15109, from its abstract and notes about the names in its configuration.
Equation
    s_0 = E[ids];   s_{c+1} = s_c + Attn(RMSNorm(s_c)), c < cycles, the same weights each time and none of them trained
    x_0 = W RMSNorm(s_cycles[units]);   above it a Llama-style decoder, which alone is trained
Shapes
    ids (batch, time) -> logits (batch, time, vocab). The stream is (batch, time, shallow width) in the first ``cycles``
    layers and (batch, time, width) above. ``units`` are some of the shallow width.
Cost
    Each cycle costs 8 shallow_width^2 per token and its attention, forward only; state as of cycles + depth layers.
Caveats
    The untrained part is drawn from N(0, 0.02) by ``shallow_seed`` and stays what it is: parameters without gradients,
    which are saved, and are no matter of the training's seed. Layers 0 to cycles - 1 have sites of their own and share
    weights. Units are those of the last cycle: the paper localises over all of a model's. ``localised`` finds them by
    sentences against pseudo-words for a tokenizer and gives the recipe that has them; without any the decoder reads
    all. In the paper the width is 4096 with up to 512 heads, the best variant has no positions in the untrained part,
    and the decoder has 2 layers; our defaults are small. Norm, residual and positions are switches of the untrained
    part. Without the residual little of a token itself is left. The norm before W and W itself are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from trivium.core import seeds
from trivium.core.method import method
from trivium.core.protocols import Tokenizer
from trivium.data.localiser import localiser
from trivium.models.sites import Site
from trivium.models.skeleton import (
    Block,
    Context,
    Linear,
    Nothing,
    Residual,
    Role,
    SequenceMixer,
    Skeleton,
    TokenMemory,
)
from trivium.models.slots import Attention, GatedMLP, Head, RMSNorm, RotaryPosition, SimpleRMSNorm, round_up
from trivium.models.system import System
from trivium.models.units import Reading, responses
from trivium.nn.rotary import rotary_table
from trivium.nn.welch import largest, welch_t

SPREAD = 0.02


@method(title="SUMA", source="arXiv:2406.15109", year=2024)
@dataclass(frozen=True)
class SUMA:
    """An untrained attention block, cycled, and a small trained decoder on the units that respond to language."""

    width: int = 64
    """Of the decoder."""
    depth: int = 2
    """Layers of the decoder."""
    heads: int = 4
    hidden: int | None = None
    """Width inside the decoder's feed-forward; None for 8/3 of the width, rounded up to a multiple of 64."""
    shallow_width: int = 128
    """Of the untrained part."""
    shallow_heads: int = 32
    cycles: int = 2
    """How often the untrained block is applied."""
    norm: bool = True
    """Whether the untrained attention reads the stream normalised."""
    residual: bool = True
    """Whether what it gives is added to the stream, or takes its place."""
    positions: bool = False
    """Whether its queries and keys are turned by their positions."""
    units: tuple[int, ...] = ()
    """Of the untrained part's output, which the decoder reads; none for all."""
    shallow_seed: int = 0
    """Of the untrained part."""
    base: float = 10_000.0
    eps: float = 1e-5
    context: int = 2048
    """Longest sequence that the model accepts."""

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "shallow_width", "shallow_heads", "cycles", "context"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads or self.width // self.heads % 2:
            raise ValueError(f"width {self.width} must give each of {self.heads} heads an even number of coordinates")
        if self.shallow_width % self.shallow_heads:
            raise ValueError(f"shallow_width {self.shallow_width} must be a multiple of {self.shallow_heads} heads")
        if self.positions and self.shallow_width // self.shallow_heads % 2:
            raise ValueError(
                f"positions turn pairs of coordinates, and {self.shallow_heads} heads of {self.shallow_width} have "
                f"{self.shallow_width // self.shallow_heads}; give them an even number"
            )
        if self.hidden is not None and self.hidden < 1:
            raise ValueError(f"hidden must be at least 1, got {self.hidden}")
        units = tuple(self.units)  # a recipe that is read from a file has a list
        object.__setattr__(self, "units", units)
        if len(set(units)) < len(units) or any(not 0 <= one < self.shallow_width for one in units):
            raise ValueError(f"units are different numbers of 0 to {self.shallow_width - 1}, got {units}")
        if self.base <= 0 or self.eps <= 0:
            raise ValueError(f"base and eps must be positive, got {self.base} and {self.eps}")

    def build(self, vocab_size: int, *, seed: int = 0) -> Skeleton:
        """A model; the seed decides the decoder, ``shallow_seed`` what is never trained."""
        hidden = self.hidden or round_up(8 * self.width / 3, 64)
        first = UntrainedAttention(self)
        shallow = [
            Block(
                SimpleRMSNorm(self.eps) if self.norm else nn.Identity(),
                first if cycle == 0 else first.again(self),
                nn.Identity(),
                Nothing(),
                None if self.residual else InPlace(),
            )
            for cycle in range(self.cycles)
        ]
        decoder = [
            Block(
                RMSNorm(self.width, self.eps),
                Attention(self.width, self.heads, self.heads, "interleaved"),
                RMSNorm(self.width, self.eps),
                GatedMLP(self.width, hidden),
                join=Localised(self) if layer == 0 else None,
            )
            for layer in range(self.depth)
        ]
        model = Skeleton(
            self,
            vocab_size=vocab_size,
            embedding=UntrainedEmbedding(vocab_size, self.shallow_width, self.shallow_seed),
            position=RotaryPosition(self.width // self.heads, self.base),
            blocks=[*shallow, *decoder],
            norm=RMSNorm(self.width, self.eps),
            head=Head(self.width, vocab_size),
            max_positions=self.context,
            seed=seed,
        )
        model.offers -= {"layers"}  # streams of two widths
        return model

    def localised(
        self,
        tokenizer: Tokenizer,
        count: int,
        *,
        stimuli: int = 240,
        reading: Reading = "last",
        batch_size: int = 16,
    ) -> "SUMA":
        """This recipe with so many units: those that respond most to sentences against pseudo-words, by Welch's t."""
        plain = replace(self, units=())
        system = System(plain.build(tokenizer.vocab_size).eval(), tokenizer, "untrained")
        contrast, site = localiser(stimuli), f"blocks.{self.cycles - 1}.out"
        states = responses(system, contrast.texts, sites=[site], reading=reading, batch_size=batch_size)[site]
        t = welch_t(states[contrast.labels], states[~contrast.labels])
        return replace(self, units=tuple(largest(t, count).nonzero()[:, 0].tolist()))


def _drawn(seed: int, name: str, shape: torch.Size) -> Tensor:
    return SPREAD * torch.randn(shape, generator=seeds.generator(seed, "untrained", name))


class UntrainedEmbedding(nn.Module):
    """A table of random vectors that stay what they are."""

    def __init__(self, vocab_size: int, width: int, seed: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(vocab_size, width), requires_grad=False)
        self.seed = seed
        self.roles: dict[str, Role] = {"table": "own"}

    def initial(self, name: str) -> Tensor:
        return _drawn(self.seed, "embedding", self.table.shape)

    def forward(self, ids: Tensor) -> Tensor:
        return nn.functional.embedding(ids, self.table)


class UntrainedLinear(Linear):
    """Random weights that stay what they are."""

    def __init__(self, width: int, seed: int, name: str) -> None:
        super().__init__(width, width)
        self.weight.requires_grad_(False)
        self.seed, self.name = seed, name
        self.roles = {"weight": "own"}

    def initial(self, name: str) -> Tensor:
        return _drawn(self.seed, self.name, self.weight.shape)


class UntrainedAttention(SequenceMixer):
    """Softmax attention whose weights are never trained, turned by positions or not."""

    remembers = "tokens"
    bidirectional = True

    def __init__(self, recipe: SUMA) -> None:
        super().__init__()
        self.inner = Attention(recipe.shallow_width, recipe.shallow_heads, recipe.shallow_heads, "interleaved")
        self.positions, self.base = recipe.positions, recipe.base
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self.inner, name, UntrainedLinear(recipe.shallow_width, recipe.shallow_seed, name))

    def again(self, recipe: SUMA) -> "UntrainedAttention":
        """Another layer of the same weights."""
        other = UntrainedAttention(recipe)
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            getattr(other.inner, name).weight = getattr(self.inner, name).weight
        return other

    def _context(self, x: Tensor, ctx: Context) -> Context:
        """With its own table of positions, or none."""
        table = rotary_table(ctx.positions, self.inner.head_width, self.base, x.dtype) if self.positions else None
        return replace(ctx, rotary=table)

    def parallel(self, x: Tensor, ctx: Context) -> Tensor:
        return self.inner.parallel(x, self._context(x, ctx))

    def forward_chunk(self, x: Tensor, memory: TokenMemory, ctx: Context) -> tuple[Tensor, TokenMemory]:
        return self.inner.forward_chunk(x, memory, self._context(x, ctx))

    def state_bytes(self, length: int, dtype: torch.dtype) -> int:
        return self.inner.state_bytes(length, dtype)

    def flops(self, length: int) -> int:
        return self.inner.flops(length)

    def sites(self) -> Mapping[str, Site]:
        return self.inner.sites()


class InPlace(Residual):
    """What the branch gives takes the place of the stream."""

    def forward(self, stream: Tensor, norm: nn.Module, branch) -> Tensor:
        return branch(norm(stream))


class Localised(nn.Module):
    """The chosen units, normalised, as a stream of the decoder's width."""

    def __init__(self, recipe: SUMA) -> None:
        super().__init__()
        self.units = recipe.units
        count = len(recipe.units) or recipe.shallow_width
        self.norm = RMSNorm(count, recipe.eps)
        self.proj = Linear(count, recipe.width)

    def forward(self, stream: Tensor) -> Tensor:
        chosen = stream[..., list(self.units)] if self.units else stream
        return self.proj(self.norm(chosen))
