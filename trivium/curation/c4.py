"""C4's rules: lines that do not end like sentences go, and pages with braces, filler or few sentences.

Source
    Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
    arXiv:1910.10683, section 2.2; the second reading is that of datatrove 0.10.1.
Equation
    cut a line that ends in none of . ? ! ", has fewer than 3 words, or speaks of javascript
    drop a page with a brace or "lorem ipsum", or fewer than 5 sentences in the lines that stay
Shapes
    texts (documents,) -> numbers per document, spans of the lines that are cut
Cost
    One pass over the lines of a text.
Caveats
    In datatrove's reading rules go line by line in a fixed order, so that a brace in a line that has fallen already
    does not drop its page; it also cuts lines about cookies and words of over 1000 characters. Its removal of citations
    such as [1] is left out here. Sentences are counted by a pattern. A list of bad words is yours to give: without one
    nobody has looked. Cutting a line takes the break behind it along.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from trivium.core.method import method
from trivium.data.marks import Marks, Span, Texts
from trivium.data.quality_rules import LINE_FAULTS, PAGE_FAULTS, measure
from trivium.data.rules import Cut, Drop, Rules

_LINES = {"paper": ("no_terminal_punctuation", "too_few_words", "javascript"), "datatrove": LINE_FAULTS}
_PAGES = {"paper": ("curly_brace", "lorem_ipsum", "bad_words"), "datatrove": PAGE_FAULTS}


@method(title="C4 rules", source="arXiv:1910.10683", year=2020)
@dataclass(frozen=True)
class C4:
    """Lines that are no sentences, pages that are no prose."""

    variant: Literal["paper", "datatrove"] = "paper"
    """Whose reading of the rules."""
    least_sentences: int = 5
    """Some toolkits ask for 3."""
    bad_words: tuple[str, ...] = ()
    """In small letters; a page with one is dropped. Only the paper's reading has them."""

    def __post_init__(self) -> None:
        if self.variant not in _LINES:
            raise ValueError(f"variant must be one of {', '.join(_LINES)}; got {self.variant!r}")
        if self.least_sentences < 0:
            raise ValueError(f"least_sentences must be at least 0, got {self.least_sentences}")
        if self.bad_words and self.variant != "paper":
            raise ValueError("bad_words belong to variant='paper'; the other reading has no such rule")
        for word in self.bad_words:
            if word != word.lower() or not word.strip():
                raise ValueError(f"bad_words are in small letters and not empty, got {word!r}")

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("line_count", "sentences", *(f"page_{name}" for name in _PAGES[self.variant])))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset(_LINES[self.variant])

    @property
    def rules(self) -> Rules:
        pages = [Drop(f"c4.{name}", f"c4.page_{name} > 0") for name in _PAGES[self.variant]]
        few = Drop("c4.sentences", f"c4.sentences < {self.least_sentences}")
        return Rules((*pages, few), tuple(Cut(f"c4.{name}") for name in sorted(self.marks)))

    def tag(self, texts: Texts) -> Marks:
        """Each line that falls, by the first rule that it breaks, and what the page holds."""
        numbers: dict[str, list[float]] = {name: [] for name in self.measures}
        spans: dict[str, list[list[Span]]] = {name: [] for name in self.marks}
        variant = {"paper": "c4", "datatrove": "c4_datatrove"}[self.variant]
        for text in texts.texts:
            found = measure(text, variant, bad_words=self.bad_words if self.variant == "paper" else None)
            for name in ("line_count", "sentences"):
                numbers[name].append(found.numbers[name])
            for name in _PAGES[self.variant]:
                numbers[f"page_{name}"].append(found.numbers[name])
            for name in self.marks:
                spans[name].append([_with_break(text, span) for span in found.spans.get(name, ())])
        return Marks(len(texts), {name: np.array(column, float) for name, column in numbers.items()}, spans)


def _with_break(text: str, span: Span) -> Span:
    start, end, score = span
    if text.startswith("\r\n", end):
        return start, end + 2, score
    return start, end + (end < len(text)), score
