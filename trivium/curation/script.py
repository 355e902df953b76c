"""Script: the share of a document's letters that are of the scripts that are wanted.

Source
    Messaoudi et al. 2021, "TunBERT", arXiv:2111.13138, leaves text of other scripts than the dialect's out; no bound is
    given. Scripts are those of Unicode Standard Annex 24.
Equation
    share(script) = letters of the script / letters;   drop where  sum over wanted scripts < least
Shapes
    texts (documents,) -> a share for each wanted script, that of the others, and how many letters there are
Cost
    One pass of a pattern per wanted script, some ten million characters a second.
Caveats
    A script is no language: Latin is that of hundreds. Letters that are of no script by Unicode (signs of mathematics,
    modifiers) count among the others, and so do all signs that are no letters not at all: vowels that stand on a
    letter, as in Hindi, are marks and have no say. A document without a letter has no share and is kept unless
    ``missing(script.wanted)`` is a rule of yours. The bound is ours.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import regex

from trivium.core.errors import UnknownName
from trivium.core.method import method
from trivium.data.marks import Marks, Texts
from trivium.data.rules import Drop, Rules

_LETTER = regex.compile(r"\p{L}")


@method(title="Share of a script", source="arXiv:2111.13138", year=2021)
@dataclass(frozen=True)
class Script:
    """Documents in the scripts that are wanted."""

    keep: tuple[str, ...] = ("Latin",)
    """Names of scripts in Unicode, such as Latin, Greek, Cyrillic, Arabic, Han, Hiragana."""
    least: float = 0.5
    """Least share of all the wanted ones together."""

    def __post_init__(self) -> None:
        if not self.keep or len(set(map(str.lower, self.keep))) < len(self.keep):
            raise ValueError(f"keep names each script that is wanted once, and at least one; got {self.keep}")
        if not 0.0 <= self.least <= 1.0:
            raise ValueError(f"least is a share, so 0 to 1; got {self.least}")
        for name in self.keep:
            _letters_of(name)

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("letters", "wanted", "other", *(f"share_{name.lower()}" for name in self.keep)))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset()

    @property
    def rules(self) -> Rules:
        return Rules((Drop("script.wanted", f"script.wanted < {self.least}"),))

    def tag(self, texts: Texts) -> Marks:
        """Shares that are 1 together; all but the number of letters are missing where there is none."""
        numbers: dict[str, list[float]] = {name: [] for name in self.measures}
        for text in texts.texts:
            letters = len(_LETTER.findall(text))
            counts = {f"share_{name.lower()}": len(_letters_of(name).findall(text)) for name in self.keep}
            wanted = sum(counts.values())
            for name, count in (counts | {"wanted": wanted, "other": letters - wanted}).items():
                numbers[name].append(count / letters if letters else math.nan)
            numbers["letters"].append(letters)
        return Marks(len(texts), {name: np.array(column, float) for name, column in numbers.items()})


@cache
def _letters_of(name: str) -> regex.Pattern[str]:
    """What finds a letter of this script. Raises UnknownName."""
    try:
        if not name.replace("_", "").isalpha():
            raise regex.error("no name")
        return regex.compile(rf"[\p{{L}}&&\p{{Script={name}}}]", regex.V1)
    except regex.error as error:
        raise UnknownName(f"Unicode has no script named {name!r}; write one such as Latin, Cyrillic or Han") from error
