"""Repeated paragraphs: cut to the last character, whichever file comes first, and a filter that errs at its rate."""

import numpy as np
import pytest

from trivium.curation import paragraph_copies
from trivium.curation.paragraph_copies import ParagraphCopies
from trivium.data.bloom import Bloom
from trivium.data.curating import curated, measured
from trivium.data.digests import digests
from trivium.data.marks import Texts
from trivium.data.planted import NOTICE_WORDS, planted


def texts(*said: str, sources=None) -> Texts:
    return Texts([f"d{n:04d}" for n in range(len(said))], said, sources or ["s"] * len(said))


def cut(method, of: Texts) -> list[list[str]]:
    """What is taken out of each."""
    (found,) = measured(method, [of])
    return [[t[a:b] for a, b, _ in row] for t, row in zip(of.texts, found.spans["copies"], strict=True)]


@pytest.mark.parametrize("memory", ["exact", "bloom"])
@pytest.mark.parametrize("text", ["one line\nanother line", "😀 drôle\n漢字\n", "a\n\nb\n"])
def test_the_second_copy_of_a_text_goes_to_the_last_character(text, memory):
    first, second = cut(ParagraphCopies(least_words=0, memory=memory), texts(text, text))
    assert "".join(second) == text
    assert not "".join(first).strip()
    found = curated(ParagraphCopies(memory=memory), texts(text, text))
    assert list(found.texts.texts) == [text]
    assert found.counts.dropped == {"paragraph_copies.nothing_left": 1}


def test_by_hand():
    two = texts("menu here\nits own text\nmenu here\nend", "menu here\nmore text", sources=["web", "books"])
    assert cut(ParagraphCopies(), two) == [["menu here\n", "menu here\n"], []]
    assert cut(ParagraphCopies(prefer=("web",)), two) == [["menu here\n"], ["menu here\n"]]
    assert cut(ParagraphCopies(least_words=3), two) == [[], []]
    assert cut(ParagraphCopies(separator="\n\n"), texts("x\n\ny y\n\nx")) == [["x"]]
    (found,) = measured(ParagraphCopies(least_words=2), [two])
    assert found.numbers["paragraphs"].tolist() == [3, 2]  # of two words and more
    assert found.numbers["copied"].tolist() == [2, 0]
    assert found.numbers["words_left"].tolist() == [4, 4]
    assert list(curated(ParagraphCopies(), two).texts.texts) == ["its own text\nend", "menu here\nmore text"]


def test_what_was_empty_before_is_not_dropped():
    assert curated(ParagraphCopies(), texts("", " \n ", "a")).counts.kept == 3
    assert curated(ParagraphCopies(least_words=2), texts("a b\nc", "a b\nc")).texts.texts[1] == "c"


@pytest.mark.parametrize("memory", ["exact", "bloom"])
def test_each_paragraph_stays_once_whatever_the_order(memory):
    generator = np.random.default_rng(0)
    said = ["\n".join(f"line {x}" for x in generator.integers(0, 30, 6)) for _ in range(20)]
    method, all_of_them = ParagraphCopies(memory=memory), texts(*said)
    once = dict(zip(all_of_them.ids, cut(method, all_of_them), strict=True))
    back = Texts(all_of_them.ids[::-1], said[::-1], ["s"] * 20)
    assert dict(zip(back.ids, cut(method, back), strict=True)) == once
    lines = [line for text in curated(method, all_of_them).texts.texts for line in text.split("\n") if line]
    assert sorted(lines) == sorted({line for text in said for line in text.split("\n")})


def test_the_filter_says_what_the_comparison_says(monkeypatch):
    documents = Texts.of(list(planted(300, seed=4, shares={"paragraph": 0.3, "copy": 0.1})))
    exact = cut(ParagraphCopies(), documents)
    assert cut(ParagraphCopies(memory="bloom"), documents) == exact
    monkeypatch.setattr(paragraph_copies, "BLOCK", 7)
    assert cut(ParagraphCopies(memory="bloom"), documents) == exact
    loose = cut(ParagraphCopies(memory="bloom", rate=0.2), documents)
    assert all(set(a) <= set(b) for a, b in zip(exact, loose, strict=True))  # it forgets nothing
    assert loose != exact


def test_the_filter_errs_at_its_rate(monkeypatch):
    """At the rate when it is full, and less on the way there; within a block nothing is mistaken."""
    rate, count = 0.05, 20_000
    new = texts(*(f"own {n}" for n in range(count)))
    method = ParagraphCopies(memory="bloom", rate=rate)
    assert measured(method, [new])[0].numbers["copied"].sum() == 0
    monkeypatch.setattr(paragraph_copies, "BLOCK", 100)
    share = measured(method, [new])[0].numbers["copied"].mean()
    expected = np.mean([Bloom(count, rate).projected(n) for n in range(0, count, 100)])
    # Three standard errors of so many draws, which are nearly independent.
    assert share == pytest.approx(expected, abs=3 * (expected / count) ** 0.5)
    assert 0 < share < rate


def test_planted_copies_are_found_and_nothing_else():
    documents = list(planted(400, seed=5, shares={"paragraph": 0.25}, sources=("web",)))
    (found,) = measured(ParagraphCopies(least_words=NOTICE_WORDS), [Texts.of(documents)])
    seen, wanted = set(), []
    for document in documents:
        here = [(start, end) for _, start, end in document.metadata.get("spans", [])]
        wanted.append([span for span in here if document.text[slice(*span)] in seen])
        seen |= {document.text[slice(*span)] for span in here}
    assert sum(map(len, wanted)) > 60
    given = [[(start, start + len(document.text[start:end].rstrip("\n"))) for start, end, _ in row]
             for document, row in zip(documents, found.spans["copies"], strict=True)]  # fmt: skip
    assert given == wanted


def test_what_is_known_goes(tmp_path):
    path = tmp_path / "seen.bloom"
    bloom = Bloom(10, 1e-9)
    bloom.add(digests(["a b c"]))
    bloom.save(path)
    assert cut(ParagraphCopies(known=str(path)), texts("a b c\nd e f", "x")) == [["a b c\n"], []]


def test_bad_settings():
    for wrong, said in (
        ({"separator": ""}, "an empty separator parts no paragraphs"),
        ({"least_words": -1}, "least_words must be at least 0, got -1"),
        ({"memory": "disk"}, "memory must be exact or bloom, got 'disk'"),
        ({"rate": 0.0}, "rate is a share of paragraphs, above 0 and below 1; got 0.0"),
        ({"rate": 1.0}, "rate is a share"),
        ({"prefer": ("a", "a")}, "names a source twice"),
        ({"known": "/nowhere/x.bloom"}, "is none; data.remembering makes one"),
    ):
        with pytest.raises(ValueError, match=said):
            ParagraphCopies(**wrong)
