"""Passages: opening and rest are the text itself, cut where they should be, in turn over the documents."""

import pytest

from trivium.data.corpus import Corpus
from trivium.data.passages import passages
from trivium.data.prompts import prompts
from trivium.data.stories import stories

LONG = "\n\n".join(f"Paragraph {n} has some words that go on and on for a while." for n in range(12))
CORPUS = Corpus("two", {"test": [LONG, "Too short.", LONG.replace("Paragraph", "Section")]})


def test_opening_and_rest_are_the_text():
    found = passages(CORPUS, "test", 2, opening=30, rest=60)
    assert [(one.document, one.number) for one in found] == [(0, 0), (2, 0)]
    for one in found:
        assert CORPUS["test"][one.document].startswith(one.opening + one.rest)
        assert len(one.opening) <= 30
        assert one.rest.startswith(" ")
        assert len(one.rest) >= 60


def test_every_document_gives_its_first_before_any_gives_its_second():
    found = passages(CORPUS, "test", 5, opening=30, rest=60)
    assert [(one.document, one.number) for one in found] == [(0, 0), (2, 0), (0, 1), (2, 1), (0, 2)]
    first, second = found[0], found[2]
    assert LONG.startswith(first.opening + first.rest)
    assert second.opening.startswith("Paragraph")
    assert LONG.index(second.opening) == len(first.opening + first.rest)  # they do not overlap


def test_a_long_word_is_cut_and_the_last_passage_runs_to_the_end():
    (only,) = passages(Corpus("one", {"test": ["x" * 100]}), "test", 1, opening=30, rest=60)
    assert (len(only.opening), len(only.rest)) == (30, 70)


def test_sources_by_name():
    (story,) = passages("stories", "test", 1, opening=100, rest=100)
    assert any(text.startswith(story.opening + story.rest) for text in stories()["test"])
    assert story.source == "stories"
    asked = passages("prompts", "test", 3, opening=200, rest=320)
    texts = [example.text for example in prompts("test")]
    assert all(texts[one.document].startswith(one.opening + one.rest) for one in asked)


def test_more_than_there_is_and_less_than_one():
    with pytest.raises(ValueError, match=r"the test split of two has [0-9]+ passages"):
        passages(CORPUS, "test", 100, opening=30, rest=60)
    with pytest.raises(ValueError, match="must be at least 1, got 1, 0 and 3"):
        passages(CORPUS, "test", 1, opening=0, rest=3)
    with pytest.raises(ValueError, match="has no split 'validation'"):
        passages(CORPUS, "validation", 1, opening=30, rest=60)
