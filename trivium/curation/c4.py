"""C4's rules: lines that do not end like sentences go, and pages with braces, filler or few sentences.

Source
    Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
    arXiv:1910.10683, section 2.2; the other readings are those of the published code of datatrove 0.10.1 and of the two
    taggers of Dolma 1.2.1 (Soldaini et al. 2024, arXiv:2402.00159).
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
    nobody looks, and there is neither the number nor the rule. Cutting a line takes the break behind it along. Dolma
    only measures: of its signals the paper names lines without an end mark, and they alone are cut here (whether its
    mixes used more is from memory); for the others write rules, as "c4.has_curly_brace > 0". Its two taggers differ in
    javascript, which the first finds as a word between blanks and the second inside of words too.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from trivium.core.method import method
from trivium.data.marks import Marks, Span, Texts
from trivium.data.quality_rules import LINE_FAULTS, PAGE_FAULTS, measure
from trivium.data.rules import Cut, Drop, Rules

_LINES = {
    "paper": ("no_terminal_punctuation", "too_few_words", "javascript"),
    "datatrove": LINE_FAULTS,
    "dolma_v1": ("lines_with_no_ending_punctuation", "lines_with_too_few_words"),
    "dolma_v2": ("lines_with_no_ending_punctuation", "lines_with_too_few_words"),
}
_PAGES = {"paper": ("curly_brace", "lorem_ipsum"), "datatrove": PAGE_FAULTS}
_SIGNS = ("has_curly_brace", "has_javascript", "has_lorem_ipsum")
_READINGS = {"paper": "c4", "datatrove": "c4_datatrove", "dolma_v1": "c4_dolma_v1", "dolma_v2": "c4_dolma_v2"}


@method(title="C4 rules", source="arXiv:1910.10683", year=2020)
@dataclass(frozen=True)
class C4:
    """Lines that are no sentences, pages that are no prose."""

    variant: Literal["paper", "datatrove", "dolma_v1", "dolma_v2"] = "paper"
    """Whose reading of the rules."""
    least_sentences: int = 5
    """Some toolkits ask for 3, and Dolma's do not count them."""
    bad_words: tuple[str, ...] = ()
    """In small letters; the paper drops a page with one, Dolma says that there is one, datatrove does not look."""

    def __post_init__(self) -> None:
        if self.variant not in _LINES:
            raise ValueError(f"variant must be one of {', '.join(_LINES)}; got {self.variant!r}")
        if self.least_sentences < 0:
            raise ValueError(f"least_sentences must be at least 0, got {self.least_sentences}")
        if self.bad_words and self.variant == "datatrove":
            raise ValueError("variant='datatrove' has no rule about bad_words; the other readings have")
        for word in self.bad_words:
            if word != word.lower() or not word.strip():
                raise ValueError(f"bad_words are in small letters and not empty, got {word!r}")

    @property
    def _dolma(self) -> bool:
        return self.variant.startswith("dolma")

    @property
    def _pages(self) -> tuple[str, ...]:
        """Signs of pages that are looked for, as the reading calls them."""
        if self._dolma:
            return (*_SIGNS, *(["has_naughty_word"] if self.bad_words else []))
        return (*_PAGES[self.variant], *(["bad_words"] if self.bad_words else []))

    @property
    def measures(self) -> frozenset[str]:
        if self._dolma:
            return frozenset(("line_count", *self._pages))
        return frozenset(("line_count", "sentences", *(f"page_{name}" for name in self._pages)))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset(_LINES[self.variant])

    @property
    def rules(self) -> Rules:
        if self._dolma:
            return Rules((), (Cut("c4.lines_with_no_ending_punctuation"),))
        pages = [Drop(f"c4.{name}", f"c4.page_{name} > 0") for name in self._pages]
        few = Drop("c4.sentences", f"c4.sentences < {self.least_sentences}")
        return Rules((*pages, few), tuple(Cut(f"c4.{name}") for name in sorted(self.marks)))

    def tag(self, texts: Texts) -> Marks:
        """The lines that fall, in the paper's and datatrove's reading by the first rule that each breaks, and what the
        page holds."""
        numbers: dict[str, list[float]] = {name: [] for name in self.measures}
        spans: dict[str, list[list[Span]]] = {name: [] for name in self.marks}
        bad = frozenset(self.bad_words) or None
        for text in texts.texts:
            found = measure(text, _READINGS[self.variant], bad_words=bad)
            if self._dolma:
                numbers["line_count"].append(found.spans["line_count"][0][2])
                for name in self._pages:
                    numbers[name].append(float(name in found.spans))
                for name in self.marks:
                    spans[name].append(list(found.spans.get(name, ())))
                continue
            for name in ("line_count", "sentences"):
                numbers[name].append(found.numbers[name])
            for name in self._pages:
                numbers[f"page_{name}"].append(found.numbers[name])
            for name in self.marks:
                spans[name].append([_with_break(text, span) for span in found.spans.get(name, ())])
        return Marks(len(texts), {name: np.array(column, float) for name, column in numbers.items()}, spans)


def _with_break(text: str, span: Span) -> Span:
    start, end, score = span
    if text.startswith("\r\n", end):
        return start, end + 2, score
    return start, end + (end < len(text)), score
