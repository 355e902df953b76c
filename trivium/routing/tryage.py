"""Tryage: predict what each expert would lose on a prompt, and take the one of least predicted loss and weighted cost.

Source
    Hari and Thomson 2023, "Tryage: Real-time, intelligent Routing of User Prompts to Large Language Models",
    arXiv:2308.11601, section 3.
Equation
    L^_i(x) = b_i + w_i . f(x),   fitted to observed losses L_i(x) by least squares with a ridge
    choice(x) = argmin_i  L^_i(x) + sum_j weight_j C_j(i),   weights from the settings and the prompt's own flags
Shapes
    prompts, losses (prompts, experts), experts -> a router: prompts -> (prompts,) int64
Cost
    One least squares of (prompts, features), and for an encoder one pass over each prompt; experts are not run.
Caveats
    The paper's router is a small pretrained encoder, all of which is trained; here its features are byte trigrams, or
    the vectors of a frozen encoder beside them, and only a linear map is fitted, its ridge chosen by leaving examples
    out. Losses of models with different vocabularies must be in bits per byte. A loss that is missing is left out of
    its expert's fit alone, and counted. A prompt's flags (``data.flags``) are taken out before its features are made.
    Ties fall to the first expert. Shown on models of counted bytes, in the paper on eleven of 4 to 560 MB.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.nouns import Experts
from trivium.data.flags import flags
from trivium.data.trigrams import trigrams
from trivium.models.encoders import Encoder, encoder
from trivium.nn.least_squares import least_squares, left_out_errors
from trivium.nn.routing import choices
from trivium.routing._fitting import observed


@method(title="Tryage", source="arXiv:2308.11601", year=2023)
@dataclass(frozen=True)
class Tryage:
    """A linear map from a prompt's trigrams to losses."""

    weight: float = 0.0
    """Of the cost, beside the loss in bits per byte; 0 asks for the least loss alone."""
    cost: str = "size"
    """Which of the experts' costs the weight is of."""
    flagged: float = 1.0
    """What a phrase such as [Flag: smallest model] in a prompt adds to the weight of its cost."""
    width: int = 1024
    """Buckets of trigrams."""
    penalties: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    """Ridges to choose among, by the error on prompts left out."""
    encoder: str = ""
    """An encoder whose vectors are features too, such as minilm-l6; none by default."""

    def __post_init__(self) -> None:
        for name in ("weight", "flagged"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.width < 2:
            raise ValueError(f"width must be at least 2 buckets, got {self.width}")
        if not self.penalties or not all(penalty > 0 for penalty in self.penalties):
            raise ValueError(f"penalties must be positive, at least one; got {self.penalties}")

    def fit(
        self, prompts: Sequence[str], losses: Tensor, experts: Experts, *, generator: torch.Generator
    ) -> "TryageRouter":
        losses, missing = observed(prompts, losses, experts)
        if self.weight:
            experts.cost(self.cost)
        x = self.features([flags(prompt)[0] for prompt in prompts])
        if len(x) < 2:
            raise ValueError("a router needs at least two prompts to be fitted to")
        whole = not missing
        columns = [losses] if whole else [losses[:, at : at + 1] for at in range(len(experts))]
        weights, biases = zip(*(self._fitted(x, column) for column in columns), strict=True)
        return TryageRouter(self, experts, torch.cat(weights, 1), torch.cat(biases), missing)

    def _fitted(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(columns, outputs) and (outputs,), from the rows that were observed."""
        seen = ~y.isnan().any(1)
        x, y = x[seen], y[seen]
        at, middle = x.mean(0), y.mean(0)
        if len(x) < 2:
            return torch.zeros(x.shape[1], y.shape[1], dtype=x.dtype), middle
        penalties = torch.tensor(self.penalties, dtype=x.dtype)
        best = penalties[left_out_errors(x - at, y - middle, penalties, centred=True).argmin()]
        w = least_squares(x - at, y - middle, float(best))
        return w, middle - at @ w

    def features(self, prompts: Sequence[str]) -> Tensor:
        """(prompts, features) float64."""
        found = trigrams(prompts, self.width)
        return torch.cat([found, _encoder(self.encoder)(prompts).double()], 1) if self.encoder else found


@dataclass(frozen=True)
class TryageRouter:
    """A fitted map. ``missing``: losses that were not there to fit to."""

    recipe: Tryage
    experts: Experts
    weights: Tensor = field(repr=False)
    biases: Tensor = field(repr=False)
    missing: int = 0

    def predicted(self, prompts: Sequence[str]) -> Tensor:
        """(prompts, experts): the losses that are expected, whatever the flags."""
        return self.recipe.features([flags(prompt)[0] for prompt in prompts]) @ self.weights + self.biases

    def costs(self, prompts: Sequence[str]) -> Tensor:
        """(prompts, experts): the weighted costs, by the settings and the flags of each prompt."""
        found = torch.zeros(len(prompts), len(self.experts), dtype=torch.float64)
        for row, prompt in enumerate(prompts):
            weights = flags(prompt, self.recipe.flagged)[1]
            if self.recipe.weight:
                weights[self.recipe.cost] = weights.get(self.recipe.cost, 0.0) + self.recipe.weight
            for name, weight in weights.items():
                found[row] += weight * self.experts.cost(name)
        return found

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        return choices(self.predicted(prompts), self.costs(prompts))


@lru_cache(maxsize=2)
def _encoder(name: str) -> Encoder:
    return encoder(name)
