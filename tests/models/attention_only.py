"""Decoders without feed-forwards, of which everything is known once patterns and scales are."""

import torch

from trivium.architectures.llama import Llama
from trivium.models.skeleton import Block, Nothing, Skeleton
from trivium.models.slots import Attention, Head, LayerNorm, RMSNorm, RotaryPosition, TokenEmbedding

VOCAB = 23


def attention_only(depth, *, width=16, heads=4, kv_heads=2, centred=False, bias=False, seed=0):
    """In double precision, with weights large enough that attention and norms matter."""
    norm = LayerNorm if centred else RMSNorm
    embedding = TokenEmbedding(VOCAB, width)
    blocks = [
        Block(norm(width), Attention(width, heads, kv_heads, bias=bias), norm(width), Nothing()) for _ in range(depth)
    ]
    model = Skeleton(
        Llama(width=width, depth=depth, heads=heads, kv_heads=kv_heads),
        vocab_size=VOCAB,
        embedding=embedding,
        position=RotaryPosition(width // heads, 10_000.0),
        blocks=blocks,
        norm=norm(width),
        head=Head(width, VOCAB),
        seed=seed,
    ).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.4 * noise if parameter.ndim == 2 else 0.2 * noise + float("gain" in name))
    return model.eval()
