"""Which part of a site's tensor is kept, and what that costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from trivium.core.errors import TooLarge

Positions = int | Sequence[int] | Tensor
"""Columns of a pass: one (its axis is then gone), several, (batch, n) of each row its own, or those marked by a bool
mask (time,) or (batch, time)."""

Reduce = Literal["mean", "sum", "max"]

SMALL = 64 << 20
"""Bytes for which nobody asks whether there is room."""


def time_axis(name: str) -> int:
    """The axis of a site's tensor that counts positions: queries, at scores and weights."""
    return 2 if name.endswith((".attn.scores", ".attn.weights")) else 1


def heads_axis(name: str) -> int | None:
    """The axis that counts heads, None where there is none."""
    if name.endswith((".attn.scores", ".attn.weights")):
        return 1
    return 2 if name.endswith((".attn.q", ".attn.k", ".attn.v", ".attn.z")) else None


@dataclass(frozen=True)
class Selection:
    """What a capture keeps of each tensor."""

    positions: Positions | None = None
    reduce: Reduce | None = None
    detach: bool = False
    device: torch.device | str | None = None

    def __post_init__(self) -> None:
        if self.reduce is not None and self.reduce not in get_args(Reduce):
            raise ValueError(f"reduce must be one of {', '.join(get_args(Reduce))}; got {self.reduce!r}")
        if isinstance(self.positions, Sequence):
            object.__setattr__(self, "positions", torch.tensor(list(self.positions), dtype=torch.int64))
        given = self.given
        if isinstance(given, Tensor):
            if given.dtype not in (torch.bool, torch.int64) or given.ndim not in (1, 2):
                raise ValueError(
                    "positions are int64 or bool, for all rows (n,) or for each (batch, n); "
                    f"got {given.dtype} of shape {tuple(given.shape)}"
                )
            if given.numel() == 0 or (given.dtype == torch.bool and not given.any(-1).all()):
                raise ValueError("positions are empty, or those of a row; name at least one for each")
        if self.reduce is not None and isinstance(given, int):
            raise ValueError(f"one position leaves nothing to take the {self.reduce} over; give reduce or one position")

    @property
    def given(self) -> int | Tensor | None:
        """The positions, as a tensor where they are not one."""
        assert self.positions is None or isinstance(self.positions, (int, Tensor))
        return self.positions

    def check(self, batch: int, time: int) -> None:
        """Raise ValueError for positions that a pass over ``batch`` rows of ``time`` columns does not have."""
        given = self.given
        if given is None:
            return
        if isinstance(given, int):
            given = torch.tensor([given])
        if given.ndim == 2 and given.shape[0] != batch:
            raise ValueError(f"positions are given for {given.shape[0]} rows, and the pass has {batch}")
        if given.dtype == torch.bool:
            if given.shape[-1] != time:
                raise ValueError(f"positions mark {given.shape[-1]} columns, and the pass has {time}")
            return
        outside = given[(given < -time) | (given >= time)]
        if outside.numel():
            raise ValueError(f"position {int(outside[0])} is outside a pass of {time} columns")

    def kept(self, batch: int, time: int) -> int:
        """Vectors that are kept, of ``batch`` rows of ``time`` columns."""
        given = self.given
        if self.reduce is not None or isinstance(given, int):
            return batch
        if given is None:
            return batch * time
        if given.dtype == torch.bool:
            return int(given.sum()) * (batch if given.ndim == 1 else 1)
        return batch * given.shape[-1]

    def __call__(self, tensor: Tensor, axis: int) -> Tensor:
        """The part of a site's tensor; ``axis`` counts positions. A mask that differs between rows gives the marked
        vectors of all rows, one behind another."""
        self.check(tensor.shape[0], tensor.shape[axis])
        given = self.given
        found = tensor
        if isinstance(given, int):
            found = tensor.select(axis, given)
        elif given is not None:
            found = self._several(tensor, given.to(tensor.device), axis)
        elif self.reduce is not None:
            found = _reduced(tensor, None, self.reduce, axis)
        found = found.detach() if self.detach else found
        if given is not None and self.reduce is None and not isinstance(given, Tensor):
            found = found.clone()  # else the whole would be kept for the sake of a part
        return found if self.device is None else found.to(self.device)

    def _several(self, tensor: Tensor, given: Tensor, axis: int) -> Tensor:
        if given.dtype == torch.bool:
            if self.reduce is not None:
                return _reduced(tensor, given.expand(tensor.shape[0], -1), self.reduce, axis)
            if given.ndim == 2:
                return tensor.movedim(axis, 1)[given]
            given = given.nonzero()[:, 0]
        given = torch.where(given < 0, given + tensor.shape[axis], given)
        if given.ndim == 1:
            picked = tensor.index_select(axis, given)
        else:
            shape = [len(given) if at == 0 else given.shape[1] if at == axis else 1 for at in range(tensor.ndim)]
            sizes = [given.shape[1] if at == axis else size for at, size in enumerate(tensor.shape)]
            picked = tensor.gather(axis, given.view(shape).expand(sizes))
        return picked if self.reduce is None else _reduced(picked, None, self.reduce, axis)


def _reduced(tensor: Tensor, mask: Tensor | None, how: Reduce, axis: int) -> Tensor:
    """Over positions, in float32 at least; ``mask`` (batch, time) tells which count."""
    wide = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
    if mask is None:
        made = wide.amax(axis) if how == "max" else wide.sum(axis) if how == "sum" else wide.mean(axis)
        return made.to(tensor.dtype)
    shape = [size if at in (0, axis) else 1 for at, size in enumerate(tensor.shape)]
    marks = mask.reshape(shape)
    if how == "max":
        return wide.masked_fill(~marks, float("-inf")).amax(axis).to(tensor.dtype)
    total = torch.where(marks, wide, 0).sum(axis)
    return (total if how == "sum" else total / marks.sum(axis)).to(tensor.dtype)


def insist_on_room(bytes: int, limit: int | None, device: torch.device, what: str) -> None:
    """Raise TooLarge where so many bytes exceed the limit or, without one, the memory that is free."""
    if limit is None:
        if bytes <= SMALL or (limit := free_bytes(device)) is None:
            return
        against = f"{_size(limit)} are free"
    else:
        against = f"the limit is {_size(limit)}"
    if bytes > limit:
        raise TooLarge(
            f"{what} would keep {_size(bytes)}, and {against}; name fewer sites, positions=... or reduce='mean', "
            "feed fewer rows at once, or set limit"
        )


def free_bytes(device: torch.device) -> int | None:
    """Memory that can still be had on a device; None where that cannot be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = next((line for line in lines if line.startswith("MemAvailable")), None)
    except OSError:
        return None
    return None if found is None else int(found.split()[1]) * 1024


def _size(bytes: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if bytes < 1024:
            return f"{bytes:.4g} {unit}"
        bytes /= 1024  # type: ignore[assignment]
    return f"{bytes:.4g} GiB"
