"""Gopher's rules: length, symbols, stop words and repetition of web text, as two toolkits read them.

Source
    Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", arXiv:2112.11446,
    section A.1.1 and table A1; the two readings are those of the published code of Dolma 1.2.1 (Soldaini et al. 2024,
    arXiv:2402.00159) and of datatrove 0.10.1 (Penedo et al. 2024, arXiv:2406.17557).
Equation
    drop a document where one of some twenty numbers lies outside its bounds, such as
    words < 50 or > 100,000; symbols / words > 0.1; share of characters in the commonest 2-gram > 0.2
Shapes
    texts (documents,) -> a number per document and measure
Cost
    One pass over the text and one count of its n-grams for each n from 2 to 10.
Caveats
    One name means different things in the two readings: what a word is, whether all copies of a line count or only the
    later ones, whether runs may overlap, and what a share is a share of; see ``data.quality_rules``. Where datatrove
    takes words of a linguistic tokenizer, they are runs of letters and digits here, and single signs. The bound of 0.3
    on characters in repeated lines is Dolma's; the paper's table has 0.2. The stop words are English: of another
    language these rules drop nearly everything.
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trivium.core.method import method
from trivium.curation._bounds import Bound, drops
from trivium.data.marks import Marks, Texts
from trivium.data.quality_rules import DECLARED, MOST_COMMON, REPEATED, measure
from trivium.data.rules import Rules

_COMMONEST, _COPIES = (0.20, 0.18, 0.16), (0.15, 0.14, 0.13, 0.12, 0.11, 0.10)
"""Most of the characters in the commonest run of 2 to 4 words, and in repeated runs of 5 to 10."""
_DOLMA = (
    Bound("word_count", 50, 100_000),
    Bound("median_word_length", 3, 10),
    Bound("symbol_to_word_ratio", most=0.1),
    Bound("fraction_of_words_with_alpha_character", 0.8),
    Bound("required_word_count", 2),
    Bound("fraction_of_lines_starting_with_bullet_point", most=0.9),
    Bound("fraction_of_lines_ending_with_ellipsis", most=0.3),
    Bound("fraction_of_duplicate_lines", most=0.3),
    Bound("fraction_of_characters_in_duplicate_lines", most=0.3),
    *(Bound(f"fraction_of_characters_in_most_common_{n}grams", most=most)
      for n, most in zip(MOST_COMMON, _COMMONEST, strict=True)),
    *(Bound(f"fraction_of_characters_in_duplicate_{n}grams", most=most)
      for n, most in zip(REPEATED, _COPIES, strict=True)),
)  # fmt: skip
_DATATROVE = (
    Bound("n_non_symbol_words", 50, 100_000),
    Bound("mean_non_symbol_word_length", 3, 10),
    Bound("hash_ratio", most=0.1),
    Bound("ellipsis_ratio", most=0.1),
    Bound("bullet_line_ratio", most=0.9),
    Bound("ellipsis_line_ratio", most=0.3),
    Bound("alpha_word_ratio", 0.8),
    Bound("distinct_stop_words", 2),
    Bound("dup_para_frac", most=0.3),
    Bound("dup_para_char_frac", most=0.2),
    Bound("dup_line_frac", most=0.3),
    Bound("dup_line_char_frac", most=0.2),
    *(Bound(f"top_{n}_gram", most=most) for n, most in zip(MOST_COMMON, _COMMONEST, strict=True)),
    *(Bound(f"duplicated_{n}_n_grams", most=most) for n, most in zip(REPEATED, _COPIES, strict=True)),
)
_BOUNDS = {"dolma_v1": _DOLMA, "dolma_v2": _DOLMA, "datatrove": _DATATROVE}
_WORDS = re.compile(r"\w+|[^\w\s]")


@method(title="Gopher rules", source="arXiv:2112.11446", year=2021)
@dataclass(frozen=True)
class Gopher:
    """Rules of thumb about length, symbols, stop words and repetition."""

    variant: Literal["dolma_v1", "dolma_v2", "datatrove"] = "dolma_v2"
    """Whose reading of the rules."""

    def __post_init__(self) -> None:
        if self.variant not in _BOUNDS:
            raise ValueError(f"variant must be one of {', '.join(_BOUNDS)}; got {self.variant!r}")

    @property
    def measures(self) -> frozenset[str]:
        return DECLARED[f"gopher_{self.variant}"]

    @property
    def marks(self) -> frozenset[str]:
        return frozenset()

    @property
    def rules(self) -> Rules:
        return Rules(drops("gopher", _BOUNDS[self.variant]))

    def tag(self, texts: Texts) -> Marks:
        """Numbers that need more words than a text has are missing."""
        variant = f"gopher_{self.variant}"
        split = self.words if self.variant == "datatrove" else lambda _: None
        found = [measure(text, variant, words=split(text)).numbers for text in texts.texts]
        return Marks(
            len(texts),
            {name: np.array([row.get(name, np.nan) for row in found], float) for name in self.measures},
        )

    @staticmethod
    def words(text: str) -> list[str]:
        """In place of a linguistic tokenizer: runs of letters and digits, and every other sign by itself."""
        return _WORDS.findall(text)
