"""A linear classifier over hashed runs of words: trained in seconds, read by everybody, kept without code.

    taught = teach(good, bad, settings=Recipe())
    taught.classifier.save("runs/quality")
    LinearClassifier.load("runs/quality").scores(["a text"])    # (1,) chances that it is a positive one

A text is a vector of the logarithms of how often its words, and runs of words, occur in it, in ``buckets`` places by
hash and of length 1; its chance is the logistic function of a weighted sum. What is kept is ``weights.safetensors`` and
``classifier.json``, with the digest of the one in the other: there is no pickle that could run code, and a file that
was changed, or of another format, is refused.

A fifth of the texts, by a hash of what they say so that copies stay together, is held out and judged.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from scipy.sparse import csr_matrix

from trivium.core import files
from trivium.core.errors import BrokenModel, HashMismatch
from trivium.core.optional import require
from trivium.data.near_duplicates import normalised, run_hashes, word_hashes

FORMAT = "trivium-linear-1"
CARD, WEIGHTS = "classifier.json", "weights.safetensors"
BINS = 10
"""Of the table of calibration."""


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained."""

    words: int = 2
    """Longest run of words that counts by itself."""
    buckets: int = 1 << 20
    """Places that runs are hashed to; a power of two. More keep more of them apart."""
    strength: float = 10.0
    """Inverse of the penalty on large weights."""
    held_out: float = 0.2
    """Share of the texts that are judged and not learned from."""
    balanced: bool = True
    """Both classes weigh the same, however many texts they have; scores are chances at even odds then."""

    def __post_init__(self) -> None:
        if not 1 <= self.words <= 5:
            raise ValueError(f"words of a run are 1 to 5, got {self.words}")
        if not 1 << 8 <= self.buckets <= 1 << 24 or self.buckets & (self.buckets - 1):
            raise ValueError(f"buckets are a power of two from 2^8 to 2^24, got {self.buckets}")
        if not self.strength > 0.0 or math.isinf(self.strength):
            raise ValueError(f"strength must be positive, got {self.strength}")
        if not 0.0 < self.held_out < 1.0:
            raise ValueError(f"held_out is a share between 0 and 1, got {self.held_out}")


@dataclass(frozen=True, eq=False)
class LinearClassifier:
    """Weights, and what is known of where they come from."""

    weights: NDArray[np.float32]
    """(buckets,)"""
    bias: float
    words: int
    card: dict[str, Any] = field(default_factory=dict)

    def scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(texts,): the chance that each is a positive one; of a text without a word it is what the bias says."""
        found = np.empty(len(texts))
        for place, text in enumerate(texts):
            at, value = features(text, self.words, len(self.weights))
            found[place] = self.bias + float(np.sum(self.weights[at].astype(np.float64) * value))
        return _logistic(found)

    @property
    def digest(self) -> str:
        """Of weights and reading: two classifiers with one give the same scores."""
        head = json.dumps([FORMAT, self.words, len(self.weights), self.bias])
        return hashlib.sha256(head.encode() + self.weights.astype("<f4").tobytes()).hexdigest()

    def save(self, folder: str | Path) -> None:
        """Write card and weights, each whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        data = save_tensors({"weights": self.weights, "bias": np.array([self.bias], np.float64)})
        card = {**self.card, "format": FORMAT, "words": self.words, "buckets": len(self.weights),
                "weights_sha256": files.sha256(data)}  # fmt: skip
        files.write(folder / WEIGHTS, data)
        files.write(folder / CARD, json.dumps(card, indent=1, sort_keys=True, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "LinearClassifier":
        """Raises ValueError for what is no such folder, BrokenModel for one that is damaged, HashMismatch for weights
        that are not those of the card."""
        folder = Path(folder)
        if not (folder / CARD).is_file():
            raise ValueError(
                f"{folder} holds no {CARD}, so no classifier of ours; train one with 'trivium classifier', or name "
                "the folder that it wrote. Pickled models and fastText's files are not read: the former can run code"
            )
        try:
            card = json.loads((folder / CARD).read_text(encoding="utf-8"))
            said = card["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise BrokenModel(f"{folder / CARD} is no card of a classifier: {error}") from error
        if said != FORMAT:
            raise ValueError(f"{folder / CARD} has the format {said!r}, and this version reads {FORMAT}; train it anew")
        try:
            data = (folder / WEIGHTS).read_bytes()
            if files.sha256(data) != card["weights_sha256"]:
                raise HashMismatch(
                    f"{folder / WEIGHTS} is not what its card says; copy the folder again, or train anew"
                )
            tensors = load_tensors(data)
            weights, (bias,) = tensors["weights"], tensors["bias"]
            words, buckets = int(card["words"]), int(card["buckets"])
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise BrokenModel(f"{folder} is no whole classifier: {error}") from error
        if (
            weights.shape != (buckets,)
            or weights.dtype != np.float32
            or not np.isfinite(weights).all()
            or not math.isfinite(bias)
        ):
            raise BrokenModel(f"{folder / WEIGHTS} should hold {buckets} finite numbers of 32 bits")
        Recipe(words=words, buckets=buckets)
        return cls(weights, float(bias), words, card)


@lru_cache(maxsize=8)
def loaded(folder: str) -> LinearClassifier:
    """A classifier that is read once in a process."""
    return LinearClassifier.load(folder)


def features(text: str, words: int, buckets: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Places and values of a text's vector, which has length 1; nothing of a text without a word."""
    parts = word_hashes(normalised(text).split())
    runs = np.concatenate([run_hashes(parts, size) for size in range(1, min(words, len(parts)) + 1)] or [parts])
    at, counts = np.unique((runs & np.uint64(buckets - 1)).astype(np.int64), return_counts=True)
    value = np.log1p(counts.astype(np.float64))
    return at, value / np.sqrt(np.sum(value**2)) if len(value) else value


def _logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


@dataclass(frozen=True)
class Judged:
    """What a classifier is worth on texts that it did not learn from, at a score of 0.5."""

    texts: int
    positives: int
    accuracy: float
    majority: float
    """Accuracy of always saying the commoner class."""
    precision: float
    """NaN where nothing is said to be positive."""
    recall: float
    brier: float
    """Mean square of score less truth."""
    calibration_error: float
    """Mean distance of scores from the share of positives, over ten bins."""
    table: tuple[tuple[float, float, int], ...]
    """Per bin that holds a text: mean score, share of positives, texts."""


def judged(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> Judged:
    """Raises ValueError for no text."""
    if not len(scores):
        raise ValueError("there is no text to judge the classifier by")
    said = scores >= 0.5
    right = int((said & positive).sum())
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    table = tuple(
        (float(scores[place == b].mean()), float(positive[place == b].mean()), int((place == b).sum()))
        for b in range(BINS)
        if (place == b).any()
    )
    return Judged(
        len(scores), int(positive.sum()), float((said == positive).mean()),
        float(max(positive.mean(), 1 - positive.mean())),
        right / int(said.sum()) if said.any() else math.nan,
        right / int(positive.sum()) if positive.any() else math.nan,
        float(((scores - positive) ** 2).mean()),
        sum(abs(mean - share) * n for mean, share, n in table) / len(scores), table,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Taught:
    """A classifier and how it does on what was held out."""

    classifier: LinearClassifier
    held_out: Judged


def teach(positives: Iterable[str], negatives: Iterable[str], recipe: Recipe = Recipe()) -> Taught:
    """Learn to tell two kinds of texts apart. Raises ValueError for texts that are in both, for a kind of which too few
    are left to learn from or to judge by, and MissingExtra without scikit-learn."""
    linear = require("sklearn.linear_model", extra="data", why="classifiers are trained with scikit-learn")
    kinds = [list(positives), list(negatives)]
    digests = [[_digest(text) for text in texts] for texts in kinds]
    if both := set(digests[0]) & set(digests[1]):
        raise ValueError(f"{len(both)} texts are both positive and negative; a classifier cannot tell them apart")
    texts = kinds[0] + kinds[1]
    positive = np.array([True] * len(kinds[0]) + [False] * len(kinds[1]))
    held = np.array([int(d[:8], 16) / 2**32 < recipe.held_out for part in digests for d in part], bool)
    for name, of in (("positive", positive), ("negative", ~positive)):
        for what, where in (("learn from", ~held), ("judge by", held)):
            if not (of & where).any():
                raise ValueError(
                    f"of {int(of.sum())} {name} texts none is left to {what}; give more, about 100 at least"
                )
    vectors = _matrix(texts, recipe)
    model = linear.LogisticRegression(C=recipe.strength, max_iter=1000, tol=1e-6,
                                      class_weight="balanced" if recipe.balanced else None)  # fmt: skip
    model.fit(vectors[~held], positive[~held])
    card: dict[str, Any] = {
        "recipe": asdict(recipe),
        "texts": {"positive": len(kinds[0]), "negative": len(kinds[1])},
        "sha256": {name: hashlib.sha256("".join(sorted(part)).encode()).hexdigest()
                   for name, part in zip(("positive", "negative"), digests, strict=True)},
        "packages": {name: version(name) for name in ("scikit-learn", "numpy", "scipy")},
    }  # fmt: skip
    made = LinearClassifier(model.coef_[0].astype(np.float32), float(model.intercept_[0]), recipe.words, card)
    found = judged(made.scores([text for text, out in zip(texts, held, strict=True) if out]), positive[held])
    card["held_out"] = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(found).items()}
    return Taught(made, found)


def _digest(text: str) -> str:
    return hashlib.sha256(normalised(text).encode("utf-8", "surrogatepass")).hexdigest()


def _matrix(texts: Sequence[str], recipe: Recipe) -> Any:
    rows = [features(text, recipe.words, recipe.buckets) for text in texts]
    ends = np.cumsum([0, *(len(at) for at, _ in rows)])
    at, value = (np.concatenate([row[n] for row in rows]) for n in (0, 1))
    return csr_matrix((value, at, ends), shape=(len(texts), recipe.buckets))
