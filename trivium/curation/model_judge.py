"""A language model as a judge: how like a page of a textbook a document is, from 1 to 5, in the model's own words.

Source
    Tan and Wang 2024, "1.5-Pints Technical Report: Pretraining in Days, Not Months", arXiv:2408.03506: a small corpus
    of expository, textbook-like prose, chosen by scores; that a model is asked for such scores is what Gunasekar et al.
    2023, "Textbooks Are All You Need", arXiv:2306.11644, do with one of OpenAI's.
Equation
    score = the whole number from 1 to 5 that the model's answer begins with;   drop where  score < least
Shapes
    texts (documents,) -> a score per document, whether the answer held none
Cost
    One pass of the model over the beginning of each document, and a few tokens written, in batches.
Caveats
    1.5-Pints had people score samples of each source and chose sources, not documents; its rubric is not known to us,
    so question and scale of 1 to 5 are our own. Small models follow neither: in the claim SmolLM2-135M gave a 1 to all
    that it scored, manual or junk. Look at the share of invalid answers, and compare scores with some of your own,
    before you trust one. An answer that does not begin with a number of the scale
    is invalid, counted and told of; its document has no score and stays unless ``invalid="drop"``. Only the beginning
    of a document is read. Who writes a document can write to the judge too ("the score is 5"): this is no guard against
    authors. The default model knows stories alone and answers nothing of use; it is there so that the method runs.
"""

import logging
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from trivium.core.method import method
from trivium.data.marks import Marks, Texts
from trivium.data.rules import Drop, Rules
from trivium.models.fingerprint import fingerprint
from trivium.models.library import expert
from trivium.models.system import System
from trivium.models.writing import Prompt, write

log = logging.getLogger(__name__)

QUESTION = (
    "Here is the beginning of a document.\n\n<document>\n{text}\n</document>\n\n"
    "How much is it like a page of a good textbook? 5: it explains something clearly, in whole sentences, to somebody "
    "who wants to learn. 3: it is readable prose with little to learn from. 1: it is a list, an advertisement, a menu "
    "or noise. Answer with one number from 1 to 5 and nothing else.\nScore:"
)
"""The document stands first, so that a model with little room loses of it and not of the question."""
_SCORE = re.compile(r"\W*(?:(?:score|rating)\b\W*)?([1-5])(?!\w|[.,]\d)", re.IGNORECASE)
_TOKENS = 4


@method(title="Textbook judge", source="arXiv:2408.03506", year=2024)
@dataclass(frozen=True)
class ModelJudge:
    """Documents that a model takes for pages of a textbook."""

    model: str = "tiny"
    """A folder, a known name, a hub identifier, or "server:http://HOST:PORT/v1?model=NAME"."""
    least: int = 3
    """Score from which a document stays."""
    invalid: Literal["keep", "drop"] = "keep"
    """What becomes of a document of which the model said something else."""
    question: str = QUESTION
    """With {text} where the document goes; the answer is to begin with a number from 1 to 5."""
    characters: int = 1000
    """Of a document that are shown."""
    batch_size: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.least <= 5:
            raise ValueError(f"least is a score, so 1 to 5; got {self.least}")
        if self.invalid not in ("keep", "drop"):
            raise ValueError(f"invalid must be one of keep, drop; got {self.invalid!r}")
        if "{text}" not in self.question:
            raise ValueError(f"question has {{text}} where the document goes; got {self.question[:80]!r}")
        for name in ("characters", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def depends(self) -> str:
        """The model's weights, whatever folder they lie in, or what a server says that it serves."""
        judge = _judge(self.model)
        return fingerprint(judge.model) if isinstance(judge, System) else judge.fingerprint

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("score", "invalid"))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset()

    @property
    def rules(self) -> Rules:
        wrong = [Drop("model_judge.invalid", "model_judge.invalid > 0")] if self.invalid == "drop" else []
        return Rules((*wrong, Drop("model_judge.score", f"model_judge.score < {self.least}")))

    def tag(self, texts: Texts) -> Marks:
        """Scores, missing where the answer holds none or there is nothing to judge; a warning says how many are not
        valid. Raises as ``models.writing.write`` does."""
        judge = _judge(self.model)
        shown = [text[: self.characters].encode("utf-8", "replace").decode() for text in texts.texts]
        places = [place for place, text in enumerate(shown) if text.strip()]
        asked = [self.question.replace("{text}", shown[place]) for place in places]
        if isinstance(judge, System):
            asked = [judge.chat(one) for one in asked]
        prompts = [Prompt(one, until=("\n",), limit=_TOKENS) for one in asked]
        score, invalid = np.full(len(texts), math.nan), np.zeros(len(texts))
        for place, answer in zip(
            places, write(judge, prompts, batch_size=self.batch_size) if prompts else (), strict=True
        ):
            score[place] = scored(answer.text)
            invalid[place] = float(math.isnan(score[place]))
        if count := int(invalid.sum()):
            log.warning("%s: %d of %d answers begin with no score from 1 to 5", self.model, count, len(places))
        return Marks(len(texts), {"score": score, "invalid": invalid})


def scored(answer: str) -> float:
    """The score that an answer begins with; NaN where there is none."""
    found = _SCORE.match(answer)
    return float(found[1]) if found else math.nan


@lru_cache(maxsize=2)
def _judge(name: str) -> System:
    return expert(name)
