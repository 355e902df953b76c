"""Gopher's rules as a method: numbers as they were measured by the published code, bounds at their edges."""

import numpy as np
import pytest

from trivium.curation.gopher import Gopher
from trivium.data.curating import curated
from trivium.data.marks import Texts
from trivium.data.quality_rules import FILTERS, measure

GOOD = " ".join(f"the sea and a hill that we have by {word}" for word in "abcdefghij")


def one(text: str) -> Texts:
    return Texts(["d"], [text], ["s"])


@pytest.mark.parametrize("variant", ["dolma_v1", "dolma_v2", "datatrove"])
@pytest.mark.parametrize("text", [GOOD, GOOD + "\n" + GOOD, "few words", "", "# " * 80, "• a\n" * 30, GOOD.upper()])
def test_the_rules_drop_what_the_filters_drop(variant, text):
    """In the language of rules the filters say the same; these are checked against the published code."""
    found = curated(Gopher(variant), one(text))
    names = {"datatrove": ("gopher_quality_datatrove", "gopher_repetition_datatrove")}.get(
        variant, (f"gopher_{variant}",)
    )
    words = Gopher.words(text) if variant == "datatrove" else None
    seen = measure(text, f"gopher_{variant}", words=words)
    reasons = [f"gopher.{reason}" for name in names for reason in FILTERS[name].reasons(seen)]
    assert [name for name, count in found.decided.alone.items() if count] == reasons
    assert found.decided.reason[0] == (reasons[0] if reasons else "")


def test_a_number_that_a_short_text_lacks_drops_nothing():
    found = curated(Gopher(), one("two words"))
    lacks = found.marks.numbers["gopher.fraction_of_characters_in_duplicate_5grams"]
    assert np.isnan(lacks[0])
    assert "gopher.fraction_of_characters_in_duplicate_5grams" not in found.counts.dropped


def test_unknown_variant():
    with pytest.raises(ValueError, match="variant must be one of dolma_v1, dolma_v2, datatrove; got 'gopher'"):
        Gopher("gopher")  # type: ignore[arg-type]
