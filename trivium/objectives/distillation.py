"""Knowledge distillation: a student learns a teacher's whole distribution over the next token.

Source
    Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531, sections 2 and 2.1;
    sequence-level form: Kim and Rush 2016, "Sequence-Level Knowledge Distillation", arXiv:1606.07947, section 3.2.
Equation
    p(i) is proportional to p_teacher(i)^(1/T) for each class i, q likewise from the student
    total = sum over known positions of  alpha T^2 sum_i p(i) log(p(i) / q(i))  +  (1 - alpha) (- log q_1(x[t+1]))
    classes: every token; or the k tokens that a teacher's memory holds, and all others together as one more
Shapes
    ids (batch, time); teacher (batch, time, vocab), or tokens and logprobs (batch, time, k) -> total, count, scalar
Cost
    A pass of the student; one of the teacher too unless its answers are remembered. Two passes over the logits.
Caveats
    The sum over classes is a lower bound on the divergence over tokens, the tighter the less mass lies beyond the k;
    with k the whole vocabulary they are equal. Without a teacher the text itself stands for it, a point mass on each
    token: on text that a teacher wrote this is sequence-level distillation, elsewhere plain training, and alpha and T
    play no part. Temperature and share are from memory of common practice; the paper tunes them per task. A draft
    for speculative decoding wants T = 1 and alpha = 1, since what counts there is the overlap of p and q themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.nouns import Batch, Loss
from trivium.core.protocols import LanguageModel
from trivium.data.teaching import Targets
from trivium.nn.cross_entropy import IGNORED, cross_entropy_sum
from trivium.nn.divergence import divergence_sum
from trivium.objectives.causal import next_tokens


@method(title="Knowledge distillation", source="arXiv:1503.02531", year=2015, needs=["causal"])
@dataclass(frozen=True)
class Distillation:
    """Divergence of the student from a teacher, mixed with cross-entropy."""

    teacher: LanguageModel | Callable[[Batch], Targets] | None = None
    """A model, or what remembers one's answers (data.teaching.AnsweredTexts); None: the text that a teacher wrote."""
    alpha: float = 0.5
    """Share of the teacher's distribution; the rest is cross-entropy with the text."""
    temperature: float = 2.0
    """Flattens both distributions before they are compared."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"alpha is a share, so 0 to 1; got {self.alpha}")
        if not (isfinite(self.temperature) and self.temperature > 0.0):
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}")

    def __call__(self, model: LanguageModel, batch: Batch, *, generator: torch.Generator) -> Loss:
        logits = model(batch.ids, mask=batch.mask, segments=batch.segments).logits
        following = next_tokens(batch)
        taught = self._taught(model, batch)
        if isinstance(taught, Targets):
            following = following.masked_fill(~taught.known, IGNORED)
        counted = following != IGNORED
        if taught is None or self.alpha == 0.0:
            return Loss(cross_entropy_sum(logits.flatten(0, 1), following.flatten()), counted.sum())
        if isinstance(taught, Targets) and self.temperature == 1.0 and taught.tokens.shape[-1] < logits.shape[-1]:
            remembered = taught.tokens.flatten(0, 1), taught.logprobs.flatten(0, 1)
            divergence = divergence_sum(logits.flatten(0, 1), *remembered, counted.flatten())
        else:
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            each = _divergence(*_classes(taught, wide), self.temperature)
            divergence = each.masked_fill(~counted, 0.0).sum()
        total = self.alpha * self.temperature**2 * divergence
        if self.alpha < 1.0:
            total = total + (1 - self.alpha) * cross_entropy_sum(logits.flatten(0, 1), following.flatten())
        return Loss(total, counted.sum())

    def _taught(self, model: LanguageModel, batch: Batch) -> Targets | Tensor | None:
        """The teacher's answers, or its (batch, time, vocab) logits, or nothing."""
        if not isinstance(self.teacher, LanguageModel):
            return None if self.teacher is None else self.teacher(batch)
        if self.teacher.vocab_size != model.vocab_size:
            raise ValueError(
                f"the teacher has a vocabulary of {self.teacher.vocab_size} and the student one of "
                f"{model.vocab_size}; they must share a tokenizer"
            )
        if self.teacher.training:
            raise ValueError("the teacher is in training mode, so its answers may be random; call teacher.eval()")
        with torch.no_grad():
            return self.teacher(batch.ids, mask=batch.mask, segments=batch.segments).logits


def _classes(taught: Targets | Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of teacher and student over the same classes: (batch, time, classes) each."""
    if isinstance(taught, Tensor):
        return taught.to(logits.dtype).log_softmax(-1), logits.log_softmax(-1)
    total = logits.logsumexp(-1, keepdim=True)
    log_p, log_q = taught.logprobs.to(logits.dtype), logits.gather(-1, taught.tokens) - total
    if taught.tokens.shape[-1] == logits.shape[-1]:
        return log_p, log_q
    others = logits.scatter(-1, taught.tokens, float("-inf")).logsumexp(-1, keepdim=True) - total
    left = (1 - log_p.exp().sum(-1, keepdim=True)).clamp(min=torch.finfo(log_p.dtype).tiny).log()
    return torch.cat([log_p, left], -1), torch.cat([log_q, others], -1)


def _divergence(log_p: Tensor, log_q: Tensor, temperature: float) -> Tensor:
    """(batch, time): KL(p || q) at a temperature; a class of probability 0 adds nothing."""
    if temperature != 1.0:
        log_p, log_q = (log_p / temperature).log_softmax(-1), (log_q / temperature).log_softmax(-1)
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_q), 0.0).sum(-1)
