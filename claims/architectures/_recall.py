"""What the claims about recall share: rows of keys and values that are asked back, rows that end on a mark seen before,
and training on the answers alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core.nouns import Batch, Loss
from trivium.core.protocols import LanguageModel
from trivium.core.seeds import generator
from trivium.models.skeleton import Skeleton
from trivium.nn.cross_entropy import cross_entropy_sum
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

TOKENS = 32
"""Keys, and as many values."""
VOCAB = 2 * TOKENS


@dataclass(frozen=True)
class KeyValues:
    """So many keys, each with its value behind it; then the same keys in another order, each asking for its value."""

    pairs: int

    @property
    def time(self) -> int:
        return 4 * self.pairs

    @property
    def answers(self) -> slice:
        """Columns of what is to be told from what stands before."""
        return slice(2 * self.pairs + 1, None, 2)

    def rows(self, count: int, draw: torch.Generator) -> Tensor:
        """(count, 4 pairs) ids."""
        keys = torch.rand(count, TOKENS, generator=draw).argsort(1)[:, : self.pairs]
        values = torch.randint(TOKENS, VOCAB, (count, self.pairs), generator=draw)
        order = torch.rand(count, self.pairs, generator=draw).argsort(1)
        told = torch.stack((keys, values), -1)
        asked = torch.stack((keys.gather(1, order), values.gather(1, order)), -1)
        return torch.cat((told, asked), 1).flatten(1)


@dataclass(frozen=True)
class Induction:
    """Tokens at random, among them one mark; at the end the mark again, asking for the token that stood behind it."""

    time: int

    @property
    def answers(self) -> slice:
        """Columns of what is to be told from what stands before."""
        return slice(self.time - 1, None)

    def rows(self, count: int, draw: torch.Generator) -> Tensor:
        """(count, time) ids."""
        ids = torch.randint(1, TOKENS, (count, self.time), generator=draw)
        at = torch.randint(self.time - 3, (count, 1), generator=draw)
        ids.scatter_(1, at, 0)
        ids[:, -2] = 0
        ids[:, -1:] = ids.gather(1, at + 1)
        return ids


Recall = KeyValues | Induction


@dataclass(frozen=True)
class Drawn:
    """Fresh rows at every step, of each kind in turn."""

    kinds: Sequence[Recall]
    rows: int
    seed: int

    def batch(self, step: int) -> Batch:
        kind = self.kinds[step % len(self.kinds)]
        return Batch(kind.rows(self.rows, generator(self.seed, "recall", step)))


@dataclass(frozen=True)
class AnswersAlone:
    """Cross-entropy of the answers. The kind of a batch is told from its length."""

    kinds: Sequence[Recall]

    def __call__(self, model: LanguageModel, batch: Batch, *, generator: torch.Generator) -> Loss:
        kind = next(kind for kind in self.kinds if kind.time == batch.ids.shape[1])
        logits, targets = asked(model, batch.ids, kind)
        return Loss(cross_entropy_sum(logits, targets), torch.tensor(targets.numel()))


def asked(model: LanguageModel, ids: Tensor, kind: Recall) -> tuple[Tensor, Tensor]:
    """Logits from which answers are told, (answers, vocab), and the answers."""
    before = model(ids).logits[:, :-1]
    columns = torch.arange(ids.shape[1])[kind.answers]
    return before[:, columns - 1].flatten(0, 1), ids[:, columns].flatten()


def taught(model: Skeleton, kinds: Sequence[Recall], *, seed: int, rows: int, steps: int, rate: float) -> Skeleton:
    """The model after so many updates on answers alone."""
    settings = TrainingSettings(steps=steps, learning_rate=rate, seed=seed)
    train(model, AnswersAlone(kinds), Drawn(kinds, rows, seed), settings)
    return model.eval()


@torch.no_grad()
def accuracy(model: Skeleton, kind: Recall, count: int = 256) -> float:
    """Share of the answers that the model would have given, on rows that are the same for every model."""
    right = []
    for ids in kind.rows(count, generator(0, "recall", "held out")).split(64):
        logits, answers = asked(model, ids, kind)
        right.append(logits.argmax(-1) == answers)
    return float(torch.cat(right).float().mean())
