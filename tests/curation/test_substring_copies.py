"""Repeated passages: those of the definition to the last character, whatever the order, and no hash is trusted."""

import numpy as np
import pytest

from trivium.curation import substring_copies
from trivium.curation.substring_copies import SubstringCopies, run_hashes
from trivium.data.curating import curated, measured
from trivium.data.marks import Texts
from trivium.data.planted import PASSAGE, planted


def texts(*said: str, sources=None) -> Texts:
    return Texts([f"d{n:04d}" for n in range(len(said))], said, sources or ["s"] * len(said))


def spans(method, of: Texts) -> list[list[tuple[int, int]]]:
    (found,) = measured(method, [of])
    return [[(a, b) for a, b, _ in row] for row in found.spans["copies"]]


def without(text: str, gone) -> str:
    for a, b in reversed(gone):
        text = text[:a] + text[b:]
    return text


def slow(said, length, keep="one"):
    """The definition, one run at a time."""
    first, repeated = {}, set()
    for place, text in enumerate(said):
        for at in range(len(text) - length + 1):
            run = text[at : at + length]
            repeated |= {run} if run in first else set()
            first.setdefault(run, (place, at))
    found = []
    for place, text in enumerate(said):
        goes, stays = [False] * len(text), [False] * len(text)
        for at in range(len(text) - length + 1):
            run = text[at : at + length]
            if run in repeated:
                mark = stays if first[run] == (place, at) and keep == "one" else goes
                mark[at : at + length] = [True] * length
        found.append("".join(one for one, go, stay in zip(text, goes, stays, strict=True) if stay or not go))
    return found


def made(seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    said = ["".join("ab😀é"[x] for x in generator.integers(0, 4, generator.integers(0, 60))) for _ in range(8)]
    return [*said, said[0], said[1] + said[2], "", "a" * 40]


@pytest.mark.parametrize("keep", ["one", "none"])
@pytest.mark.parametrize("length", [2, 3, 7])
def test_passages_are_those_of_the_definition(length, keep):
    said = made(length)
    kept = list(map(without, said, spans(SubstringCopies(length, keep=keep), texts(*said))))
    assert kept == slow(said, length, keep)
    assert sum(map(len, kept)) < sum(map(len, said))
    runs = [text[at : at + length] for text in said for at in range(len(text) - length + 1)]
    if keep == "one":  # whatever run was repeated still stands in some text
        assert all(any(run in text for text in kept) for run in runs if runs.count(run) > 1)


@pytest.mark.parametrize("alike", [1, 7, 2**16])
def test_hashes_that_agree_by_chance_change_nothing(monkeypatch, alike):
    said = made(3)
    whole = spans(SubstringCopies(3), texts(*said))
    monkeypatch.setattr(substring_copies, "run_hashes", lambda p, n: run_hashes(p, n) % np.uint64(alike))
    assert spans(SubstringCopies(3), texts(*said)) == whole


@pytest.mark.parametrize("held", [1, 10, 100])
def test_turns_change_nothing(monkeypatch, held):
    said = made(5)
    whole = spans(SubstringCopies(4), texts(*said))
    monkeypatch.setattr(substring_copies, "HELD", held)
    assert spans(SubstringCopies(4), texts(*said)) == whole


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 13, 200])
def test_runs_have_the_same_hash_where_they_are_the_same(length):
    values = np.random.default_rng(length).integers(0, 2, 300)
    runs = [tuple(values[at : at + length].tolist()) for at in range(300 - length + 1)]
    numbers = {hash_: run for hash_, run in zip(run_hashes(values, length).tolist(), runs, strict=True)}
    assert [numbers[hash_] for hash_ in run_hashes(values, length).tolist()] == runs
    assert len(numbers) == len(set(runs))
    assert len(run_hashes(values[: length - 1], length)) == 0


def test_by_hand():
    shared = "the cat sat on the mat"
    said = [f"é{shared}è and so it went on and on", f"ê{shared}ë"]  # é è ê ë share a byte of UTF-8
    assert spans(SubstringCopies(20), texts(*said)) == [[], [(1, 23)]]
    assert spans(SubstringCopies(20, prefer=("books",)), texts(*said, sources=["web", "books"])) == [[(1, 23)], []]
    assert spans(SubstringCopies(6), texts("abcdef", "ghi", "abc", "defghi")) == [[], [], [], []]  # only across ends
    assert spans(SubstringCopies(3), texts("abcabcabcabc")) == [[(5, 12)]]  # abc, bca and cab stay, once each
    assert spans(SubstringCopies(4), texts("a" * 9)) == [[(4, 9)]]
    assert spans(SubstringCopies(4), texts("", "a")) == [[], []]
    assert spans(SubstringCopies(4), texts("abcd", "abcd", "abcd")) == [[], [(0, 4)], [(0, 4)]]  # not joined over ends


def test_words():
    method = SubstringCopies(3, unit="words")
    said = ["so  one two\nthree and more", "x one two three ", "one two threes", " one\ttwo three "]
    assert spans(method, texts(*said)) == [[], [(2, 15)], [], [(1, 14)]]
    found = curated(method, texts(*said))
    assert found.marks.numbers["substring_copies.left"].tolist() == [6, 1, 3, 0]
    assert found.counts.dropped == {"substring_copies.nothing_left": 1}


def test_documents_of_which_nothing_is_left_are_dropped():
    found = curated(SubstringCopies(5), texts("abcdefgh", "abcdefgh", "abcdefgh!", ""))
    assert list(found.texts.texts) == ["abcdefgh", "!", ""]
    assert curated(SubstringCopies(5, keep="none"), texts("abcdefgh", "abcdefgh", "abc")).texts.texts == ["abc"]


def test_shards_in_any_order_give_the_same():
    said = made(9)
    whole = dict(zip(texts(*said).ids, spans(SubstringCopies(4), texts(*said)), strict=True))
    order = np.random.default_rng(2).permutation(len(said)).tolist()
    parts = [Texts([f"d{n:04d}" for n in of], [said[n] for n in of], ["s"] * len(of)) for of in (order[:3], order[3:])]
    for part, found in zip(parts, measured(SubstringCopies(4), parts), strict=True):
        for id, row in zip(part.ids, found.spans["copies"], strict=True):
            assert [(a, b) for a, b, _ in row] == whole[id]


def test_planted_passages_are_found_and_little_else():
    documents = list(planted(150, seed=6, shares={"passage": 0.3}, sources=("web",)))
    found = spans(SubstringCopies(), Texts.of(documents))
    covered = wanted = given = 0
    for document, row in zip(documents, found, strict=True):
        inside = {at for a, b in row for at in range(a, b)}
        given += len(inside)
        for _, start, end in document.metadata.get("spans", []):
            wanted += end - start
            covered += len(inside & set(range(start, end)))
    assert wanted > 30 * PASSAGE
    assert covered > 0.95 * wanted  # where seam characters agree by chance, the cut is moved by them
    assert given < 1.02 * wanted


def test_bad_settings():
    for wrong, said in (
        ({"length": 1}, "at least 2 characters or words, got length 1"),
        ({"unit": "tokens"}, "unit must be characters or words, got 'tokens'"),
        ({"keep": "two"}, "keep must be one or none, got 'two'"),
        ({"prefer": ("a", "a")}, "names a source twice"),
    ):
        with pytest.raises(ValueError, match=said):
            SubstringCopies(**wrong)
