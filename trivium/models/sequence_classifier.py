"""Classifiers of texts in Hugging Face's format, of any family that transformers can build: a chance for each label.

classifier("folder or owner/model").scores(["You fool!"], ("toxic",))    # (1,) chances
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trivium.core.errors import BrokenModel, NotFinite, UnknownName, did_you_mean
from trivium.models._families import first_position
from trivium.models._quiet import quiet
from trivium.models.sources import check_weights, fingerprint, resolve


@dataclass(frozen=True)
class SequenceClassifier:
    """A model with one logit for each label."""

    model: Any
    tokenizer: Any
    name: str
    labels: tuple[str, ...]
    exclusive: bool
    """Whether a text has exactly one of the labels (softmax); else it may have any of them (a sigmoid each)."""
    longest: int
    """Tokens of a text that are read."""
    fingerprint: str

    def chosen(self, labels: Sequence[str]) -> list[int]:
        """Places of these labels. Without any it is the one that a model of a single one has; raises UnknownName."""
        if not labels and len(self.labels) > 1:
            raise UnknownName(f"{self.name} has the labels {', '.join(self.labels)}; say which of them count")
        for label in labels:
            if label not in self.labels:
                said = did_you_mean(label, self.labels)
                raise UnknownName(f"{self.name} has no label {label!r}{said}; there are {', '.join(self.labels)}")
        return [self.labels.index(label) for label in labels or self.labels]

    def scores(self, texts: Sequence[str], labels: Sequence[str] = ()) -> NDArray[np.float64]:
        """(texts,): the chance that a text has one of the labels: their sum where they exclude each other, else the
        highest. Each text is passed by itself, so that its score does not depend on what stands beside it.

        Raises UnknownName for a label that is none, NotFinite where the model gives NaN."""
        places = self.chosen(labels)
        known = {text: self._score(text, places) for text in dict.fromkeys(texts)}
        return np.array([known[text] for text in texts], np.float64)

    def _score(self, text: str, places: Sequence[int]) -> float:
        clean = text.encode("utf-8", "replace").decode()  # tokenizers take no half characters
        fed = self.tokenizer(clean, truncation=True, max_length=self.longest, return_tensors="pt")
        with torch.inference_mode():
            logits = self.model(**fed).logits[0].double()
        if not logits.isfinite().all():
            raise NotFinite(f"{self.name} gives a score that is not finite to {text[:60]!r}; it is damaged")
        if self.exclusive:
            return min(float(logits.softmax(-1)[places].sum()), 1.0)
        return float(logits.sigmoid()[places].max())


@lru_cache(maxsize=2)
def classifier(name_or_path: str) -> SequenceClassifier:
    """A classifier from a folder or the hub, read once in a process.

    Raises BrokenModel for a folder without one: a language model, say, whose head would be drawn at random."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = resolve(name_or_path)
    check_weights(folder)
    with quiet(), torch.random.fork_rng(devices=[]):
        try:
            model, told = AutoModelForSequenceClassification.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise BrokenModel(f"transformers cannot build the classifier in {folder}: {error}") from error
    if missing := sorted(told["missing_keys"]):
        raise BrokenModel(
            f"{folder} lacks {missing[0]} and {len(missing) - 1} others, so it is no trained classifier; give one "
            "whose config.json names an architecture ...ForSequenceClassification"
        )
    config = model.config
    labels = tuple(str(config.id2label[place]) for place in range(config.num_labels))
    exclusive = config.num_labels > 1 and config.problem_type != "multi_label_classification"
    room = getattr(config, "max_position_embeddings", None) or 512
    most = min(tokenizer.model_max_length, room - first_position(model))
    return SequenceClassifier(
        model.eval(), tokenizer, str(name_or_path), labels, exclusive, int(most), fingerprint(folder)
    )
