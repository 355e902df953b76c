"""Stop words: a text in a language has some of its commonest words; lists of words have none.

Source
    Rae et al. 2021, "Scaling Language Models" (Gopher), arXiv:2112.11446, section A.1.1: at least two of eight English
    words. That other languages need lists of their own is what Messaoudi et al. 2021 (TunBERT), arXiv:2111.13138, and
    others after them found.
Equation
    drop where  |{stop words in the text}| < least  or  stop words / words < least_share
Shapes
    texts (documents,) -> different stop words, all of them, their share, and words
Cost
    One look-up per word.
Caveats
    The lists are ours, of some twenty to forty words in each language; Gopher's eight are ``words`` of their own, which
    a test compares. Words are runs of letters, in small ones, after NFC; so l'eau is two words, and what Arabic writes
    together is one. A language without spaces between words has none that could be found, and is refused. Close
    languages share many words: this tells prose from lists, not Danish from Norwegian.
"""

import re
import unicodedata
from dataclasses import dataclass

import numpy as np

from trivium.core.errors import UnknownName, did_you_mean
from trivium.core.method import method
from trivium.data.marks import Marks, Texts
from trivium.data.rules import Drop, Rules

LISTS = {
    "ar": "في من على إلى أن لا ما هذا هذه ذلك التي الذي كان كانت هو هي عن مع قد لم ثم كل أو بعد قبل حتى إذا و",
    "da": "og i at det er en et til på af for med den der som de har ikke jeg han hun var vi sig kan men fra om da",
    "de": "der die das und in zu den von mit ist ein eine nicht auf für sich dem des im er sie es an als auch war aber",
    "en": "the be to of and that have with a in is it for on as was at by he she they we not are this from or but his",
    "es": "de la que el en y a los se del las un por con no una su para es al lo como más pero sus le ya o fue ha",
    "fr": "de la le et les des en un une du est que qui dans pour il elle sur pas au ne se par avec son ce l d sont",
    "grc": "καί καὶ ὁ ἡ τό τὸ τοῦ τῆς τῶν τόν τὸν τήν τὴν τοῖς τῷ δέ δὲ δ μέν μὲν γάρ γὰρ ἐν εἰς ἐκ οὐ οὐκ τε ὡς "
    "ἐπί ἐπὶ πρός πρὸς ἀλλά ἀλλὰ οἱ τά τὰ τούς τοὺς ἦν ἐστι ἐστιν",
    "it": "di e il la che in un una è per non con del da i le si al dei della sono ma come più lo gli ha nel l era",
    "nb": "og i å det er en et til på av for med den som de har ikke jeg han hun var vi seg kan men fra om da når",
    "nl": "de het een en van in is dat op te zijn met voor niet die er aan hij ze ik was maar om ook als bij naar",
    "nn": "og i å det er ein ei eit til på av for med den som dei har ikkje eg han ho var vi seg kan men frå om då når",
    "pt": "de a o que e do da em um uma para com não os as no na se por mais dos das foi ao mas ele ela é seu sua",
    "ru": "и в не на я что он с как это по но из у за то все она так его к от же о для мы ты бы был была было",
    "sv": "och i att det är en ett till på av för med den som de har inte jag han hon var vi sig kan men från om då",
}
"""By the tag of the language; of Norwegian there are nb and nn."""
GOPHER = ("the", "be", "to", "of", "and", "that", "have", "with")
_WORD = re.compile(r"[^\W\d_]+")


@method(title="Stop words", source="arXiv:2112.11446", year=2021)
@dataclass(frozen=True)
class StopWords:
    """Documents that speak in sentences of a language."""

    language: str = "en"
    """Tag of the language whose list is taken."""
    words: tuple[str, ...] = ()
    """A list of your own, in small letters, in place of the language's."""
    least: int = 2
    """Different stop words that a document has to have."""
    least_share: float = 0.0
    """Least share of its words that are stop words."""

    def __post_init__(self) -> None:
        if not self.words and self.language not in LISTS:
            raise UnknownName(
                f"there are no stop words of {self.language!r}{did_you_mean(self.language, LISTS)}; there are some of "
                f"{', '.join(LISTS)}: give others as words=(...)"
            )
        for word in self.words:
            if not _WORD.fullmatch(_plain(word)) or _plain(word) != word:
                raise ValueError(f"words are single runs of letters, small and in NFC, as texts are read; got {word!r}")
        if self.least < 0 or self.least > len(self._listed):
            raise ValueError(f"least is 0 to {len(self._listed)}, as many as are listed; got {self.least}")
        if not 0.0 <= self.least_share <= 1.0:
            raise ValueError(f"least_share is a share, so 0 to 1; got {self.least_share}")

    @property
    def _listed(self) -> frozenset[str]:
        return frozenset(self.words or _plain(LISTS[self.language]).split())

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("distinct", "count", "share", "words"))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset()

    @property
    def rules(self) -> Rules:
        share = [Drop("stop_words.share", f"stop_words.share < {self.least_share}")] if self.least_share else []
        return Rules((Drop("stop_words.distinct", f"stop_words.distinct < {self.least}"), *share))

    def tag(self, texts: Texts) -> Marks:
        """Four numbers of each; the share is 0 where there is no word."""
        listed, rows = self._listed, []
        for text in texts.texts:
            words = _WORD.findall(_plain(text))
            stops = [word for word in words if word in listed]
            rows.append((len(set(stops)), len(stops), len(stops) / len(words) if words else 0.0, len(words)))
        names = ("distinct", "count", "share", "words")
        columns = np.array(rows, float).reshape(-1, len(names)).T
        return Marks(len(texts), dict(zip(names, columns, strict=True)))


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text.lower())
