"""FineWeb's rules as conditions: the same as its filters, at their edges too."""

import pytest

from trivium.curation.fineweb import FineWeb
from trivium.data.curating import curated
from trivium.data.marks import Texts
from trivium.data.quality_rules import FILTERS, measure

LINE = "A line that is long enough to be taken for prose by any rule."
TEXTS = [
    "\n".join(f"{LINE} {n}." for n in range(10)),
    "\n".join([LINE] * 10),
    "\n".join(["short"] * 8 + [LINE] * 2),
    "\n".join([f"{LINE} {n}" for n in range(22)] + [f"{LINE} {n}." for n in range(3)]),  # 3 of 25 end in a mark: 0.12
    "a\n" * 30,
    "",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("variant", ["datatrove", "first", "paper"])
def test_conditions_say_what_the_filters_say(variant, text):
    name = {"datatrove": "fineweb"}.get(variant, f"fineweb_{variant}")
    found = curated(FineWeb(variant), Texts(["d"], [text], ["s"])).decided
    reasons = FILTERS[name].reasons(measure(text, FILTERS[name].variant))
    assert [rule for rule, count in found.alone.items() if count] == [f"fineweb.{reason}" for reason in reasons]


def test_the_variants_differ_at_the_bound():
    at_the_bound = Texts(["d"], [TEXTS[3]], ["s"])
    assert "fineweb.line_punct_ratio" not in curated(FineWeb("datatrove"), at_the_bound).counts.dropped
    assert "fineweb.line_punct_ratio" in curated(FineWeb("paper"), at_the_bound).counts.dropped


def test_bad_settings():
    with pytest.raises(ValueError, match="variant must be one of datatrove, first, paper; got 'new'"):
        FineWeb("new")  # type: ignore[arg-type]
