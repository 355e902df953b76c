"""Recipes brought to one size, so that a comparison at equal tokens or steps is one at equal parameters or operations.

What is changed is the width inside the feed-forward, ``hidden``: it touches no layer that mixes tokens, and any size
can be met by it to within a few numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, Literal, get_args

import torch

from trivium.compare.contender import describe
from trivium.models.skeleton import Native

By = Literal["parameters", "flops"]

TOLERANCE = 0.02
"""How far from each other sizes may be and still count as equal."""


def matched(recipes: Sequence[Any], vocab_size: int, *, by: By = "parameters", length: int = 128) -> list[Any]:
    """The recipes with ``hidden`` such that each has the size of the first, to within 2 %.

    ``by`` parameters, those of the embedding and of the head aside; or by the operations of a forward pass over
    ``length`` tokens. Raises ValueError for a recipe without that field, and where no width reaches the size.
    """
    if by not in get_args(By):
        raise ValueError(f"by must be one of {', '.join(get_args(By))}; got {by!r}")
    measure = parameters if by == "parameters" else lambda model: operations(model, length)
    wanted = measure(recipes[0].build(vocab_size))
    return [recipes[0], *(_resized(recipe, vocab_size, wanted, measure, by) for recipe in recipes[1:])]


def parameters(model: Native) -> int:
    """Numbers that are learned, but for those of the tables at both ends."""
    tables = {id(table) for part in (model.embedding, model.head) for table in part.parameters()}
    return sum(parameter.numel() for parameter in model.parameters() if id(parameter) not in tables)


def operations(model: Native, length: int) -> int:
    """Of a forward pass over one row."""
    return model.flops_for(torch.zeros(1, length, dtype=torch.int64))


def _resized(recipe: Any, vocab_size: int, wanted: int, measure: Callable[[Any], int], by: str) -> Any:
    """The smallest width that reaches the size, or the one before it, whichever is nearer."""
    if "hidden" not in {field.name for field in fields(recipe)}:
        raise ValueError(f"{describe(recipe)} has no field 'hidden' to bring its {by} to {wanted:,}; size it by hand")

    def size(hidden: int) -> int:
        return measure(replace(recipe, hidden=hidden).build(vocab_size))

    low, high = 0, 1
    while size(high) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) < wanted else (low, middle)
    best = min((hidden for hidden in (low, high) if hidden), key=lambda hidden: abs(size(hidden) - wanted))
    if abs(size(best) / wanted - 1) > TOLERANCE:
        raise ValueError(
            f"{describe(recipe)} comes to {size(best):,} {by} at hidden={best}, which is not within {TOLERANCE:.0%} of "
            f"{wanted:,}; change its width or depth"
        )
    return replace(recipe, hidden=best)
