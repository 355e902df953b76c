"""MEAP: next-token prediction on a text of which a random part is hidden from the model.

Source
    Zhuang, Jia, Li, Zhang, Shen, Cao, Liu 2025, "Mask-Enhanced Autoregressive Prediction: Pay Less Attention to Learn
    More", ICML 2025, arXiv:2502.07490; what is hidden, and how much of it, as in the authors' code.
Equation
    x~[t] = MASK where t is hidden, else x[t];   n predictions of a row, made at places 1 to n
    hidden: max(1, floor(rate n)) of the places 1 to n - 1, all sets of so many equally likely;   none where rate = 0
    total = - sum over all predictions of  log p(x[t+1] | x~[<= t]);   count = predictions
    answers marked:  total = - sum over tokens t of answers of  log p(x[t] | x[< t])
                             - sum over hidden tokens t of long answers of  log p(x[t] | x~[< t]);   count = both
Shapes
    ids (batch, time) -> total and count, both scalar
Cost
    That of plain training; twice that where answers are marked.
Caveats
    Targets are never hidden, and attention stays causal. The released code draws one set per step for all rows, from 51
    that recur for ever; here each row has its own, by its tokens and one draw per step, so that micro-batches add up
    exactly. Documents that are packed in a row count as one for the number of hidden places. A prediction of MASK is
    not ruled out, but learned soon: it is never true. Without ``mask_id`` the last id of the vocabulary is taken, which
    should stand in no text; of the byte tokenizer it is padding. Losses of different rates do not compare: validate on
    plain text. Where a task hangs on one token of the text, name that token as special. Where no answer is long, the
    second pass over hidden answers is made all the same, so that a batch costs what its shape says. Shown by the
    authors up to 1.1B parameters.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from trivium.core.method import method
from trivium.core.nouns import Batch, Loss
from trivium.core.protocols import LanguageModel
from trivium.data.exchanges import Exchanges
from trivium.nn.cross_entropy import IGNORED, cross_entropy_sum
from trivium.objectives._corrupted import check_symbols, drawn, one_of, place, smallest, symbol
from trivium.objectives.causal import Causal, next_tokens


@method(title="MEAP", source="arXiv:2502.07490", year=2025, needs=["causal"])
@dataclass(frozen=True)
class Meap:
    """Cross-entropy of the next token, given a text with holes."""

    rate: float = 0.15
    """Share of the places that are hidden; 0 is plain training. The authors take 0.1 where answers are marked."""
    shared: bool = False
    """Whether the same places are hidden in all rows of a batch, as in the released code."""
    mask_id: int | None = None
    """The token that stands for a hidden one; None: the last of the model's vocabulary."""
    special: tuple[int, ...] = ()
    """Tokens that are never hidden, such as bos and eos."""
    longer_than: int = 50
    """Where answers are marked: an answer of more tokens than this is learned with holes, too."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "special", tuple(self.special))  # a saved one brings a list
        if not 0.0 <= self.rate < 1.0:
            raise ValueError(f"rate is a share of the text, from 0 to less than 1; got {self.rate}")
        if self.longer_than < 0:
            raise ValueError(f"longer_than is a number of tokens, so at least 0; got {self.longer_than}")
        check_symbols(self.mask_id, self.special)

    def __call__(self, model: LanguageModel, batch: Batch, *, generator: torch.Generator) -> Loss:
        if isinstance(batch, Exchanges):
            return self._answers(model, batch, generator)
        if self.rate == 0.0:
            return Causal()(model, batch, generator=generator)
        targets = next_tokens(batch)
        hidden = self.hidden(batch, targets != IGNORED, generator)
        return _loss(model, self._holed(batch, hidden, model), targets)

    def hidden(self, batch: Batch, among: Tensor, generator: torch.Generator) -> Tensor:
        """(batch, time) bool: of the marked places of each row but the last one, the ``rate`` of all marked."""
        count = among.sum(1)
        free = among & (among.cumsum(1) < count[:, None]) & ~one_of(batch.ids, self.special)
        lots = drawn(batch, generator, 1, alike=self.shared)[0].gather(1, place(batch))
        return smallest(lots.masked_fill(~free, torch.inf), (self.rate * count.double()).long().clamp(min=1))

    def _holed(self, batch: Batch, hidden: Tensor, model: LanguageModel) -> Batch:
        given = batch.ids.masked_fill(hidden, symbol(self.mask_id, model.vocab_size))
        return Batch(given, batch.mask, batch.segments)

    def _answers(self, model: LanguageModel, batch: Exchanges, generator: torch.Generator) -> Loss:
        """All answers as they are; and of the long ones a copy with holes, of which these alone are learned."""
        assert batch.answer is not None
        plain = _loss(model, batch, _before(batch, batch.answer))
        if self.rate == 0.0:
            return plain
        long = batch.answer & (batch.answer.sum(1, keepdim=True) > self.longer_than)
        hidden = self.hidden(batch, long, generator)
        copy = _loss(model, self._holed(batch, hidden, model), _before(batch, hidden))
        return Loss(plain.total + copy.total, plain.count + copy.count)


def _before(batch: Batch, wanted: Tensor) -> Tensor:
    """(batch, time): the token after each place where that one is wanted, else IGNORED."""
    return next_tokens(batch).masked_fill(~pad(wanted[:, 1:], (0, 1)), IGNORED)


def _loss(model: LanguageModel, batch: Batch, targets: Tensor) -> Loss:
    logits = model(batch.ids, mask=batch.mask, segments=batch.segments).logits
    return Loss(cross_entropy_sum(logits.flatten(0, 1), targets.flatten()), (targets != IGNORED).sum())
