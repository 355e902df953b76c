"""SimCTG: cross-entropy, and a contrastive loss that keeps the states of the tokens of a text apart.

Source
    Su, Lan, Wang, Yogatama, Kong, Collier 2022, "A Contrastive Framework for Neural Text Generation",
    arXiv:2202.06417, section 3.
Equation
    s(i, j) = cos(h_i, h_j), of what enters the head;   n tokens of a document, m = n - 1 of them predicted
    contrast = 1 / (n (n - 1)) sum_{i != j} max(0, margin - s(i, i) + s(i, j)),   s(i, i) = 1
    total = sum over documents of  - sum log p(next token)  +  m contrast;   count = predictions
Shapes
    ids (batch, time) -> total and count, both scalar
Cost
    One forward pass; time x time cosines a row in float32, and their gradient.
Caveats
    The released code divides the sum over all pairs of a batch by their number; here a document's mean over its pairs
    counts as often as the document has predictions, so that micro-batches and ranks add up exactly. Where all
    documents are of one length the two agree. Pairs are of one document: what is packed beside it in a row is another
    text. Pairs of the same token are pushed apart too, as in the paper; leaving them out is ours. A state of length 0
    has cosine 0 with all others. Decoding by the same idea is contrastive search, which needs none of this training:
    Su and Collier 2023, arXiv:2210.14140, find that most models are isotropic already.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trivium.core.method import method
from trivium.core.nouns import Batch, Loss
from trivium.core.protocols import LanguageModel
from trivium.nn.contrastive import contrastive
from trivium.nn.cross_entropy import IGNORED, cross_entropy_sum
from trivium.objectives.causal import next_tokens


@method(title="SimCTG", source="arXiv:2202.06417", year=2022, needs=["causal"])
@dataclass(frozen=True)
class SimCtg:
    """Cross-entropy of the next token, and states that differ from each other."""

    margin: float = 0.5
    """A pair costs nothing once its cosine is below 1 less this; 0 is plain training."""
    same_token: bool = True
    """Whether two places that hold the same token are a pair."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.margin <= 1.0:
            raise ValueError(
                f"margin must be 0 to 1, got {self.margin}; at 1 even right angles are pushed apart no further"
            )

    def __call__(self, model: LanguageModel, batch: Batch, *, generator: torch.Generator) -> Loss:
        output = model(batch.ids, mask=batch.mask, segments=batch.segments)
        targets = next_tokens(batch)
        predicts = targets != IGNORED
        total = cross_entropy_sum(output.logits.flatten(0, 1), targets.flatten())
        if self.margin:
            total = total + contrast(output.hidden, batch, predicts, self.margin, self.same_token)
        return Loss(total, predicts.sum())


def pairs_of(batch: Batch, same_token: bool) -> tuple[Bool[Tensor, "batch time time"], Bool[Tensor, "batch time time"]]:
    """Which places are of one document, and which of these are pairs: two different places."""
    ids = batch.ids
    real = torch.ones_like(ids, dtype=torch.bool) if batch.mask is None else batch.mask
    together = real[:, :, None] & real[:, None, :]
    if batch.segments is not None:
        together = together & (batch.segments[:, :, None] == batch.segments[:, None, :])
    pairs = together & ~torch.eye(ids.shape[1], dtype=torch.bool, device=ids.device)
    return together, pairs if same_token else pairs & (ids[:, :, None] != ids[:, None, :])


def contrast(
    hidden: Float[Tensor, "batch time width"],
    batch: Batch,
    predicts: Bool[Tensor, "batch time"],
    margin: float,
    same_token: bool,
) -> Float[Tensor, ""]:
    """Each document's mean over its pairs, times its predictions; a document without a pair adds nothing.

    A mean over the pairs of a document is worked out at its places: the sums of place i are divided by the pairs of
    the whole document, which every place of it sees.
    """
    together, pairs = pairs_of(batch, same_token)
    inside = together.to(torch.promote_types(hidden.dtype, torch.float32))
    counts = (inside * pairs.sum(-1)[:, None]).sum(-1)  # pairs of the document that a place is in
    weights = (inside * predicts[:, None]).sum(-1)  # and its predictions
    return (contrastive(hidden, pairs, margin) * weights / counts.clamp(min=1)).sum()
