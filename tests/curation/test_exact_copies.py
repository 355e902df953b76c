"""Of equal documents one stays, by a declared order."""

import pytest

from trivium.curation.exact_copies import ExactCopies
from trivium.data.curating import curated, measured
from trivium.data.marks import Texts


def texts(*rows: tuple[str, str, str]) -> Texts:
    ids, said, sources = zip(*rows, strict=True)
    return Texts(ids, said, sources)


ROWS = texts(
    ("b", "One  text", "web"), ("a", "one text", "web"), ("c", "ONE\ntext", "books"), ("d", "other", "web"),
    ("a", "one text", "books"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("method", "kept"),
    [
        (ExactCopies(), [("d", "web"), ("a", "books")]),
        (ExactCopies(prefer=("web",)), [("a", "web"), ("d", "web")]),
        (ExactCopies(prefer=("films", "web")), [("a", "web"), ("d", "web")]),
        (ExactCopies(normalise=False), [("b", "web"), ("c", "books"), ("d", "web"), ("a", "books")]),
    ],
)
def test_who_stays(method, kept):
    found = curated(method, ROWS).texts
    assert list(zip(found.ids, found.sources, strict=True)) == kept


def test_copies_are_counted_over_shards():
    one, two = texts(("a", "x", "s"), ("b", "y", "s")), texts(("c", "X", "s"), ("d", "x ", "s"))
    first, second = measured(ExactCopies(), [one, two])
    assert first.numbers["copies"].tolist() == [3, 1]
    assert first.numbers["stays"].tolist() == [1, 1]
    assert second.numbers["copies"].tolist() == [3, 3]
    assert second.numbers["stays"].tolist() == [0, 0]


def test_bad_settings():
    with pytest.raises(ValueError, match="prefer names a source twice"):
        ExactCopies(prefer=("a", "a"))
