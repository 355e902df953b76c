"""Gradient SHAP: gradients at random points on the way from random baselines, which estimate Shapley values.

Source
    Lundberg and Lee 2017, "A Unified Approach to Interpreting Model Predictions", arXiv:1705.07874 (expected gradients
    as in the authors' package; Erion et al. 2021, arXiv:1906.10670).
Equation
    score_i = mean over samples of  sum_c (E_ic - B_ic) * df/dE_ic (B + a (E - B)),   a ~ U(0, 1),
    B = baseline + noise * std(E) * N(0, 1)
    in expectation  sum_i score_i = f(E) - mean f(B)
Shapes
    ids (time,) -> embeddings E and baselines B (time, width) -> scores (time,); samples in rows
Cost
    ``samples`` rows of forward and backward passes, and as many forward passes for the completeness gap.
Caveats
    One path for all tokens, as with integrated gradients, so what tokens do jointly is shared out along it; these are
    Shapley values only where the model is near linear or tokens are independent. Baselines are drawn around one point
    and not from a data set. The noise is a choice of ours; 0 makes it integrated gradients by chance points. The gap
    is a random number: ``facts`` holds it beside its standard error. The authors of ReAGent run Inseq's, whose scores
    are lengths of the attribution's vectors, scaled to sum 1; ``PAPER`` is ours on that scale.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from trivium.attribution._prediction import Neutral, Prediction, check_neutral, check_normalize, single
from trivium.core.attributions import Scaling
from trivium.core.method import method
from trivium.core.nouns import Attribution, Target
from trivium.core.protocols import LanguageModel
from trivium.nn.modes import evaluating


@method(title="Gradient SHAP", source="arXiv:1705.07874", year=2017, needs=["causal", "embeds", "gradient"])
@dataclass(frozen=True)
class GradientShap:
    """Expected gradients over random baselines and path points."""

    samples: int = 32
    baseline: Neutral = "mean"
    """Around what baselines lie: the mean embedding of the vocabulary, the zero vector, or that of a token id."""
    noise: float = 0.1
    """Standard deviation of the baselines, as a share of that of the prompt's embeddings."""
    batch_size: int = 32
    """Samples per pass."""
    normalize: Scaling | None = None
    """Scale of the scores: magnitudes that sum or reach to 1, a softmax, or as they come."""

    def __post_init__(self) -> None:
        check_normalize(self.normalize)
        check_neutral("baseline", self.baseline)
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}")
        if not 0.0 <= self.noise < float("inf"):
            raise ValueError(f"noise must not be negative, got {self.noise}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")

    def within(self, evaluations: int) -> Self:
        """The same, or with as many samples as a budget of rows of passes allows: three for each, and one."""
        return replace(self, samples=max(1, min(self.samples, (evaluations - 1) // 3)))

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
        with evaluating(model):
            embeds = prediction.embeds()  # E (time, width)
            free = prediction.free[:, None]
            start = prediction.neutral(self.baseline).expand_as(embeds)
            spread = self.noise * single(embeds).std() if embeds.numel() > 1 else 0.0
            wide = single(embeds).dtype
            each, lost = [], []
            for first in range(0, self.samples, self.batch_size):
                rows = min(self.batch_size, self.samples - first)
                points, noise = self._drawn(rows, embeds.shape, generator, wide)
                base = torch.where(free, start + spread * noise.to(embeds.device), embeds).to(embeds.dtype)
                path = embeds - base  # (rows, time, width)
                _, gradients = prediction.gradients((base + points.to(path) * path).to(embeds.dtype))
                each.append((path * gradients).sum(-1))
                with torch.no_grad():
                    lost.append(prediction.values(embeds=base))
            with torch.no_grad():
                value = prediction.values(embeds=embeds[None]).item()
        found, bases = torch.cat(each), torch.cat(lost)  # (samples, time), (samples,)
        missed = found.sum(1) - (value - bases)
        error = missed.std().item() / len(missed) ** 0.5 if len(missed) > 1 else float("nan")
        facts = {"value": value, "baseline_value": bases.mean().item(), "gap": missed.mean().item(), "gap_error": error}
        facts |= {"samples": float(self.samples)}
        return prediction.attribution(found.mean(0), **facts)

    @staticmethod
    def _drawn(rows: int, shape: torch.Size, generator: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Path points (rows, 1, 1) and noise (rows, time, width), row by row so that no batch size changes them."""
        drawn = [
            (torch.rand(1, 1, generator=generator, dtype=dtype), torch.randn(shape, generator=generator, dtype=dtype))
            for _ in range(rows)
        ]
        points, noise = zip(*drawn, strict=True)
        return torch.stack(points), torch.stack(noise)


PAPER = GradientShap(normalize="abs_sum")
"""As near as this comes to what the authors of ReAGent run."""
