"""A model trained further on text of another language or subject, with what it forgets measured.

    gain      bits per byte on the new text, before minus after
    forgot    bits per byte on the old text, after minus before
    movement  |w_after - w_before| / |w_before| over all weights

Bits per byte, since a vocabulary may have changed on the way. Without settings it is measured, and nothing trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from trivium.core.budget import Budget, Spent
from trivium.core.method import find
from trivium.core.progress import Bar
from trivium.core.protocols import LanguageModel
from trivium.data.batches import Batches
from trivium.data.corpus import Corpus
from trivium.data.packing import tokenised
from trivium.models.likelihood import bits_per_byte
from trivium.models.system import System
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

SEEN = 32
"""Held-out documents of each corpus that are looked at."""


@dataclass(frozen=True)
class Adaptation:
    """What came of it. ``before`` and ``after``: bits per byte on "new" and, where there is old text, on "old"."""

    before: Mapping[str, float]
    after: Mapping[str, float]
    movement: float
    spent: Spent
    curve: Sequence[Mapping[str, Any]] = field(default_factory=list)

    @property
    def gain(self) -> float:
        return self.before["new"] - self.after["new"]

    @property
    def forgot(self) -> float | None:
        """None where there is no old text."""
        return self.after["old"] - self.before["old"] if "old" in self.before else None


def adapt(
    system: System,
    new: Corpus,
    old: Corpus | None = None,
    *,
    settings: TrainingSettings | None,
    length: int = 128,
    batch_size: int = 16,
    replay: float = 0.0,
    split: str = "validation",
    folder: str | Path | None = None,
    budget: Budget | None = None,
    bar: Bar | None = None,
) -> Adaptation:
    """Train the system's model in place on ``new``. ``replay``: share of the tokens that is old text.

    What is held out in ``split`` is measured. Raises ValueError for a share that is none or without old text, and where
    the training diverges.
    """
    if not 0 <= replay < 1:
        raise ValueError(f"replay is the share of old text, so 0 to below 1; got {replay}")
    if replay and old is None:
        raise ValueError("replay needs old text; give it, or set replay to 0")
    model, corpora = system.model, {"new": new, **({} if old is None else {"old": old})}

    def examine(one: LanguageModel) -> dict[str, float]:
        return {
            name: bits_per_byte(one, corpus[split][:SEEN], system.tokenizer, length) for name, corpus in corpora.items()
        }

    before = examine(model)
    if settings is None:
        return Adaptation(before, before, 0.0, Spent())
    start = [parameter.detach().clone() for parameter in model.parameters()]
    documents = tokenised(new["train"], system.tokenizer)
    if replay and old is not None:
        documents = [*documents, *_worth(tokenised(old["train"], system.tokenizer), _tokens(documents), replay)]
    causal = find("objectives", "causal")()
    rows = Batches(documents, length, batch_size, settings.seed)
    result = train(model, causal, rows, settings, folder=folder, budget=budget, evaluate=examine, bar=bar)
    if result.diverged:
        raise ValueError(f"the training diverged ({result.diverged}); lower learning_rate")
    model.eval()
    pairs = list(zip(start, model.parameters(), strict=True))
    with torch.no_grad():
        moved = sum(float((now - was).double().square().sum()) for was, now in pairs)
        whole = sum(float(was.double().square().sum()) for was, _ in pairs)
    return Adaptation(before, examine(model), (moved / whole) ** 0.5, result.spent, result.curve)


def _tokens(documents: Sequence[Sequence[int]]) -> int:
    return sum(map(len, documents))


def _worth(documents: Sequence[Sequence[int]], beside: int, share: float) -> list[Sequence[int]]:
    """Of the documents, gone through again where need be, so many tokens that they make that share of all."""
    wanted, found = round(beside * share / (1 - share)), []
    if not _tokens(documents):
        raise ValueError("the old text has no tokens to replay")
    while wanted > 0:
        for document in documents:
            found.append(document[:wanted])
            wanted -= len(found[-1])
            if wanted <= 0:
                break
    return found
