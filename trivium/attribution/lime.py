"""LIME: a linear model of which tokens are there, fitted to the prediction on prompts with random ones taken away.

Source
    Ribeiro et al. 2016, "Why Should I Trust You?", arXiv:1602.04938, equations 1 and 2.
Equation
    m ~ Bernoulli(1/2)^T, m_i = 1 where token i stays;   w(m) = exp(-(1 - cos(m, 1))^2 / (2 sigma^2))
    scores, b = argmin  sum_m w(m) (f(x with m) - b - sum_i score_i m_i)^2 + alpha |score|^2
Shapes
    ids (time,) -> masks (masks, time) -> scores (time,)
Cost
    ``masks`` rows of forward passes, and a least-squares problem of the prompt's length; no gradient is needed.
Caveats
    The paper chooses the K largest weights by LASSO before it fits; here all tokens are fitted with a ridge. The kernel
    is over cosine distance, as in the authors' code for text, with their width of 0.25. What stands for a token that is
    away is the mean embedding, which keeps positions, where the authors' code deletes the word. With fewer masks than
    tokens the ridge alone decides. ``facts`` tells how well the linear picture fits (weighted R squared).
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from trivium.attribution._prediction import Neutral, Prediction, check_neutral
from trivium.attribution._replacing import Replacing
from trivium.core.method import method
from trivium.core.nouns import Attribution, Target
from trivium.core.protocols import LanguageModel
from trivium.nn.modes import evaluating


@method(title="LIME", source="arXiv:1602.04938", year=2016, needs=["causal"])
@dataclass(frozen=True)
class Lime:
    """The weights of a local linear model over tokens that are there or not."""

    masks: int = 512
    replacement: Neutral = "mean"
    """The mean embedding of the vocabulary, the zero vector, or a token id (which asks for no embeddings)."""
    width: float = 0.25
    """Of the kernel over cosine distance to the whole prompt: the smaller, the more local."""
    ridge: float = 1.0
    """Penalty on the weights; 0 is least squares."""
    batch_size: int = 32
    """Inputs per pass."""

    def __post_init__(self) -> None:
        check_neutral("replacement", self.replacement)
        for name in ("masks", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0.0 < self.width < float("inf"):
            raise ValueError(f"width must be positive, got {self.width}")
        if not 0.0 <= self.ridge < float("inf"):
            raise ValueError(f"ridge must not be negative, got {self.ridge}")

    def within(self, evaluations: int) -> Self:
        """The same, or with as many masks as a budget of rows of passes allows: one for each, and one."""
        return replace(self, masks=max(1, min(self.masks, evaluations - 1)))

    def __call__(
        self,
        model: LanguageModel,
        ids: Tensor,
        target: Target,
        *,
        generator: torch.Generator,
        frozen: Tensor | None = None,
    ) -> Attribution:
        prediction = Prediction(self, model, ids, target, frozen)
        free = prediction.free.nonzero()[:, 0].cpu()
        stays = torch.ones(self.masks, len(ids), dtype=torch.bool)
        stays[:, free] = torch.rand(self.masks, len(free), generator=generator) < 0.5
        with evaluating(model), torch.no_grad():
            replaced = Replacing(prediction, self.replacement)
            whole = replaced.whole()
            rows = [replaced(~part.to(model.device)) for part in stays.split(self.batch_size)]
        values = torch.cat(rows).double().cpu()
        scores, fit = ridge(stays[:, free].double(), values, self.width, self.ridge)
        all_scores = torch.zeros(len(ids), dtype=whole.dtype)
        all_scores[free] = scores.to(whole.dtype)
        return prediction.attribution(all_scores, value=whole.item(), fit=fit, masks=float(self.masks))


def ridge(kept: Tensor, values: Tensor, width: float, penalty: float) -> tuple[Tensor, float]:
    """Weights (tokens,) of the ridge regression of values (masks,) on masks (masks, tokens), nearer ones counting more,
    and the weighted R squared. The intercept is not penalised."""
    if kept.shape[1] == 0:
        return kept.new_zeros(0), 0.0
    cosine = kept.mean(1).sqrt()  # of a mask of zeros and ones with the one of ones; 0 where nothing stays
    weight = torch.exp(-((1 - cosine) ** 2) / (2 * width**2))[:, None]
    total = weight.sum()
    x, y = kept - (weight * kept).sum(0) / total, values - (weight[:, 0] * values).sum() / total
    gram = x.T @ (weight * x) + penalty * torch.eye(x.shape[1], dtype=x.dtype)
    found = torch.linalg.lstsq(gram, (x.T @ (weight[:, 0] * y))[:, None], driver="gelsd").solution[:, 0]
    spread = (weight[:, 0] * y.square()).sum()
    left = (weight[:, 0] * (y - x @ found).square()).sum()
    return found, float(1 - left / spread) if spread > 0 else 0.0
