"""Curation compared by what it is for: a model trained on what each contender keeps of the same raw documents.

The raw documents, the model, the training and its FLOPs are the same for all. What models are scored on was held out
before and is never curated, so that no contender can choose its own examination. Who keeps less sees it more often:
the figures say how many documents were kept and how many times over they were read.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from trivium.compare import contender as text
from trivium.compare.training import TrainedSystem, Training
from trivium.compare.tuning import Tuned, untuned
from trivium.core.budget import Budget
from trivium.core.method import card_of
from trivium.core.progress import Bar
from trivium.data.curating import Curation, curated
from trivium.data.marks import Texts
from trivium.data.packing import tokenised
from trivium.data.raw_texts import Planted, texts_of


@dataclass(frozen=True)
class Kept:
    """What one contender makes of the raw documents."""

    ids: list[list[int]]
    facts: Mapping[str, float]


@dataclass(frozen=True)
class Curating(Training):
    """A training with what is kept of raw documents left open; the corpus says what is held out."""

    raw: str | Planted = field(default_factory=Planted)
    """What is curated, in place of the corpus's documents for training: a path or pattern, or generated documents such
    as planted(count=2000, share=0.05)."""

    @cached_property
    def raw_documents(self) -> Texts:
        """What curation is put to. Raises ValueError where there is none."""
        return texts_of(self.raw)

    def facts(self) -> dict[str, Any]:
        """What identifies this training, the documents by their content."""
        columns = self.raw_documents
        digest = hashlib.sha256()
        for row in zip(columns.ids, columns.sources, columns.texts, strict=True):
            for part in row:
                data = part.encode("utf-8", "surrogatepass")
                digest.update(len(data).to_bytes(8, "big") + data)
        name = self.raw if isinstance(self.raw, str) else text.describe(self.raw)
        raw = {"raw": name, "raw_documents": len(columns), "raw_sha256": digest.hexdigest()}
        return super().facts() | raw


def kept(method: Curation, training: Curating) -> Kept:
    """The documents that the method keeps, as ids. Raises ValueError where it keeps none, or where a document that is
    held out stands among the raw ones."""
    raw = training.raw_documents
    held = {text.strip() for split in ("validation", "test") for text in training.documents.splits.get(split, ())}
    leaked = next((id for id, text in zip(raw.ids, raw.texts, strict=True) if text.strip() in held), None)
    if leaked is not None:
        raise ValueError(
            f"the raw document {leaked!r} is one of those held out in {training.documents.name}, on which models are "
            "scored; take such documents out of the raw ones, or name another corpus"
        )
    began = time.process_time()
    texts = curated(method, raw).texts
    seconds = time.process_time() - began
    if not len(texts):
        raise ValueError(f"{card_of(method).name} keeps none of {len(raw)} documents, so there is nothing to train on")
    ids = tokenised(texts.texts, training.tokenizer)
    facts = {
        "documents_kept": float(len(texts)), "tokens_kept": float(sum(map(len, ids))), "curation_seconds": seconds,
    }  # fmt: skip
    return Kept(ids, facts)


def train(
    contender: Any, training: Curating, seed: int, budget: Budget, folder: Path, bar: Bar | None
) -> TrainedSystem:
    """Train the fixed model on what the contender keeps."""
    method, changed = untuned(contender)
    found = kept(method, training)
    objective: Any = Tuned(training.objective, tuple(changed.items())) if changed else training.objective
    trained = training.train(training.architecture, objective, seed, budget, folder, bar, documents=found.ids)
    rows = int(found.facts["tokens_kept"]) // training.length  # those that batches deal once an epoch
    epochs = trained.spent.tokens / (rows * training.length)
    return replace(trained, facts={**trained.facts, **found.facts, "epochs": epochs})
