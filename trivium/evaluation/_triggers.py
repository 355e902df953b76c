"""A candidate classifier of a model's first blocks, and a search for tokens that turn it, without gradients."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from trivium.core.errors import NotFinite
from trivium.models.system import System
from trivium.models.units import responses
from trivium.nn.modes import evaluating


def site_of(depth: int) -> str:
    """Where the first ``depth`` blocks end."""
    return "blocks.0.in" if depth == 0 else f"blocks.{depth - 1}.out"


def states_of(system: System, texts: Sequence[str], depths: Sequence[int], batch_size: int) -> dict[int, Tensor]:
    """Depth -> (texts, width): the state of the last position behind so many blocks."""
    found = responses(system, texts, sites=[site_of(depth) for depth in depths], batch_size=batch_size)
    return {depth: found[site_of(depth)] for depth in depths}


@dataclass(frozen=True, eq=False)
class Candidate:
    """The first ``depth`` blocks of a model that lies on this machine, with a head. Calling it: ids (batch, time) ->
    (batch,), above 0 where the model is taken to refuse. Blocks above are passed over where the model can do so."""

    system: System
    depth: int
    head: Any

    @cached_property
    def choices(self) -> Tensor:
        """Ids of tokens that stand for printable text."""
        tokenizer = self.system.tokenizer
        pieces = [tokenizer.bytes_of(id) for id in range(tokenizer.vocab_size)]
        kept = [id for id, piece in enumerate(pieces) if piece and piece.decode("utf-8", "replace").isprintable()
                and b"\xef\xbf\xbd" not in piece.decode("utf-8", "replace").encode()]  # fmt: skip
        if not kept:
            raise ValueError(f"{self.system.name} has no token of printable text to try")
        return torch.tensor(kept)

    @torch.no_grad()
    def __call__(self, ids: Tensor) -> Tensor:
        model, site = self.system.model, site_of(self.depth)
        above = range(max(self.depth, 1), model.depth)
        passed = model.skipping(above) if "layers" in model.offers and above else nullcontext()
        with evaluating(model), passed, model.capture(site) as seen:
            model(ids.to(model.device), logits_to_keep=1)
        found = self.head.logits(seen[site][:, -1].float().cpu())
        if not found.isfinite().all():
            raise NotFinite(f"{self.system.name} gives states that are not finite; use a wider dtype")
        return found


@dataclass(frozen=True)
class Search:
    """Swap one free token at a time for the one, of some tried at random, that lowers the candidate's output most."""

    steps: int = 30
    width: int = 64
    """Swaps that are tried in a step."""

    def __post_init__(self) -> None:
        for name in ("steps", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def __call__(self, candidate: Candidate, ids: Tensor, free: Tensor, *, generator: torch.Generator) -> Tensor:
        """Ids that the candidate takes for answered, or the nearest to it that was found. Raises ValueError where no
        token is free."""
        places, choices = free.nonzero()[:, 0], candidate.choices
        if not len(places):
            raise ValueError("no token is free to be swapped")
        best, least = ids.clone(), float(candidate(ids[None]))
        for _ in range(self.steps):
            if least <= 0:
                break
            tried = best.repeat(self.width, 1)
            where = places[torch.randint(len(places), (self.width,), generator=generator)]
            tried[torch.arange(self.width), where] = choices[
                torch.randint(len(choices), (self.width,), generator=generator)
            ]
            outputs = candidate(tried)
            at = int(outputs.argmin())
            if float(outputs[at]) < least:
                best, least = tried[at], float(outputs[at])
        return best
