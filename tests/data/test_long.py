"""Long documents more often, each source as large as before."""

import pytest

from trivium.core.seeds import generator
from trivium.data.long import long_more

STORIES = [[1] * size for size in (3, 4, 5, 6, 30, 2, 3, 4, 5, 8)]  # 70 tokens, 30 of them in a long document
NOTES = [[2] * size for size in (4, 4, 4, 4, 4)]  # none is long
BOOKS = [[3] * size for size in (40, 50, 5)]  # long already


def drawn(share, seed=0, sources=(STORIES, NOTES, BOOKS)):
    return long_more(sources, 20, share, generator(seed, "long"))


def tokens(documents, source, least=0):
    return sum(len(document) for document in documents if document[0] == source and len(document) >= least)


@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
def test_the_share_is_reached_and_the_mixture_stays(share):
    documents = drawn(share)
    assert tokens(documents, 1, least=20) >= share * 70
    assert 70 <= tokens(documents, 1) < 70 + 30
    assert tokens(documents, 2) == 20
    assert 95 <= tokens(documents, 3) < 95 + 50


def test_short_documents_are_drawn_without_replacement():
    short = sorted(len(document) for document in drawn(0.6) if document[0] == 1 and len(document) < 20)
    everything = sorted(len(document) for document in STORIES if len(document) < 20)
    assert 0 < len(short) < len(everything)
    assert all(short.count(size) <= everything.count(size) for size in short)


def test_where_enough_is_long_nothing_changes():
    assert drawn(0.3) == [*STORIES, *NOTES, *BOOKS]
    assert drawn(0.0) == [*STORIES, *NOTES, *BOOKS]


def test_the_seed_decides():
    many = [[[number] * 25 for number in range(10, 40)] + [[number] * 3 for number in range(40, 400)]]
    assert drawn(0.9, 1, many) == drawn(0.9, 1, many) != drawn(0.9, 2, many)


def test_what_cannot_be_is_told():
    with pytest.raises(ValueError, match="no document has 20 tokens, the longest has 4"):
        drawn(0.5, sources=[NOTES])
    with pytest.raises(ValueError, match=r"0 to 1; got 1\.5"):
        drawn(1.5)
