"""Quality: documents that a classifier takes for good ones, kept by a bound or, as GPT-3's data were, by chance.

Source
    Brown et al. 2020, "Language Models are Few-Shot Learners", arXiv:2005.14165, appendix A (a logistic regression over
    hashed words, Wikipedia and books against raw Common Crawl, and the Pareto draw); the same classifier with a bound
    is what Gunasekar et al. 2023, "Textbooks Are All You Need", arXiv:2306.11644, and DCLM, arXiv:2406.11794, do in
    kind. Smith et al. 2022, arXiv:2201.11990, draw with a shape of 3 (from memory).
Equation
    score = sigmoid(w . x + b),  x the hashed runs of one and two words;   u uniform from a hash of the document
    keep iff  X > 1 - score,  X = (1 - u)^(-1/alpha) - 1,  so  P(keep) = (2 - score)^(-alpha);   or iff  score >= least
Shapes
    texts (documents,) -> score and draw of each
Cost
    One hash per word and run, about 2,000 documents of 500 words a second; weights of 4 MB at the usual 2^20 buckets.
Caveats
    A classifier says how like its positive examples a text is, and nothing else: yours decide. Train one with 'trivium
    classifier'; it may as well stand for textbook-likeness or a domain. Without a folder a toy is trained on the spot,
    on stories of our own against planted junk, to see the method work. GPT-3 hashed the words of Spark's tokenizer;
    words stand between white space here, in small letters, and pairs of them count too. The draw depends on the
    text and ``seed`` alone, so copies share their fate, whatever machine or order they come in.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from trivium.core.method import method
from trivium.data.chance import uniform
from trivium.data.linear import LinearClassifier, Recipe, loaded, teach
from trivium.data.marks import Marks, Texts
from trivium.data.planted import JUNK, planted
from trivium.data.rules import Drop, Rules


@method(title="Quality classifier", source="arXiv:2005.14165", year=2020)
@dataclass(frozen=True)
class Quality:
    """Documents that are like good ones."""

    folder: str = ""
    """What 'trivium classifier' wrote; by default a toy that tells stories from junk."""
    keep: Literal["pareto", "threshold"] = "pareto"
    """Whether chance has a say: a draw leaves some documents with low scores in, or a bound decides alone."""
    alpha: float = 9.0
    """Shape of the Pareto law; a larger one keeps less of what has a low score."""
    least: float = 0.5
    """The bound."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.keep not in ("pareto", "threshold"):
            raise ValueError(f"keep must be one of pareto, threshold; got {self.keep!r}")
        if not 0.0 < self.alpha < float("inf"):
            raise ValueError(f"alpha is the shape of a Pareto law, so positive; got {self.alpha}")
        if not 0.0 <= self.least <= 1.0:
            raise ValueError(f"least is a chance, so 0 to 1; got {self.least}")

    @property
    def depends(self) -> str:
        """The digest of the classifier: a folder that was trained anew is another one."""
        return self._classifier.digest

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("score", "draw"))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset()

    @property
    def rules(self) -> Rules:
        if self.keep == "pareto":
            return Rules((Drop("quality.pareto", "quality.draw <= 1 - quality.score"),))
        return Rules((Drop("quality.score", f"quality.score < {self.least}"),))

    def tag(self, texts: Texts) -> Marks:
        """The chance that each is a good one, and its draw from the Pareto law."""
        chance = np.array([uniform(str(self.seed), text) for text in texts.texts], float)
        draw = (1.0 - chance) ** (-1.0 / self.alpha) - 1.0
        return Marks(len(texts), {"score": self._classifier.scores(texts.texts), "draw": draw})

    @property
    def _classifier(self) -> LinearClassifier:
        return loaded(self.folder) if self.folder else _toy()


@cache
def _toy() -> LinearClassifier:
    documents = list(planted(400, seed=1, shares=dict.fromkeys(JUNK, 0.08)))
    junk = [document.text for document in documents if document.metadata.get("planted")]
    good = [document.text for document in documents if not document.metadata.get("planted")]
    return teach(good, junk, Recipe(buckets=1 << 14)).classifier
