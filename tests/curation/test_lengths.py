"""Lengths by hand, and bounds on one of them."""

import pytest

from trivium.curation.lengths import UNITS, Lengths
from trivium.data.curating import curated
from trivium.data.marks import Texts


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", (0, 0, 0, 0, 0, 0)),
        (" \n \n", (4, 4, 0, 0, 0, 0)),
        ("two words", (9, 9, 2, 1, 1, 9)),
        ("é 🙂", (3, 7, 2, 1, 1, 3)),
        ("a b\nc\n\n  \ndef ghi\n", (18, 18, 5, 3, 2, 7)),
        ("a\r\n\r\nb", (6, 6, 2, 2, 2, 1)),
        ("\ud800", (1, 3, 1, 1, 1, 1)),
    ],
)
def test_what_is_counted(text, wanted):
    found = Lengths().tag(Texts(["d"], [text], ["s"])).numbers
    assert tuple(found[name][0] for name in (*UNITS, "longest_line")) == wanted


@pytest.mark.parametrize(
    ("of", "least", "most", "kept"),
    [
        ("words", 2, 3, ["b", "c"]),
        ("characters", 1, 3, ["a", "b"]),
        ("lines", 2, 100, ["d"]),
        ("bytes", 0, 5, ["a", "b", "c"]),
    ],
)
def test_documents_at_a_bound_stay(of, least, most, kept):
    texts = Texts(list("abcd"), ["x", "x y", "x y z", "x y\nz 🙂"], ["s"] * 4)
    found = curated(Lengths(of, least, most), texts)
    assert list(found.texts.ids) == kept
    assert found.counts.dropped == {f"lengths.{of}": 4 - len(kept)}


def test_the_default_is_gopher_s():
    texts = Texts(list("ab"), ["w " * 49, "w " * 50], ["s"] * 2)
    assert list(curated(Lengths(), texts).texts.ids) == ["b"]


@pytest.mark.parametrize(
    ("wrong", "said"), [({"of": "tokens"}, "of must be one of"), ({"least": -1}, "bounds"), ({"most": 1}, "bounds")]
)
def test_bad_settings(wrong, said):
    with pytest.raises(ValueError, match=said):
        Lengths(**wrong)
