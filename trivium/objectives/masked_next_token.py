"""Masked next-token prediction: causal and masked language modelling by one model, one shift and one head.

Source
    Charpentier, Samuel 2024, "GPT or BERT: why not both?", BabyLM Challenge at CoNLL 2024, arXiv:2410.24159; spans and
    the number of masked tokens as in the authors' code.
Equation
    a row is masked with probability mask_share, else it is causal;   w = n / m: predictions by those that count
    causal:  total = - sum over all n predictions of  log p(x[t+1] | x[<= t]);   m = n
    masked:  total = - w sum over the m masked tokens t+1 of  log p(x[t+1] | x~), from place t, which sees all of x~
    to each term  z_weight logsumexp(logits)^2  is added;   count = sum over rows of n
    masked tokens: spans of 1 to longest_span tokens, in random order, until floor(rate T + u) are, u in [0, 1), and at
    least 1; the last span is completed;   kept of the spans stay, random become random tokens, the others MASK
Shapes
    ids (batch, time) -> total and count, both scalar
Cost
    One forward pass for the rows of both sorts, under a mask: attention computes the whole square.
Caveats
    Which rows are masked, and where, depends on a row's tokens and one draw per step, so that micro-batches add up
    exactly; the authors fix the share of masked rows in a batch, which is so here on average. Each row counts as often
    as plain training would have it predict, so the two means are mixed by the share of rows. Neither the first token
    of a document nor one named as special is masked; T counts all tokens of a row. The rate falls along a line over the
    training, which the training loop sees to. The authors also count how often each token of the corpus was masked and
    favour the others; an objective here remembers nothing, so this is left out. Without ``mask_id`` the last id of the
    vocabulary is taken, which should stand in no text; of the byte tokenizer it is padding. Compare models by plain
    causal likelihood, or by this loss at a share of 0 and of 1.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import pad

from trivium.core.method import method
from trivium.core.nouns import Batch, Loss
from trivium.core.protocols import LanguageModel
from trivium.nn.cross_entropy import IGNORED
from trivium.nn.linear_attention import document_numbers
from trivium.objectives._corrupted import check_symbols, drawn, one_of, place, real_tokens, smallest, symbol
from trivium.objectives.causal import Causal, next_tokens


@method(
    title="Masked next-token prediction",
    source="arXiv:2410.24159",
    year=2024,
    needs=["causal", "bidirectional", "tree"],
)
@dataclass(frozen=True)
class MaskedNextToken:
    """Cross-entropy of masked tokens from the place before them, in some rows; of every next token in the others."""

    mask_share: float = 0.9375
    """Share of the rows that are masked: 1 is masked language modelling, 0 (without ``z_weight``) plain training."""
    rate: float = 0.3
    """Share of the tokens of such a row that are masked, at the beginning of the training."""
    final_rate: float = 0.15
    """The same, at its end."""
    longest_span: int = 3
    """Spans of masked tokens have any length up to this one, each as likely as the others."""
    random: float = 0.1
    """Share of the spans that are replaced by random tokens."""
    kept: float = 0.1
    """Share of the spans that are left as they are, and predicted."""
    z_weight: float = 1e-4
    """Of the squared logarithm of what the softmax divides by."""
    mask_id: int | None = None
    """The token that stands for a masked one; None: the last of the model's vocabulary."""
    special: tuple[int, ...] = ()
    """Tokens that are never masked, nor put in place of others, such as bos and eos."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "special", tuple(self.special))  # a saved one brings a list
        for name in ("mask_share", "rate", "final_rate", "random", "kept"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a share, so 0 to 1; got {getattr(self, name)}")
        if self.random + self.kept > 1.0:
            raise ValueError(f"random {self.random} and kept {self.kept} are shares of one whole; lower one of them")
        if self.longest_span < 1:
            raise ValueError(f"longest_span must be at least 1, got {self.longest_span}")
        if not 0.0 <= self.z_weight < torch.inf:
            raise ValueError(f"z_weight must be at least 0 and finite, got {self.z_weight}")
        check_symbols(self.mask_id, self.special)

    def at(self, progress: float) -> "MaskedNextToken":
        """With the rate of that share of the training, from then on the same."""
        rate = self.rate + (self.final_rate - self.rate) * progress
        return replace(self, rate=rate, final_rate=rate)

    def __call__(self, model: LanguageModel, batch: Batch, *, generator: torch.Generator) -> Loss:
        if self.mask_share == 0.0 and self.z_weight == 0.0:
            return Causal()(model, batch, generator=generator)
        following = next_tokens(batch)
        given, taken, masked = self.corrupted(batch, following != IGNORED, model.vocab_size, generator)
        mask, positions = sight(batch, masked)
        logits = model(given, mask=mask, positions=positions).logits
        targets = following.masked_fill(masked[:, None] & ~ahead(taken), IGNORED)
        plain, own = (following != IGNORED).sum(1), (targets != IGNORED).sum(1)
        counted = targets != IGNORED
        logits, targets = logits[counted], targets[counted]
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        with torch.autocast(wide.device.type, enabled=False):
            mass = wide.logsumexp(-1)
            cost = mass - wide.gather(-1, targets[:, None])[:, 0] + self.z_weight * mass.square()
            weight = plain.to(wide.dtype) / own.clamp(min=1)
            total = (weight[counted.nonzero()[:, 0]] * cost).sum()
        return Loss(total, plain.where(own > 0, 0).sum())

    def corrupted(
        self, batch: Batch, predicts: Tensor, vocab_size: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, "batch time"], Bool[Tensor, "batch time"], Bool[Tensor, " batch"]]:
        """The ids as they are given, the tokens that were masked (in any row), and which rows are masked ones."""
        modes, more, lengths, order, fates, others = drawn(batch, generator, 6)
        at = place(batch)
        ends = (1 + (self.longest_span * lengths).long()).cumsum(1)
        span = torch.searchsorted(ends, at, right=True)
        free = behind(predicts) & ~one_of(batch.ids, self.special)
        wanted = (self.rate * real_tokens(batch).sum(1).double() + more[:, 0]).long().clamp(min=1)
        taken = smallest(order.gather(1, span).masked_fill(~free, torch.inf), wanted)
        masked = modes[:, 0] < self.mask_share
        hiding = symbol(self.mask_id, vocab_size)
        fate = fates.gather(1, span)
        instead = self._ordinary(hiding, vocab_size, batch.ids.device)
        random = instead[(others.gather(1, at) * len(instead)).long()]
        new = torch.where(fate < self.random, random, hiding)
        changed = taken & masked[:, None] & (fate < 1.0 - self.kept)
        return torch.where(changed, new, batch.ids), taken, masked

    def _ordinary(self, hiding: int, vocab_size: int, device: torch.device) -> Int[Tensor, " ordinary"]:
        """What may be put in place of a token."""
        every = torch.arange(vocab_size, device=device)
        found = every[~one_of(every, (*self.special, hiding))]
        if not len(found):
            raise ValueError("every token of the vocabulary is special or the mask, so none can stand for another")
        return found


def sight(
    batch: Batch, both_ways: Bool[Tensor, " batch"]
) -> tuple[Bool[Tensor, "batch 1 time time"], Int[Tensor, "batch time"]]:
    """Who sees whom, and where each token stands in its document: a token sees those of its own document, in these rows
    all of them, elsewhere the ones up to itself. Padding sees itself, so that no softmax is empty."""
    real, time = real_tokens(batch), batch.ids.shape[1]
    places = place(batch)
    sees = real[:, :, None] & real[:, None, :]
    if batch.segments is not None:
        documents = document_numbers(batch.segments, real)
        sees &= documents[:, :, None] == documents[:, None, :]
        first = pad(documents[:, 1:] > documents[:, :-1], (1, 0))
        places = places - places.where(first, 0).cummax(1).values
    past = torch.ones(time, time, dtype=torch.bool, device=real.device).tril()
    sees &= both_ways[:, None, None] | past
    sees.diagonal(dim1=1, dim2=2).fill_(True)
    return sees[:, None], places


def ahead(marks: Bool[Tensor, "batch time"]) -> Bool[Tensor, "batch time"]:
    """For each place what is said of the next one; nothing of the place behind the last."""
    return pad(marks[:, 1:], (0, 1))


def behind(marks: Bool[Tensor, "batch time"]) -> Bool[Tensor, "batch time"]:
    """For each place what is said of the one before; nothing of the place before the first."""
    return pad(marks[:, :-1], (1, 0))
