"""A model that starts with what another one of its family has learned, whatever their widths."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from trivium.models.skeleton import Skeleton

How = Literal["ordered", "random"]


@torch.no_grad()
def inherit(model: Skeleton, donor: Skeleton, how: How = "ordered", *, generator: torch.Generator) -> tuple[str, ...]:
    """Fill tensors of ``model`` with those of the same name in ``donor``, in place, and say which.

    Modules must be of one type, so that a convolution takes nothing from an attention. Of a wider tensor the first rows
    and columns are taken (``ordered``), or a draw of them (``random``): the same draw wherever so many become so few,
    so that what one matrix writes is what the next one reads. A narrower tensor fills the first rows and columns; the
    others keep what they have.
    """
    if how not in get_args(How):
        raise ValueError(f"how must be one of {', '.join(get_args(How))}; got {how!r}")
    donors = dict(donor.named_modules())
    drawn: dict[tuple[int, int], Tensor] = {}

    def kept(wide: int, narrow: int) -> Tensor:
        if (wide, narrow) not in drawn:
            order = torch.arange(wide) if how == "ordered" else torch.randperm(wide, generator=generator)
            drawn[wide, narrow] = order[:narrow].sort().values
        return drawn[wide, narrow]

    filled = []
    for path, module in model.named_modules():
        other = donors.get(path)
        if other is None or not _alike(path, model, donor):
            continue
        theirs = dict(other.named_parameters(recurse=False))
        for name, parameter in module.named_parameters(recurse=False):
            source = theirs.get(name)
            if source is None or source.ndim != parameter.ndim:
                continue
            taken = source.detach().to(parameter)
            for axis, (wide, narrow) in enumerate(zip(source.shape, parameter.shape, strict=True)):
                if wide > narrow:
                    taken = taken.index_select(axis, kept(wide, narrow).to(taken.device))
            parameter[tuple(slice(size) for size in taken.shape)] = taken
            filled.append(f"{path}.{name}" if path else name)
    return tuple(filled)


def _alike(path: str, model: nn.Module, donor: nn.Module) -> bool:
    """Whether the modules on the way to this path, which both have, are of the same types."""
    parts = path.split(".") if path else []
    return all(
        type(model.get_submodule(".".join(parts[:size]))) is type(donor.get_submodule(".".join(parts[:size])))
        for size in range(1, len(parts) + 1)
    )
