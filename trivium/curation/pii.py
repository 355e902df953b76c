"""Personal information: e-mail addresses, telephone numbers and network addresses, found by pattern and masked.

Source
    Soldaini et al. 2024, "Dolma", arXiv:2402.00159, section 5.1.3 and the published tagger (1.2.1).
Equation
    spans of three patterns;   more than 5 of them drop a document, fewer are replaced by their kind
Shapes
    texts (documents,) -> spans of each kind, how many there are of all
Cost
    Three regular expressions over each text; texts with more than 10,000 question marks are not looked at, and say so.
Caveats
    Patterns, so that names, streets and accounts are not found, and numbers that look alike are. Of the published
    tagger two faults are left out: it misses an address at the very end of a text, and its guard against URLs never
    fires for a backspace in a pattern. Telephone numbers are American ones, of 3-3-4 digits. A number is passed over
    where "isbn", "doi" or "#" stands within 100 characters.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from trivium.core.method import method
from trivium.data.marks import Marks, Span, Texts
from trivium.data.rules import Cut, Drop, Rules

EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}+@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+(?![\w@-])")
PHONE = re.compile(r"(?<!\S)\(?(?<!\d)\d{3}\)?[-. ]{0,2}\d{3}[-. ]?\d{4}(?![\w-])")
IP = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w])(?!\.\d)")
NEAR, SIGNS = 100, ("isbn", "doi", "#")
QUESTIONS = 10_000
"""Question marks above which a text is not looked at."""

_MASKS = {"email": " |||EMAIL_ADDRESS||| ", "phone": " |||PHONE_NUMBER||| ", "ip": " |||IP_ADDRESS||| "}


@method(title="Personal information by pattern", source="arXiv:2402.00159", year=2024)
@dataclass(frozen=True)
class PII:
    """Addresses and numbers that lead to somebody."""

    most: int = 5
    """Documents with more passages than this are dropped; in others they are masked."""

    def __post_init__(self) -> None:
        if self.most < 0:
            raise ValueError(f"most must be at least 0, got {self.most}")

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("passages", "looked"))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset(_MASKS)

    @property
    def rules(self) -> Rules:
        cuts = tuple(Cut(f"pii.{kind}", by=mask) for kind, mask in _MASKS.items())
        return Rules((Drop("pii.passages", f"pii.passages > {self.most}"),), cuts)

    def tag(self, texts: Texts) -> Marks:
        """Spans of each kind, each with score 1; ``looked`` is 0 for a text that would have taken too long."""
        looked = [text.count("?") <= QUESTIONS for text in texts.texts]
        spans: dict[str, list[list[Span]]] = {
            kind: [find(text) if seen else [] for text, seen in zip(texts.texts, looked, strict=True)]
            for kind, find in _FIND.items()
        }
        passages = np.array([sum(map(len, row)) for row in zip(*spans.values(), strict=True)], float)
        return Marks(len(texts), {"passages": passages, "looked": np.array(looked, float)}, spans)


def _emails(text: str) -> list[Span]:
    return [(*found.span(), 1.0) for found in EMAIL.finditer(text)]


def _phones(text: str) -> list[Span]:
    return [(*found.span(), 1.0) for found in PHONE.finditer(text) if not _technical(text, found.start(), found.end())]


def _addresses(text: str) -> list[Span]:
    return [
        (*found.span(), 1.0)
        for found in IP.finditer(text)
        if all(int(part) < 256 for part in found[0].split(".")) and not _technical(text, found.start(), found.end())
    ]


def _technical(text: str, start: int, end: int) -> bool:
    around = text[max(start - NEAR, 0) : end + NEAR].lower()
    return any(sign in around for sign in SIGNS)


_FIND: Mapping[str, Callable[[str], list[Span]]] = {"email": _emails, "phone": _phones, "ip": _addresses}
