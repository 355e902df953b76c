"""Llama-style decoder: the baseline that every other architecture is measured against.

Source
    Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models", arXiv:2302.13971; parts from Zhang and
    Sennrich 2019 (RMSNorm), Su et al. 2021 (rotary positions), Shazeer 2020 (SwiGLU), Ainslie et al. 2023 (grouped
    queries). Written from the equations; logits agree with the LlamaForCausalLM of transformers 5.
Equation
    x_0 = E[ids];   h = x + Attn(RMSNorm(x));   x' = h + FFN(RMSNorm(h));   logits = RMSNorm(x_L) W_U
    Attn: softmax(R_t q_t . R_s k_s / sqrt(d)) over s <= t, query head h reads key-value group floor(h / (H / G))
    FFN:  W_2 (silu(W_1 x) * W_3 x);   RMSNorm(x) = g x / sqrt(mean(x^2) + eps);   W_U = E^T where tied
Shapes
    ids (batch, time) -> logits (batch, time, vocab). Heads are (batch, heads, time, width / heads); keys and values
    have kv_heads groups.
Cost
    Forward per token 2 P + 4 width T', with P the parameters in matrix products and T' = (T + 1) / 2 the mean number of
    visible keys. State: 2 kv_heads (width / heads) depth numbers per token.
Caveats
    No biases and no dropout. The hidden width defaults to 8/3 of the width rounded up to a multiple of 64; released
    models round to 256, which at our sizes would be half a layer. Initial values: N(0, 0.02^2), the last matrix of each
    branch divided by sqrt(2 depth), our choice. The head is tied by default, as in small models of the family. The
    interleaved layout is that of the first release and the faster one here; weights of transformers want 'half'.
"""

from dataclasses import dataclass

from trivium.core.method import method
from trivium.models.skeleton import Block, Skeleton
from trivium.models.slots import Attention, GatedMLP, Head, RMSNorm, RotaryPosition, TokenEmbedding, round_up
from trivium.nn.rotary import Layout


@method(title="Llama-style decoder", source="arXiv:2302.13971", year=2023)
@dataclass(frozen=True)
class Llama:
    """A decoder of pre-norm blocks with rotary softmax attention and SwiGLU."""

    width: int = 64
    depth: int = 2
    heads: int = 4
    kv_heads: int | None = None
    """Key-value groups; None for as many as heads."""
    hidden: int | None = None
    """Width inside the feed-forward; None for 8/3 of the width, rounded up to a multiple of 64."""
    base: float = 10_000.0
    """Rotary base: the larger, the slower the slowest pair of coordinates turns."""
    layout: Layout = "interleaved"
    """Which coordinates of a head are turned together: neighbours, or the two halves as in transformers."""
    eps: float = 1e-5
    context: int = 2048
    """Longest sequence that the model accepts."""
    tied: bool = True
    """Whether the head reads the embedding table."""

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "context"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads or self.width // self.heads % 2:
            raise ValueError(f"width {self.width} must give each of {self.heads} heads an even number of coordinates")
        if self.kv_heads is not None and (self.kv_heads < 1 or self.heads % self.kv_heads):
            raise ValueError(f"kv_heads must divide the {self.heads} heads, got {self.kv_heads}")
        if self.hidden is not None and self.hidden < 1:
            raise ValueError(f"hidden must be at least 1, got {self.hidden}")
        if self.layout not in ("half", "interleaved"):
            raise ValueError(f"layout must be 'half' or 'interleaved', got {self.layout!r}")
        if self.base <= 0 or self.eps <= 0:
            raise ValueError(f"base and eps must be positive, got {self.base} and {self.eps}")

    def build(self, vocab_size: int, *, seed: int = 0) -> Skeleton:
        """A model with initial weights that depend on the seed alone."""
        hidden = self.hidden or round_up(8 * self.width / 3, 64)
        embedding = TokenEmbedding(vocab_size, self.width)
        return Skeleton(
            self,
            vocab_size=vocab_size,
            embedding=embedding,
            position=RotaryPosition(self.width // self.heads, self.base),
            blocks=[
                Block(
                    RMSNorm(self.width, self.eps),
                    Attention(self.width, self.heads, self.kv_heads or self.heads, self.layout),
                    RMSNorm(self.width, self.eps),
                    GatedMLP(self.width, hidden),
                )
                for _ in range(self.depth)
            ],
            norm=RMSNorm(self.width, self.eps),
            head=Head(self.width, vocab_size, tied=embedding if self.tied else None),
            max_positions=self.context,
            seed=seed,
        )
