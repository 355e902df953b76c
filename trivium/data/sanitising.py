"""Private details out of a text, and back in: typed placeholders, and words replaced by others that are near.

    placeholders   Write to ada@example.org or +44 20 7946 0018  ->  Write to [EMAIL_1] or [PHONE_1]
    replacement    p(w' | w)  proportional to  exp(-epsilon d(w, w') / 2)   over a fixed vocabulary

Placeholders are found by patterns and by lists of names: what no pattern knows stays in, and nothing is promised. What
was taken out is kept in the map, which must not leave the place where the text may be read. Replacement is private in
the metric sense (Feyisetan et al. 2020, arXiv:1910.08902, with an exponential mechanism): two texts of words w_i and
v_i are epsilon * sum_i d(w_i, v_i) indistinguishable; the 2 is for the normaliser, which depends on w too. That one
was written at all, and how long it is, stays visible.
"""

import re
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

Kind = Literal["email", "phone", "number", "name"]

PATTERNS: dict[str, str] = {
    "email": r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    "phone": r"(?<![\w.])\+?\(?\d{1,4}\)?(?:[ /-]\(?\d{2,5}\)?){2,5}(?![\w-])|(?<!\w)\+\d{7,15}(?!\w)",
    "number": r"(?<!\w)\d+(?:[.,:/-]\d+)*(?!\w)",
}
"""In the order in which they are looked for: what an earlier one has found is no number any more."""

GIVEN = """
Ada Adam Alice Andrew Anna Anne Ben Carl Carlos Charles Chloe Clara Daniel David Elena Emily Emma Eric Eva Felix
Frank George Grace Hannah Helen Henry Ines Ivan Jack James Jane John Jose Julia Karl Laura Lena Leo Lily Louis Lucy
Luis Maria Mark Martin Mary Max Michael Mohammed Nina Oliver Olga Omar Paul Peter Robert Rosa Samuel Sara Sarah
Simon Sofia Thomas Tom William
"""
NAMES = tuple(GIVEN.split())
"""Given names that are looked for where no others are named."""


@dataclass(frozen=True)
class Sanitised:
    """Texts of one record without their details; ``originals`` tells what stood where each placeholder stands."""

    texts: tuple[str, ...]
    originals: dict[str, str] = field(repr=False)

    @property
    def text(self) -> str:
        """The only text. Raises ValueError where there are several."""
        if len(self.texts) != 1:
            raise ValueError(f"the record has {len(self.texts)} texts; take them from texts")
        return self.texts[0]

    def restore(self, text: str) -> str:
        """A text, such as an answer, with the details in place of their placeholders; each is put in once."""
        if not self.originals:
            return text
        pattern = "|".join(map(re.escape, sorted(self.originals, key=len, reverse=True)))
        return re.sub(pattern, lambda found: self.originals[found[0]], text)


@dataclass(frozen=True)
class Sanitiser:
    """What is looked for."""

    kinds: tuple[Kind, ...] = ("email", "phone", "number", "name")
    names: tuple[str, ...] = NAMES
    """Given names; capitalised words right behind one belong to it."""

    def __post_init__(self) -> None:
        wrong = [kind for kind in self.kinds if kind not in get_args(Kind)]
        if wrong or not self.kinds:
            raise ValueError(f"kinds must be some of {', '.join(get_args(Kind))}; got {list(self.kinds)}")
        if "name" in self.kinds and not (self.names and all(name.strip() for name in self.names)):
            raise ValueError("names must be a list of names, none of them empty; leave 'name' out of kinds for none")

    def __call__(self, *texts: str) -> Sanitised:
        """The texts of one record. The same detail has the same placeholder in all of them; a placeholder that stands
        in a text already is not used. Raises ValueError for no text."""
        if not texts:
            raise ValueError("there is no text to sanitise")
        together, known, counts = "\n".join(texts), {}, dict.fromkeys(self.kinds, 0)

        def put(found: re.Match[str]) -> str:
            kind, detail = str(found.lastgroup), found[0]
            if (kind, detail) not in known:
                while True:
                    counts[kind] += 1  # type: ignore[index]
                    name = f"[{kind.upper()}_{counts[kind]}]"  # type: ignore[index]
                    if name not in together:
                        break
                known[kind, detail] = name
            return known[kind, detail]

        pattern = re.compile("|".join(f"(?P<{kind}>{self._pattern(kind)})" for kind in self._ordered()))
        done = tuple(pattern.sub(put, text) for text in texts)
        return Sanitised(done, {name: detail for (_, detail), name in known.items()})

    def _ordered(self) -> list[Kind]:
        return [kind for kind in get_args(Kind) if kind in self.kinds]

    def _pattern(self, kind: Kind) -> str:
        if kind != "name":
            return PATTERNS[kind]
        names = "|".join(map(re.escape, sorted(self.names, key=len, reverse=True)))
        return rf"\b(?:{names})\b(?:[ ]{CAPITALISED})*"


CAPITALISED = r"[A-ZÀ-ÖØ-Þ][\w'’-]*"


def replacement_logp(distance: Tensor, epsilon: float) -> Tensor:
    """(..., vocabulary) distances from a word -> log-probabilities of what stands in its place."""
    if not epsilon > 0:
        raise ValueError(f"epsilon must be positive, got {epsilon}; the larger, the more often a word stays")
    return (-epsilon * distance.double() / 2).log_softmax(-1)


def replaced(ids: Tensor, vectors: Tensor, epsilon: float, *, generator: torch.Generator, chunk: int = 1024) -> Tensor:
    """(time,) ids -> (time,) ids that stand in their places; ``vectors`` (vocabulary, width) say what is near what, by
    Euclidean distance, in whose unit ``epsilon`` is. Raises ValueError for an id without a vector."""
    if ids.ndim != 1 or vectors.ndim != 2:
        raise ValueError(f"give (time,) ids and (vocabulary, width) vectors, got {ids.shape} and {vectors.shape}")
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < len(vectors):
        raise ValueError(f"ids {int(ids.min())} to {int(ids.max())} do not fit a vocabulary of {len(vectors)} vectors")
    made = []
    for some in ids.split(chunk):
        logp = replacement_logp(torch.cdist(vectors[some].double(), vectors.double()), epsilon)
        made.append(torch.multinomial(logp.exp(), 1, generator=generator)[:, 0])
    return torch.cat(made) if made else ids
