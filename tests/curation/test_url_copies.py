"""Of documents from one address one stays, by a declared order; without an address a document stays."""

import pytest

from trivium.curation.url_copies import UrlCopies
from trivium.data.bloom import Bloom
from trivium.data.curating import curated, measured
from trivium.data.digests import digests
from trivium.data.marks import Texts
from trivium.data.planted import planted


def pages(*urls, sources=None, ids=None) -> Texts:
    ids = ids or [f"d{n}" for n in range(len(urls))]
    return Texts(ids, [f"text {n}" for n in range(len(urls))], sources or ["web"] * len(urls), [*urls])


def at(url) -> dict:
    return {"url": url}


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("http://example.org/a", "http://example.org/a", True),
        ("http://example.org/a", "https://EXAMPLE.org:443/a#top", True),
        ("http://example.org:80", "https://example.org/", True),
        ("http://example.org:443/", "https://example.org/", False),
        ("http://example.org/a", "http://example.org/A", False),
        ("http://example.org/a", "http://example.org/a/", False),
        ("http://example.org/a?x=1", "http://example.org/a?x=2", False),
        ("http://example.org/a?x=1", " http://example.org/a?x=1\n", True),
        ("http://[broken/a", "http://[broken/a", True),
        ("no address", "no address", True),
    ],
)
def test_which_addresses_are_the_same(one, other, alike):
    found = curated(UrlCopies(), pages(at(one), at(other)))
    assert list(found.texts.ids) == (["d0"] if alike else ["d0", "d1"])
    strict = curated(UrlCopies(normalise=False), pages(at(one), at(other)))
    assert strict.counts.kept == (1 if one == other else 2)


def test_without_an_address_a_document_stays_and_says_so():
    found = curated(UrlCopies(), pages({}, {}, at(""), at(" "), at(None), at(3), at("a.org"), at("a.org")))
    assert found.marks.numbers["url_copies.known"].tolist() == [0] * 6 + [1, 1]
    assert found.marks.numbers["url_copies.copies"].tolist() == [1] * 6 + [2, 2]
    assert found.counts.kept == 7
    other = curated(UrlCopies(field="link"), pages({"link": "a.org"}, {"link": "a.org", "url": "b.org"}))
    assert other.counts.kept == 1


def test_who_stays():
    three = pages(*[at("a.org")] * 3, sources=["web", "books", "web"], ids=["a", "c", "b"])
    assert list(curated(UrlCopies(), three).texts.ids) == ["c"]
    assert list(curated(UrlCopies(prefer=("web",)), three).texts.ids) == ["a"]
    first, second = measured(UrlCopies(), [pages(at("a.org"), ids=["z"]), pages(at("a.org"), at("b.org"))])
    assert first.numbers["stays"].tolist() == [0]
    assert second.numbers["stays"].tolist() == [1, 1]


def test_planted_visits_are_found_and_nothing_else():
    documents = list(planted(400, seed=3, shares={"visited": 0.2, "copy": 0.1}))
    found = curated(UrlCopies(), Texts.of(documents))
    dropped = {d.id for d, stays in zip(documents, found.decided.kept, strict=True) if not stays}
    pairs = [{d.id, d.metadata["of"]} for d in documents if d.metadata.get("planted") == "visited"]
    assert len(dropped) == len(pairs) > 50
    assert all(dropped & pair for pair in pairs)
    assert not dropped - set().union(*pairs)


def test_what_is_known_goes(tmp_path):
    path = tmp_path / "seen.bloom"
    bloom = Bloom(10)
    bloom.add(digests(["a.org/", ""]))
    bloom.save(path)
    method = UrlCopies(known=str(path))
    assert list(curated(method, pages(at("http://a.org"), at("http://b.org"), {})).texts.ids) == ["d1", "d2"]
    before = method.depends
    bloom.add(digests(["b.org/"]))
    bloom.save(path)
    assert method.depends != before
    assert list(curated(method, pages(at("http://a.org"), at("http://b.org"), {})).texts.ids) == ["d2"]


def test_bad_settings():
    for wrong, said in (
        ({"field": ""}, "field names what of the metadata"),
        ({"prefer": ("a", "a")}, "names a source twice"),
        ({"known": "/nowhere/x.bloom"}, "'/nowhere/x.bloom' is none; data.remembering makes one"),
    ):
        with pytest.raises(ValueError, match=said):
            UrlCopies(**wrong)
