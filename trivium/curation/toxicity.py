"""Toxicity: sentences that a classifier takes for insults are cut out, or their documents dropped.

Source
    Soldaini et al. 2024, "Dolma", arXiv:2402.00159, section 5.1.4: classifiers of hate and of obscenity, per sentence;
    spans with a score of at least 0.4 are deleted.
Equation
    score(sentence) = sigmoid(w . x + b) by a linear classifier over hashed runs of words, or what a classifier of
    Hugging Face gives to its labels: sum of softmax where they exclude each other, else the highest sigmoid
    cut a sentence with score >= least;   drop a document with more than ``most`` of its characters in such sentences
Shapes
    texts (documents,) -> spans of sentences with their scores, the highest score, how many sentences there are
Cost
    One hash per word and run of two; a thousand documents of 500 words a second or more. With a model one pass for each
    different sentence, by itself: some tens a second of BERT's size on a processor.
Caveats
    Dolma's classifiers are fastText models trained on Jigsaw's comments, which are not ours to ship: train one with
    'trivium classifier' on texts that you are allowed to use, sentences rather than pages. Without a folder a toy is
    trained on the spot, on insults from templates, to see the method work. A linear classifier knows words, not what
    is meant: it takes quotations, dialects and names of groups for insults where its examples do, and so do models. Of
    a sentence a model reads what it has positions for. Bounds of one classifier are not those of another. Sentences end
    by a pattern. Whether the share of the text is a reason to drop it is our addition.
"""

import itertools
import re
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from trivium.core.method import method
from trivium.data.linear import LinearClassifier, Recipe, loaded, teach
from trivium.data.marks import Marks, Span, Texts
from trivium.data.rules import Cut, Drop, Rules
from trivium.data.stories import story
from trivium.models.sequence_classifier import classifier

_SENTENCE = re.compile(r"\S(?:[^.!?…\n]|[.!?…](?![\"')\]”’]*(?:\s|$)))*+(?:[.!?…]+[\"')\]”’]*)?")
"""From a sign that is no blank to an end mark before white space, with what closes it, or to the end of the line."""


@method(title="Toxic sentences", source="arXiv:2402.00159", year=2024)
@dataclass(frozen=True)
class Toxicity:
    """Sentences that insult."""

    folder: str = ""
    """What 'trivium classifier' wrote, with toxic sentences as positives; by default a toy that knows a few insults."""
    model: str = ""
    """In place of a folder any sequence classifier in Hugging Face's format: its folder or hub identifier."""
    labels: tuple[str, ...] = ()
    """Those of the model's labels that count as toxic, such as ("toxic", "threat")."""
    least: float = 0.4
    """Score from which a sentence is marked and cut."""
    most: float = 0.3
    """Share of the characters in marked sentences above which a document is dropped."""

    def __post_init__(self) -> None:
        if self.folder and self.model:
            raise ValueError(f"folder={self.folder!r} and model={self.model!r} are two classifiers; give one of them")
        if self.labels and not self.model:
            raise ValueError(f"labels={self.labels} are those of a model=...; a linear classifier has one class")
        for name in ("least", "most"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a share, so 0 to 1; got {getattr(self, name)}")

    @property
    def depends(self) -> str:
        """The digest of the classifier."""
        return classifier(self.model).fingerprint if self.model else self._classifier.digest

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("highest", "sentences"))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset(("toxic",))

    @property
    def rules(self) -> Rules:
        return Rules(
            (Drop("toxicity.share", f"toxicity.toxic.share > {self.most}"),), (Cut("toxicity.toxic", least=self.least),)
        )

    def tag(self, texts: Texts) -> Marks:
        """Sentences from ``least`` on, with their scores; a text without a sentence has 0 as its highest."""
        cuts = [[found.span() for found in _SENTENCE.finditer(text)] for text in texts.texts]
        sentences = [text[a:b] for text, row in zip(texts.texts, cuts, strict=True) for a, b in row]
        scores = iter(self._scores(sentences).tolist())
        spans: list[list[Span]] = []
        highest = []
        for row in cuts:
            scored = [(start, end, next(scores)) for start, end in row]
            highest.append(max((score for *_, score in scored), default=0.0))
            spans.append([span for span in scored if span[2] >= self.least])
        numbers = {"highest": np.array(highest, float), "sentences": np.array([len(row) for row in cuts], float)}
        return Marks(len(texts), numbers, {"toxic": spans})

    def _scores(self, sentences: list[str]) -> NDArray[np.floating]:
        """(sentences,)"""
        if self.model:
            return classifier(self.model).scores(sentences, self.labels)
        return self._classifier.scores(sentences)

    @property
    def _classifier(self) -> LinearClassifier:
        return loaded(self.folder) if self.folder else _toy()


_WHO = ("you", "you all", "your friend", "this author", "that man", "the lot of you", "he", "she", "they")
_WHAT = ("idiot", "idiots", "moron", "fool", "scum", "filth", "worthless pig", "stupid liar", "disgusting coward")
_HOW = (
    "{who} are a {what}!", "{who} is nothing but a {what}.", "shut up, {what}.", "what a {what} {who} must be!",
    "nobody likes a {what} like {who}.", "go to hell, {who}, you {what}!",
)  # fmt: skip


@cache
def _toy() -> LinearClassifier:
    insults = {
        how.format(who=who, what=what).capitalize() for how, who, what in itertools.product(_HOW, _WHO, _WHAT)
    }  # fmt: skip
    plain = {
        found[0] for number in range(150) for found in _SENTENCE.finditer(story(3, number))
    } | {f"{who.capitalize()} are welcome, and nobody likes a long night like {who}." for who in _WHO}  # fmt: skip
    return teach(sorted(insults), sorted(plain), Recipe(buckets=1 << 14)).classifier
