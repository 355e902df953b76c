"""Shares of letters by script: sums, signs that are no letters, scripts that are none."""

import math

import pytest

from trivium.core.errors import UnknownName
from trivium.curation.script import Script
from trivium.data.curating import curated
from trivium.data.marks import Texts


@pytest.mark.parametrize(
    ("text", "keep", "wanted"),
    [
        ("abc", ("Latin",), (3, [1.0], 0.0)),
        ("ab γδ!", ("Latin",), (4, [0.5], 0.5)),
        ("aб漢字, 12", ("Latin", "Cyrillic", "Han"), (4, [0.25, 0.25, 0.5], 0.0)),
        ("ÉÉªK", ("Latin",), (4, [1.0], 0.0)),
        ("𝔘a", ("Latin",), (2, [0.5], 0.5)),
        ("हिन्दी", ("Devanagari",), (3, [1.0], 0.0)),
        ("abc", ("Greek",), (3, [0.0], 1.0)),
    ],
)
def test_shares(text, keep, wanted):
    found = {name: column[0] for name, column in Script(keep).tag(Texts(["d"], [text], ["s"])).numbers.items()}
    letters, shares, other = wanted
    assert found["letters"] == letters
    assert [found[f"share_{name.lower()}"] for name in keep] == shares
    assert found["other"] == other
    assert found["wanted"] == sum(shares)


def test_a_document_falls_under_the_bound_and_one_without_letters_stays():
    texts = Texts(list("abcd"), ["abγδ", "aγδε", "12 🙂", ""], ["s"] * 4)
    assert list(curated(Script(), texts).texts.ids) == ["a", "c", "d"]
    assert list(curated(Script(least=0.2), texts).texts.ids) == list("abcd")
    assert list(curated(Script(("Greek",)), texts).texts.ids) == list("abcd")
    found = Script().tag(texts).numbers
    assert [math.isnan(value) for value in found["wanted"]] == [False, False, True, True]


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"keep": ()}, ValueError, "keep names each script"),
        ({"keep": ("Latin", "latin")}, ValueError, "once"),
        ({"least": 1.5}, ValueError, "least is a share"),
        ({"keep": ("Elvish",)}, UnknownName, "no script named 'Elvish'"),
        ({"keep": ("Latin}|x{",)}, UnknownName, "no script named"),
    ],
)
def test_bad_settings(wrong, error, said):
    with pytest.raises(error, match=said):
        Script(**wrong)
