"""How the blocks of a model are run while it trains: compiled, and computed again in the backward pass."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from trivium.core import meter
from trivium.training.parallel import blocks
from trivium.training.settings import TrainingSettings


@contextlib.contextmanager
def executed(model: nn.Module, settings: TrainingSettings) -> Iterator[None]:
    """Run the blocks as the settings say, and as before when the block ends.

    Raises ValueError for a model in which no list of blocks is found, where the settings ask for something of them.
    """
    if not (settings.recompute or settings.compile):
        yield
        return
    found = list(blocks(model))
    if not found:
        asked = "recompute" if settings.recompute else "compile"
        raise ValueError(f"{type(model).__name__} has no list of blocks as long as it is deep; leave out {asked}")
    if settings.recompute and any(getattr(block, "averages", None) is not None for block in found):
        raise ValueError("blocks of this model look back on the streams of others, so leave out recompute")
    for block in found:
        plain: Callable[..., Any] = block.forward
        forward = _compiled(plain) if settings.compile else plain
        if settings.recompute:
            forward = partial(checkpoint, forward, use_reentrant=False)
        block.forward = _when_learning(forward, plain)  # on the instance, in front of the class's
    try:
        yield
    finally:
        for block in found:
            del block.forward


def _compiled(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled, save while operations are counted: the counter does not see into compiled code."""
    fast = torch.compile(plain)

    def run(*args: Any, **words: Any) -> Any:
        return (plain if meter.counting() else fast)(*args, **words)

    return run


def _when_learning(forward: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """Evaluations and samples, which need no gradient and have other shapes, run the plain form."""

    def run(*args: Any, **words: Any) -> Any:
        return (forward if torch.is_grad_enabled() else plain)(*args, **words)

    return run
