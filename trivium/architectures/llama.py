"""Llama-style decoder: the baseline that every other architecture is measured against.

Source
    Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models", arXiv:2302.13971; parts from Zhang and
    Sennrich 2019 (RMSNorm), Su et al. 2021 (rotary positions; divided by ``stretch``: Chen et al. 2023,
    arXiv:2306.15595), Shazeer 2020 (SwiGLU), Ainslie et al. 2023 (grouped
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

from trivium.architectures._decoder import check_decoder, decoder
from trivium.core.method import method
from trivium.models.skeleton import Skeleton
from trivium.models.slots import Attention, GatedMLP, round_up
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
    stretch: float = 1.0
    """Positions are divided by it: a longer context turns through the angles of a shorter one (interpolation)."""
    layout: Layout = "interleaved"
    """Which coordinates of a head are turned together: neighbours, or the two halves as in transformers."""
    eps: float = 1e-5
    context: int = 2048
    """Longest sequence that the model accepts."""
    tied: bool = True
    """Whether the head reads the embedding table."""

    def __post_init__(self) -> None:
        check_decoder(self)
        if self.stretch <= 0:
            raise ValueError(f"stretch divides the positions and must be positive, got {self.stretch}; 1 leaves them")

    def build(self, vocab_size: int, *, seed: int = 0) -> Skeleton:
        """A model with initial weights that depend on the seed alone."""
        hidden = self.hidden or round_up(8 * self.width / 3, 64)
        return decoder(
            self,
            vocab_size,
            seed=seed,
            mixer=lambda: Attention(self.width, self.heads, self.kv_heads or self.heads, self.layout),
            channel=lambda: GatedMLP(self.width, hidden),
            stretch=self.stretch,
        )
