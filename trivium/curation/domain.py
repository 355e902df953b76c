"""Domain: documents that use the words of a field, and of those the ones that a judge takes for it.

Source
    Maatouk et al. 2024, "Tele-LLMs: A Series of Specialized Large Language Models for Telecommunications",
    arXiv:2409.05314: a wide net of keywords, then a language model that answers yes or no.
Equation
    distinct = number of different keywords in the text;   judged only where distinct >= least_words
    keep  iff  distinct >= least_words  and  not judged < least
Shapes
    texts (documents,) -> keywords, different keywords, and the judge's chance where it was asked
Cost
    One pass of a pattern; the judge's classifier over the first ``window`` characters of what is left.
Caveats
    The paper's judge is an instruction model, whose prompt and bound are not published; here it is a linear classifier,
    which 'trivium classifier' trains on examples of yours, or on documents that a model has judged. Without one the
    keywords decide alone, and precision is what they give. What was not judged is undecided, never a no. Our list of
    keywords of telecommunications is short: give your own.
"""

import re
from dataclasses import dataclass

import numpy as np

from trivium.core.method import method
from trivium.data.linear import loaded
from trivium.data.marks import Marks, Texts
from trivium.data.rules import Drop, Rules

TELECOMMUNICATIONS = (
    "3gpp", "5g", "6g", "antenna", "antennas", "bandwidth", "base station", "base stations", "beamforming", "fading",
    "handover", "lte", "mimo", "modulation", "ofdm", "radio access", "spectrum", "telecommunications", "throughput",
    "uplink", "downlink", "user equipment", "wireless",
)  # fmt: skip


@method(title="Domain by keywords and a judge", source="arXiv:2409.05314", year=2024)
@dataclass(frozen=True)
class Domain:
    """Documents of one field."""

    keywords: tuple[str, ...] = TELECOMMUNICATIONS
    """Words and phrases of the field, in small letters; they count as whole words."""
    least_words: int = 2
    """Different keywords that a document has at least."""
    judge: str = ""
    """The folder of a classifier that judges what the keywords let through; none by default."""
    least: float = 0.5
    """The judge's chance below which a document is dropped."""
    window: int = 2000
    """Characters from the beginning that the judge reads."""

    def __post_init__(self) -> None:
        if not self.keywords:
            raise ValueError("keywords must hold at least one word of the field")
        for word in self.keywords:
            if word != " ".join(word.lower().split()) or not word:
                raise ValueError(f"keywords are in small letters, with single blanks; got {word!r}")
        if self.least_words < 1 or self.window < 1:
            raise ValueError(f"least_words and window are at least 1, got {self.least_words} and {self.window}")
        if not 0.0 <= self.least <= 1.0:
            raise ValueError(f"least is a chance, so 0 to 1; got {self.least}")

    @property
    def depends(self) -> str:
        """The digest of the judge."""
        return loaded(self.judge).digest if self.judge else ""

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("words", "distinct", "judged"))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset()

    @property
    def rules(self) -> Rules:
        return Rules((
            Drop("domain.words", f"domain.distinct < {self.least_words}"),
            Drop("domain.judge", f"domain.judged < {self.least}"),
        ))  # fmt: skip

    def tag(self, texts: Texts) -> Marks:
        """Keywords of each, and of those with enough of them what the judge says; NaN of others."""
        listed = "|".join(
            re.escape(word).replace(r"\ ", r"\s+") for word in sorted(self.keywords, key=len, reverse=True)
        )
        pattern = re.compile(rf"(?<!\w)(?:{listed})(?!\w)")
        found = [[" ".join(one.split()) for one in pattern.findall(text.lower())] for text in texts.texts]
        distinct = np.array([len(set(row)) for row in found], float)
        judged = np.full(len(texts), np.nan)
        asked = np.flatnonzero(distinct >= self.least_words).tolist()
        if self.judge and len(asked):
            judged[asked] = loaded(self.judge).scores([texts.texts[place][: self.window] for place in asked])
        words = np.array([len(row) for row in found], float)
        return Marks(len(texts), {"words": words, "distinct": distinct, "judged": judged})
