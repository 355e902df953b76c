"""Refusing numbers that are none."""

import math

from torch import Tensor

from trivium.core.errors import NotFinite


def check_finite(logits: Tensor, where: str) -> None:
    """Raise NotFinite if a model gave NaN or infinity; ``where`` says which pass it was, such as 'step 3'.

    Cheap enough for every step: one sum, and a closer look only where the sum is not finite.
    """
    if math.isfinite(float(logits.sum())):
        return
    wrong = ~logits.isfinite()
    if wrong.any():  # a half-precision sum may overflow although every term is finite
        rows = wrong.flatten(1).any(1).nonzero()[:, 0].tolist()
        count = int(wrong.sum())
        raise NotFinite(
            f"{where}: {count} of {wrong.numel()} logits are NaN or infinite (rows {rows[:8]}); "
            "the weights may be damaged, or the number format too narrow: try float32"
        )
