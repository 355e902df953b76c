import pytest

from trivium.data.word_lists import CATEGORIES, CONDITIONS, FILLER, filler, made, read, vignettes


def test_our_own_nouns():
    table = [words.split() for words in CATEGORIES.values()]
    every = [noun for words in table for noun in words]
    assert {len(words) for words in table} == {len(table)} == {12}
    assert len(set(every)) == len(every), "a noun stands in two categories"
    assert all(noun.isalpha() and noun.islower() for noun in every)


@pytest.mark.parametrize("length", [2, 3, 10, 12])
def test_lists_share_no_noun_and_mix_categories_or_do_not(length):
    of = {noun: name for name, words in CATEGORIES.items() for noun in words.split()}
    for sort, kinds in (("arbitrary", length), ("category", 1)):
        lists = made(sort, length)
        every = [noun for one in lists for noun in one]
        assert len(lists) == 12
        assert len(set(every)) == len(every) == 12 * length
        assert all(len({of[noun] for noun in one}) == kinds for one in lists)


@pytest.mark.parametrize(("split", "count", "lists"), [("test", 23, 10), ("validation", 7, 2)])
def test_vignettes(split, count, lists):
    found = vignettes(made("arbitrary", 5), count, split)
    assert len({one.id for one in found}) == count
    assert len({one.group for one in found}) == lists
    for one in found:
        assert not set(one.nouns) & set(one.novel)
        assert sorted(one.permuted) == sorted(one.nouns)
        assert all(a != b for a, b in zip(one.permuted, one.nouns, strict=True))
    everything = vignettes(made("arbitrary", 5), 5 * lists, split)
    firsts = {one.nouns[0] for one in everything}
    assert len(firsts) == 5 * lists, "each noun begins a list once"
    assert {noun for one in everything for noun in one.novel} == {noun for one in everything for noun in one.nouns}
    assert vignettes(made("arbitrary", 5), 1, "test")[0].nouns[0] not in {
        noun for one in vignettes(made("arbitrary", 5), 2, "validation") for noun in one.nouns
    }


def test_what_is_told():
    (one,) = vignettes((("a", "bé", "c"), ("d", "e", "f")), 1)
    for condition in CONDITIONS:
        told = one.told(condition, 3)
        said = {"repeat": one.nouns, "permuted": one.permuted, "novel": ("d", "e", "f")}[condition]
        assert tuple(told.text[a:b] for a, b in told.first) == ("a", "bé", "c")
        assert tuple(told.text[a:b] for a, b in told.second) == said
        assert told.text.startswith("Anna wrote a list of words on a card: a, bé, c. Then she")
        assert told.text.endswith(f"the list again: {', '.join(said)}.")
    assert "c. When she was back" in one.told("repeat", 0).text
    with pytest.raises(ValueError, match="condition must be one of repeat, permuted, novel; got 'same'"):
        one.told("same", 3)


def test_filler_has_whole_sentences_and_an_end():
    most = sum(len(sentence.split()) for sentence in FILLER)
    assert most > 260
    assert filler(0) == ""
    assert filler(1) == FILLER[0]
    assert len(filler(40).split()) >= 40
    assert len(filler(most).split()) == most
    with pytest.raises(ValueError, match=f"between must be at most {most} words"):
        filler(most + 1)


def test_lists_of_ones_own(tmp_path):
    path = tmp_path / "lists.txt"
    path.write_text("one, two, three\n\nfour,five,six\nseven, eight, nine\n")
    assert read(path, 2) == (("one", "two"), ("four", "five"), ("seven", "eight"))
    assert len(vignettes(read(path, 3), 9)) == 9  # nothing is kept apart of so few
    assert vignettes(read(path, 3), 1, "validation") == []
    for text, told in (
        ("one, two\nthree\n", "line 2 has no 2 nouns"),
        ("one, two\nthree, one\n", "line 2: 'one' stands in line 1 already"),
        ("one, two\n", "holds 1 lists; give at least 2"),
        ("one,, two\n", "line 1 has no 2 nouns"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=told):
            read(path, 2)
    with pytest.raises(ValueError, match="length must be at least 2"):
        read(path, 1)


def test_bad_settings():
    for call, told in (
        (lambda: made("semantic", 3), "sort must be one of arbitrary, category; got 'semantic'"),
        (lambda: made("category", 1), "length must be 2 to 12 nouns, got 1"),
        (lambda: made("category", 13), "length must be 2 to 12 nouns, got 13"),
        (lambda: vignettes(made("category", 3), 31), "make 1 to 30 vignettes, got 31"),
        (lambda: vignettes(made("category", 3), 1, "train"), "the splits are"),
    ):
        with pytest.raises(ValueError, match=told):
            call()
