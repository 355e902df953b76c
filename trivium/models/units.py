"""The units of a whole model: the numbers in its residual stream behind every block, seen over texts and switched off.

A set of units is a bool mask (units,) over the blocks' outputs end to end, block 0 first.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor

from trivium.core.capabilities import require_offers
from trivium.core.errors import NotFinite
from trivium.core.progress import Bar
from trivium.core.protocols import LanguageModel
from trivium.models._rows import check_batch, padded
from trivium.models.system import System
from trivium.nn.modes import evaluating

Reading = Literal["last", "mean"]


def unit_sites(model: LanguageModel) -> tuple[str, ...]:
    """The output of every block. Raises NotOffered where the model shows none."""
    require_offers("units of all layers", model, ["sites"])
    return tuple(f"blocks.{layer}.out" for layer in range(model.depth))


def responses(
    system: System,
    texts: Sequence[str],
    *,
    sites: Sequence[str] | None = None,
    reading: Reading = "last",
    batch_size: int = 16,
    bar: Bar | None = None,
) -> dict[str, Tensor]:
    """Site -> (texts, width) on the CPU, in float32 at least: the state of the last token, or the mean over all but the
    first, whose state is often far longer than the others'. By default of every block's output.

    Texts are read whole: none is cut to the length of another. Raises ValueError for an empty text or one that the
    model has no positions for, NotFinite for states that are not finite.
    """
    if reading not in get_args(Reading):
        raise ValueError(f"reading must be one of {', '.join(get_args(Reading))}; got {reading!r}")
    if not texts:
        raise ValueError("there is no text to read units off")
    check_batch(system, batch_size)
    model = system.model
    names = unit_sites(model) if sites is None else tuple(sites)
    rows = []
    for number, text in enumerate(texts):
        if not text.strip():
            raise ValueError(f"text {number} is empty; leave it out")
        rows.append(system.prompt(text)[0].tolist())
        if model.max_positions is not None and len(rows[-1]) > model.max_positions:
            raise ValueError(f"text {number} has {len(rows[-1])} tokens, the model {model.max_positions} positions")
    order = sorted(range(len(rows)), key=lambda at: -len(rows[at]))
    found: dict[str, list[Tensor]] = {name: [torch.empty(0)] * len(rows) for name in names}
    with torch.no_grad(), evaluating(model):
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            ids, mask = padded([rows[at] for at in places], model.device, left=False)
            with model.capture(*names) as seen:
                model(ids, mask=mask, logits_to_keep=1)
            lengths = torch.tensor([len(rows[at]) for at in places])
            for name in names:
                for at, one in zip(places, _read(seen[name], lengths, reading), strict=True):
                    if not one.isfinite().all():
                        raise NotFinite(f"{system.name} gives text {at} states at {name} that are not finite")
                    found[name][at] = one
            if bar is not None:
                bar.advance(len(places))
    return {name: torch.stack(each) for name, each in found.items()}


def _read(hidden: Tensor, lengths: Tensor, reading: Reading) -> Tensor:
    """(rows, time, width) -> (rows, width)"""
    wide = hidden.to(torch.promote_types(hidden.dtype, torch.float32)).cpu()
    if reading == "last":
        return wide[torch.arange(len(wide)), lengths - 1]
    place = torch.arange(wide.shape[1])
    counts = (place < lengths[:, None]) & ((place > 0) | (lengths[:, None] == 1))
    kept = torch.where(counts[..., None], wide, 0.0)  # padding may hold anything
    return kept.sum(1) / counts.sum(1, keepdim=True)


def flat(states: Mapping[str, Tensor]) -> Tensor:
    """Site -> (texts, width) as (texts, units), site after site."""
    return torch.cat(list(states.values()), 1)


def by_site(model: LanguageModel, mask: Tensor) -> dict[str, Tensor]:
    """A mask (units,) of the whole model as one for each block's output that has a unit in it.

    Raises ValueError for a mask of another model or of no unit.
    """
    sites = unit_sites(model)
    if mask.dtype != torch.bool or mask.ndim != 1 or len(mask) % len(sites) or not mask.any():
        raise ValueError(
            f"a set of units is a bool mask over the outputs of {len(sites)} blocks, not empty; got {mask.dtype} "
            f"{tuple(mask.shape)} with {int(mask.sum())} marked"
        )
    return {site: part for site, part in zip(sites, mask.chunk(len(sites)), strict=True) if part.any()}


@contextmanager
def ablated(model: LanguageModel, mask: Tensor) -> Iterator[None]:
    """Within the block these units (units,) are 0 in every pass. Raises ValueError where a width does not fit."""
    parts = by_site(model, mask)

    def zero(part: Tensor, site: str):
        def edit(hidden: Tensor) -> Tensor:
            if hidden.shape[-1] != len(part):
                raise ValueError(f"{site} has {hidden.shape[-1]} units, the mask {len(part)}; it is of another model")
            return hidden.masked_fill(part.to(hidden.device), 0.0)

        return edit

    with model.edit({site: zero(part, site) for site, part in parts.items()}):
        yield


def random_units(like: Tensor, generator: torch.Generator, *, blocks: int | None = None) -> Tensor:
    """A random mask of as many units as ``like`` (units,) marks; with ``blocks``, as many in each of so many blocks."""
    parts = like.chunk(blocks) if blocks else (like,)
    drawn = []
    for part in parts:
        mask = torch.zeros(len(part), dtype=torch.bool)
        mask[torch.randperm(len(part), generator=generator)[: int(part.sum())]] = True
        drawn.append(mask)
    return torch.cat(drawn)
