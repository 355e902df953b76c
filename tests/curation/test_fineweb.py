"""FineWeb's rules: what falls in each reading, and at the bounds themselves."""

import numpy as np
import pytest

from trivium.curation.fineweb import FineWeb
from trivium.data.curating import curated
from trivium.data.marks import Marks, Texts

LINE = "A line that is long enough to be taken for prose by any rule."
TEXTS = [
    "\n".join(f"{LINE} {n}." for n in range(10)),
    "\n".join([LINE] * 10),
    "\n".join(["short"] * 8 + [LINE] * 2),
    "\n".join([f"{LINE} {n}" for n in range(22)] + [f"{LINE} {n}." for n in range(3)]),  # 3 of 25 end in a mark: 0.12
    "a\n" * 30,
    "",
]


@pytest.mark.parametrize(
    ("variant", "reasons"),
    [
        ("datatrove", [[], ["char_dup_ratio"], ["short_line_ratio", "char_dup_ratio"], [],
                       ["line_punct_ratio", "short_line_ratio", "char_dup_ratio", "list_ratio"],
                       ["line_count", "line_punct_ratio"]]),
        ("first", [[], ["char_dup_ratio"], ["short_line_ratio", "char_dup_ratio"],
                   ["line_punct_ratio"], ["line_punct_ratio", "short_line_ratio", "char_dup_ratio", "list_ratio"],
                   ["line_punct_ratio"]]),
        ("paper", [[], ["char_dup_ratio"], ["char_dup_ratio", "short_line_ratio"],
                   ["line_punct_ratio"], ["line_punct_ratio", "char_dup_ratio", "short_line_ratio"],
                   ["line_punct_ratio"]]),
    ],
)  # fmt: skip
def test_what_falls_and_why(variant, reasons):
    for text, wanted in zip(TEXTS, reasons, strict=True):
        found = curated(FineWeb(variant), Texts(["d"], [text], ["s"])).decided
        assert [rule for rule, count in found.alone.items() if count] == [f"fineweb.{reason}" for reason in wanted]


@pytest.mark.parametrize(("variant", "falls"), [("datatrove", 0), ("first", 3), ("paper", 2)])
def test_bounds_themselves_fall_only_where_the_reading_says_so(variant, falls):
    method = FineWeb(variant)
    at = {"line_count": 3, "line_punct_ratio": 0.12, "short_line_ratio": 0.67, "char_dup_ratio": 0.01, "list_ratio": 0}
    marks = Marks(1, {f"fineweb.{name}": np.array([at[name]], float) for name in method.measures})
    assert sum(method.rules.decide(marks).alone.values()) == falls


def test_the_variants_differ_at_the_bound():
    at_the_bound = Texts(["d"], [TEXTS[3]], ["s"])
    assert "fineweb.line_punct_ratio" not in curated(FineWeb("datatrove"), at_the_bound).counts.dropped
    assert "fineweb.line_punct_ratio" in curated(FineWeb("paper"), at_the_bound).counts.dropped


def test_bad_settings():
    with pytest.raises(ValueError, match="variant must be one of datatrove, first, paper; got 'new'"):
        FineWeb("new")  # type: ignore[arg-type]
