"""What every router is fitted to: prompts, the losses that were observed on them, and the experts' names and costs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trivium.core.nouns import Experts


def observed(prompts: Sequence[str], losses: Tensor, experts: Experts) -> tuple[Tensor, int]:
    """The losses in float64, and how many are missing (NaN). Raises ValueError for a shape that does not fit, an
    infinite loss, or an expert of which nothing was observed."""
    if losses.shape != (len(prompts), len(experts)) or not prompts:
        raise ValueError(
            f"{len(prompts)} prompts and {len(experts)} experts need losses of this shape, got {tuple(losses.shape)}"
        )
    losses = losses.detach().double().cpu()
    if losses.isinf().any():
        raise ValueError(f"{int(losses.isinf().sum())} losses are infinite; give NaN where one was not observed")
    unseen = losses.isnan().all(0)
    if unseen.any():
        names = [experts.names[at] for at in unseen.nonzero()[:, 0].tolist()]
        raise ValueError(f"no loss of {', '.join(names)} was observed; leave the expert out")
    return losses, int(losses.isnan().sum())


class Always:
    """A router that looks at no prompt."""

    def __init__(self, expert: int) -> None:
        self.expert = expert

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        return torch.full((len(prompts),), self.expert, dtype=torch.int64)
