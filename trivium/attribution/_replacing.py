"""Prompts with some of their tokens taken away, by what stands in their place."""

from typing import Any

import torch
from torch import Tensor

from trivium.attribution._prediction import Neutral, Prediction
from trivium.core.protocols import State

LEAST = 4
"""Tokens before the first hidden one from which on it pays not to pass them again."""


class Replacing:
    """The prediction with tokens hidden. What stands before the first hidden token of a batch is passed once for all
    batches, where the model's states can be cut."""

    def __init__(self, prediction: Prediction, replacement: Neutral) -> None:
        self.prediction = prediction
        self.shares = {"state", "truncate"} <= prediction.model.offers
        self.begun: State | None = None
        if isinstance(replacement, int):
            self.given, self.instead = prediction.ids, torch.tensor(prediction.token(replacement)).to(prediction.ids)
        else:
            self.given, self.instead = prediction.embeds(), prediction.neutral(replacement)

    def whole(self) -> Tensor:
        """The prediction of the prompt as it is (1,)."""
        if not self.shares:
            return self(torch.zeros_like(self.prediction.ids, dtype=torch.bool)[None])
        value, self.begun = self.prediction.begun(**self._words(self.given[None]))
        return value

    def __call__(self, hide: Tensor) -> Tensor:
        """(rows, time) bool: what is hidden -> (rows,)."""
        hidden = hide if self.given.ndim == 1 else hide[..., None]
        rows = torch.where(hidden, self.instead, self.given)
        first = int(hide.any(0).int().argmax())
        if self.begun is None or first < LEAST:
            return self.prediction.values(**self._words(rows))
        state = self.begun.truncate(first).select(torch.zeros(len(rows), dtype=torch.int64))
        return self.prediction.values(**self._words(rows[:, first:]), state=state)

    def _words(self, rows: Tensor) -> dict[str, Any]:
        return {"ids" if self.given.ndim == 1 else "embeds": rows}
