"""Commonest words of a language: what counts, bounds, and lists that there are not."""

import unicodedata

import pytest

from trivium.core.errors import UnknownName
from trivium.curation.stop_words import GOPHER, LISTS, StopWords
from trivium.data.curating import curated
from trivium.data.languages import OWN
from trivium.data.marks import Texts


def numbers(text: str, **given) -> dict[str, float]:
    return {name: column[0] for name, column in StopWords(**given).tag(Texts(["d"], [text], ["s"])).numbers.items()}


def test_what_is_counted():
    found = numbers("THE river and the sea, they rose 2 times; it_was_it.")
    assert found == {"distinct": 5, "count": 7, "share": 7 / 11, "words": 11}  # the and they it was
    assert numbers("") == {"distinct": 0, "count": 0, "share": 0, "words": 0}
    assert numbers("L'eau était là", language="fr")["count"] == 1
    assert numbers(unicodedata.normalize("NFD", "è così"), language="it")["distinct"] == 1


def test_gopher_s_own_words():
    assert set(GOPHER) <= set(LISTS["en"].split())
    text = "They have to be with us."
    assert numbers(text, words=GOPHER)["distinct"] == 4  # have to be with
    assert numbers(text, words=("us",), least=1)["distinct"] == 1


def test_bounds():
    texts = Texts(list("abc"), ["the river", "the river and", "the the river"], ["s"] * 3)
    assert list(curated(StopWords(), texts).texts.ids) == ["b"]
    assert list(curated(StopWords(least=1), texts).texts.ids) == list("abc")
    found = curated(StopWords(least=0, least_share=0.6), texts)
    assert list(found.texts.ids) == ["b", "c"]
    assert found.counts.dropped == {"stop_words.share": 1}


@pytest.mark.parametrize(
    ("code", "name"), [("en", "english"), ("fr", "french"), ("es", "spanish"), ("nb", "norwegian"),
                       ("grc", "ancient_greek"), ("ar", "arabic")],
)  # fmt: skip
def test_prose_of_a_language_has_its_stop_words(code, name):
    text = OWN[name].replace("|", " ")
    assert numbers(text, language=code)["distinct"] >= 4
    assert numbers(text, language=code)["share"] > 0.12


@pytest.mark.parametrize("code", sorted(LISTS))
def test_every_list_is_of_single_words_each_once(code):
    listed = unicodedata.normalize("NFC", LISTS[code]).split()
    assert StopWords(words=tuple(dict.fromkeys(listed)))  # raises for what could not be found in a text
    assert len({*listed}) >= 20


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"language": "nl_BE"}, UnknownName, "no stop words of 'nl_BE'.*nl"),
        ({"language": "zh"}, UnknownName, "give others as words"),
        ({"words": ("The",)}, ValueError, "small"),
        ({"words": ("a b",)}, ValueError, "single"),
        ({"words": ("e\u0301t",)}, ValueError, "NFC"),
        ({"least": 100}, ValueError, "as many as are listed"),
        ({"least_share": -1.0}, ValueError, "least_share is a share"),
    ],
)
def test_bad_settings(wrong, error, said):
    with pytest.raises(error, match=said):
        StopWords(**wrong)
