"""EMO: cross-entropy mixed with how far the predicted tokens are from the true one, by the angle of their vectors.

Source
    Ren, Wu, Zhu 2024, "EMO: Earth Mover Distance Optimization for Auto-Regressive Language Modeling", ICLR 2024,
    arXiv:2310.04691. Values and gradients agree with the authors' code.
Equation
    e(v) = E(v) / |E(v)|, rows of an output matrix, without gradient;   Q = softmax(logits);   y the next token
    D = sum_v Q(v) (1 - e(y) . e(v)) = 1 - e(y) . (e^T Q);   CE = - log Q(y);   sg(x): x, held constant
    adaptation:   L = (CE + sg(CE / D) D) / 2          pretraining:   L = D + sg(D / CE) CE
    total = sum over predictions of  (1 - weight) CE + weight L;   count = predictions
Shapes
    ids (batch, time) -> total and count, both scalar
Cost
    One forward pass, one product of all probabilities with the output matrix (as dear as the head), and some buffers
    of the size of the logits.
Caveats
    With one token that is right, D is the earth mover distance itself; a bound it is only where several are. The
    released code takes Q(y) out of the product, held constant: D is then larger by Q(y) with the same gradient, so
    that the ratios change and nothing else. That is the default. The ratios are held constant, so the gradient is not
    that of the value: in adaptation the value is the cross-entropy, which says nothing about D. Rows of length 0 have
    cost 1 to every token. The share ``weight`` is ours, for an off-switch; the paper has 1. Models with a bias or a
    softcap behind their head are compared by the matrix alone. The loss is computed in float32 at least.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium.core.method import method
from trivium.core.nouns import Batch, Loss
from trivium.core.protocols import LanguageModel
from trivium.models.unembedding import unembedding
from trivium.nn.cross_entropy import IGNORED
from trivium.objectives.causal import Causal, next_tokens

Mix = Literal["adaptation", "pretraining"]
TINY = 1e-10
"""Added to what a ratio is divided by, as in the authors' code."""


@method(title="EMO", source="arXiv:2310.04691", year=2024, needs=["causal"])
@dataclass(frozen=True)
class Emo:
    """Cross-entropy and expected distance of the predicted from the true token, at equal size."""

    holds_constant: ClassVar[bool] = True

    weight: float = 1.0
    """Share of the mixed loss; the rest is cross-entropy, and 0 is plain training."""
    mix: Mix = "adaptation"
    """Which term is scaled to the other: the distance to the cross-entropy, or the cross-entropy to the distance."""
    costs: LanguageModel | None = None
    """A model whose output matrix gives the vectors and stays as it is; None: the trained model, as it is now."""
    subtract_target: bool = True
    """Take the target's own probability out of the product, as the released code does."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.weight <= 1.0:
            raise ValueError(f"weight is a share, so 0 to 1; got {self.weight}")
        if self.mix not in get_args(Mix):
            raise ValueError(f"mix is one of {', '.join(get_args(Mix))}; got {self.mix!r}")

    def __call__(self, model: LanguageModel, batch: Batch, *, generator: torch.Generator) -> Loss:
        if self.weight == 0.0:
            return Causal()(model, batch, generator=generator)
        table, _ = unembedding(model if self.costs is None else self.costs, "EMO")
        if len(table) != model.vocab_size:
            raise ValueError(
                f"the model of the costs has a vocabulary of {len(table)} and the trained one of {model.vocab_size}; "
                "they must share a tokenizer"
            )
        logits = model(batch.ids, mask=batch.mask, segments=batch.segments).logits
        targets = next_tokens(batch)
        counted = targets != IGNORED
        logits, targets = logits[counted], targets[counted]
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        with torch.autocast(wide.device.type, enabled=False):  # distances near 0 are what half precision loses
            log_q = wide.log_softmax(-1)
            ce = -log_q.gather(-1, targets[:, None])[:, 0]
            distance = distances(log_q.exp(), targets, table.to(wide))
            if self.subtract_target:
                distance = distance + (-ce.detach()).exp()
            total = ((1 - self.weight) * ce + self.weight * mixed(ce, distance, self.mix)).sum()
        return Loss(total, counted.sum())


def distances(
    q: Float[Tensor, "rows vocab"], targets: Int[Tensor, " rows"], table: Float[Tensor, "vocab width"]
) -> Float[Tensor, " rows"]:
    """D of each row, 0 to 2: the expected cosine distance from the target's vector to that of a token drawn from q."""
    units = torch.nn.functional.normalize(table, dim=-1)
    return 1 - (units[targets] * (q @ units)).sum(-1)


def mixed(ce: Float[Tensor, " rows"], distance: Float[Tensor, " rows"], mix: Mix) -> Float[Tensor, " rows"]:
    """One term and the other scaled to its size; the scale is held constant."""
    now = distance.detach().clamp(min=0)  # rounding leaves a distance of 0 on either side of it
    if mix == "adaptation":
        return (ce + ce.detach() / (now + TINY) * distance) / 2
    return distance + now / (ce.detach() + TINY) * ce
