"""The Llama-style decoder around a sequence mixer and a channel mixer: what architectures that change one of the two
share with the baseline, so that nothing else differs."""

from collections.abc import Callable
from typing import Protocol

from torch import nn

from trivium.models.skeleton import Block, ChannelMixer, PreNorm, Residual, SequenceMixer, Skeleton
from trivium.models.slots import Head, RMSNorm, RotaryPosition, TokenEmbedding
from trivium.nn.rotary import Layout


class DecoderRecipe(Protocol):
    """The fields that such recipes have in common."""

    @property
    def width(self) -> int: ...
    @property
    def depth(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> int | None: ...
    @property
    def hidden(self) -> int | None: ...
    @property
    def base(self) -> float: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def eps(self) -> float: ...
    @property
    def context(self) -> int: ...
    @property
    def tied(self) -> bool: ...


def check_decoder(recipe: DecoderRecipe) -> None:
    """Raise ValueError where the common fields fit no decoder."""
    for name in ("width", "depth", "heads", "context"):
        if getattr(recipe, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(recipe, name)}")
    if recipe.width % recipe.heads or recipe.width // recipe.heads % 2:
        raise ValueError(f"width {recipe.width} must give each of {recipe.heads} heads an even number of coordinates")
    if recipe.kv_heads is not None and (recipe.kv_heads < 1 or recipe.heads % recipe.kv_heads):
        raise ValueError(f"kv_heads must divide the {recipe.heads} heads, got {recipe.kv_heads}")
    if recipe.hidden is not None and recipe.hidden < 1:
        raise ValueError(f"hidden must be at least 1, got {recipe.hidden}")
    if recipe.layout not in ("half", "interleaved"):
        raise ValueError(f"layout must be 'half' or 'interleaved', got {recipe.layout!r}")
    if recipe.base <= 0 or recipe.eps <= 0:
        raise ValueError(f"base and eps must be positive, got {recipe.base} and {recipe.eps}")


def decoder(
    recipe: DecoderRecipe,
    vocab_size: int,
    *,
    seed: int,
    mixer: Callable[[], SequenceMixer],
    channel: Callable[[], ChannelMixer],
    mixer_residual: Callable[[], Residual] = PreNorm,
    words: tuple[nn.Module, nn.Module] | None = None,
    stretch: float = 1.0,
) -> Skeleton:
    """Pre-norm blocks of these two parts, with RMS norms, rotary positions (divided by ``stretch``) and a head.
    ``mixer_residual``: how the first of the two joins the stream. ``words``: embedding and head, in place of a table
    with a row for each token."""
    if words is None:
        table = TokenEmbedding(vocab_size, recipe.width)
        words = table, Head(recipe.width, vocab_size, tied=table if recipe.tied else None)
    embedding, head = words
    return Skeleton(
        recipe,
        vocab_size=vocab_size,
        embedding=embedding,
        position=RotaryPosition(recipe.width // recipe.heads, recipe.base, stretch),
        blocks=[
            Block(
                RMSNorm(recipe.width, recipe.eps),
                mixer(),
                RMSNorm(recipe.width, recipe.eps),
                channel(),
                mixer_residual(),
            )
            for _ in range(recipe.depth)
        ],
        norm=RMSNorm(recipe.width, recipe.eps),
        head=head,
        max_positions=recipe.context,
        seed=seed,
    )
