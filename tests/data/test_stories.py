import re
from collections import Counter

import pytest

from trivium.data._teller import ANIMALS, CHILDREN, COLOURS, TREASURES, article, capital, listed
from trivium.data.stories import PLOTS, stories, story

STORIES = [story(0, index) for index in range(400)]


def test_the_same_seed_tells_the_same_stories_and_another_seed_others():
    assert stories(50, seed=3).sha256 == stories(50, seed=3).sha256
    assert stories(50, seed=3).sha256 != stories(50, seed=4).sha256


def test_more_stories_begin_with_the_same_ones():
    few, many = (stories(n, validation=0, test=0)["train"] for n in (20, 60))
    assert many[:20] == few


def test_no_two_are_the_same_and_there_are_many_words():
    corpus = stories(1500)
    every = [text for split in corpus.splits for text in corpus[split]]
    assert len(every) == len(set(every)) == 1500
    assert len(set(re.findall(r"[a-z]+", " ".join(every).lower()))) > 400


def test_every_plot_is_told_about_equally_often():
    """400 stories over 8 plots: 50 each, with a standard deviation of 6.6."""
    signs = {
        "_lost": r"was gone\.|could not find", "_errand": r"was ill", "_quarrel": r"mine|older!|always wanted",
        "_building": r"wanted to build|a plan to build", "_trades": r"traded|gave away", "_storm": r"knock",
        "_race": r"faster|so slow", "_riddle": r"three things",
    }  # fmt: skip
    assert signs.keys() == {plot.__name__ for plot in PLOTS}
    counts = {plot: sum(bool(re.search(sign, text)) for text in STORIES) for plot, sign in signs.items()}
    assert all(abs(count - 50) < 5 * 6.6 for count in counts.values()), counts


@pytest.mark.parametrize("text", STORIES[:200])
def test_sentences_are_well_formed(text):
    for line in text.splitlines():
        assert line == line.strip()
        assert "  " not in line
        assert line[0].isupper() or (line[0] == '"' and line[1].isupper()), line
        assert line[-1] in '.!?"', line
        assert line.count('"') % 2 == 0
        assert not re.search(r"\b[Aa] [aeiou]", line), line
        assert not re.search(r"\b[Aa]n [^aeiou]", line), line
        assert not re.search(r"[.!?] [a-z]", re.sub(r'[?!]" (asked|cried|called)', "", line)), line
        assert not re.search(r"[{}]", line)


@pytest.mark.parametrize("text", STORIES[:200])
def test_a_thing_keeps_its_colour_and_a_child_its_pronoun(text):
    colours = {}
    for colour, noun in re.findall(rf"\b({'|'.join(COLOURS)}) ({'|'.join(TREASURES)})\b", text):
        assert colours.setdefault(noun, colour) == colour
    for kind, name in re.findall(r"\b(girl|boy) called (\w+)", text):
        assert name in CHILDREN["she" if kind == "girl" else "he"]


def test_guests_are_counted_right():
    storms = [text for text in STORIES if "Now there were two" in text or "Now they were two" in text]
    assert len(storms) > 20
    words = ["two", "three", "four", "five"]
    for text in storms:
        counted = re.findall(r"Now (?:there|they) were (\w+)", text)
        assert counted == words[: len(counted)]
        assert len(re.findall(r"came in", text)) == len(counted)


def test_names_and_animals_all_occur():
    seen = Counter(re.findall(r"[A-Za-z]+", " ".join(STORIES)))
    assert all(seen[name] for name in (*CHILDREN["she"], *CHILDREN["he"], *ANIMALS))


def test_small_grammar():
    assert [article(noun) for noun in ("owl", "fox", "orange hat")] == ["an owl", "a fox", "an orange hat"]
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert capital("the fox") == "The fox"


def test_misuse():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        stories(0)
