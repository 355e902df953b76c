"""What a run knows, for later ones: its sketches, with the ids of matches, or a filter made of them."""

import json

import pytest

from trivium.curation.exact_copies import ExactCopies
from trivium.curation.gopher import Gopher
from trivium.curation.near_copies import NearCopies
from trivium.curation.paragraph_copies import ParagraphCopies
from trivium.curation.url_copies import UrlCopies
from trivium.data.bloom import Bloom, Overfull, WrongFilter
from trivium.data.curating import curated
from trivium.data.digests import digests
from trivium.data.marks import Texts
from trivium.data.plan import Plan, Run, Source
from trivium.data.remembering import Match, against, matches, remember, sketches

OLD = [("z", "One text\nand more"), ("y", "two texts here"), ("x", "two  texts here")]
NEW = [("a", "one TEXT\nand more"), ("b", "quite another"), ("c", "Quite another"), ("d", "two texts here")]
METHODS = {"exact_copies": ExactCopies(), "near_copies": NearCopies(), "paragraph_copies": ParagraphCopies(),
           "url_copies": UrlCopies(), "gopher": Gopher()}  # fmt: skip


def texts(rows, source="s") -> Texts:
    ids, said = zip(*rows, strict=True)
    return Texts(ids, said, [source] * len(rows), [{"url": f"http://x.org/{id}"} for id in ids])


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    for number, rows in enumerate((OLD[:2], OLD[2:])):
        lines = [json.dumps({"id": id, "text": said, "url": f"http://x.org/{id}"}) for id, said in rows]
        (folder / f"{number}.jsonl").write_text("\n".join(lines))
    Run(Plan([Source(str(folder / "*.jsonl"), "s")], METHODS), folder / "run").go(show=False)
    return folder / "run"


@pytest.mark.parametrize("method", [ExactCopies(), ExactCopies(prefer=("crawl",)), NearCopies(size=2)])
def test_new_documents_beside_an_earlier_run(method):
    before, new = [method.sketch(texts(OLD))], [method.sketch(texts(NEW[:2], "crawl")), method.sketch(texts(NEW[2:]))]
    found = list(matches(method, before, new))
    kept = ("s", "c") if not method.prefer and "crawl" > "s" else ("crawl", "b")
    gone = ("crawl", "b") if kept == ("s", "c") else ("s", "c")
    expected = {
        Match(("crawl", "a"), ("s", "z"), True),
        Match(gone, kept, False),
        Match(("s", "d"), ("s", "x"), True),
    }
    assert set(found) == expected
    assert len(found) == 3
    first, second = against(method, before, new)
    stays = [*first.numbers["stays"].tolist(), *second.numbers["stays"].tolist()]
    assert stays == [float((source, id) not in {one.document for one in found})
                     for source, id in (("crawl", "a"), ("crawl", "b"), ("s", "c"), ("s", "d"))]  # fmt: skip


def test_paragraphs_of_an_earlier_run_are_not_said_again():
    method = ParagraphCopies()
    new = texts([("a", "and more\nmy own"), ("b", "my own")])
    (found,) = against(method, [method.sketch(texts(OLD))], [method.sketch(new)])
    assert [[(a, b) for a, b, _ in row] for row in found.spans["copies"]] == [[(0, 9)], [(0, 6)]]


def test_sketches_of_a_run_are_those_of_its_documents(old):
    read = sketches(old, "exact_copies")
    method = ExactCopies()
    found = list(matches(method, read, [method.sketch(texts(NEW))]))
    assert {one.document[1]: one.kept[1] for one in found} == {"a": "z", "c": "b", "d": "x"}
    with pytest.raises(ValueError, match="holds no sketches; name the folder of a run that had fineweb"):
        sketches(old, "fineweb")
    with pytest.raises(ValueError, match="holds no sketches"):
        sketches(old, "gopher")


def test_a_filter_of_a_run(old, tmp_path):
    path = tmp_path / "documents.bloom"
    bloom = remember(old, "exact_copies", path, rate=1e-9)
    assert (bloom.expected, bloom.count, len(bloom.holding)) == (3, 2, 2)
    assert list(curated(ExactCopies(known=str(path)), texts(NEW)).texts.ids) == ["b"]
    assert Bloom.load(path).holds(digests(["one text and more"])).all()
    addresses = tmp_path / "addresses.bloom"
    remember(old, "url_copies", addresses)
    other = texts([("x", "new text"), ("q", "newer text")])
    assert list(curated(UrlCopies(known=str(addresses)), other).texts.ids) == ["q"]
    paragraphs = tmp_path / "paragraphs.bloom"
    remember(old, "paragraph_copies", paragraphs)
    assert curated(ParagraphCopies(known=str(paragraphs)), texts([("a", "and more\nmine")])).texts.texts == ["mine"]


def test_a_filter_is_gone_on_with_and_a_shard_goes_in_once(old, tmp_path):
    path = tmp_path / "documents.bloom"
    first = remember(old, "exact_copies", path, expected=10)
    again = remember(old, "exact_copies", path)
    assert (again.count, again.holding) == (first.count, first.holding)
    with pytest.raises(WrongFilter, match="made with expected 10, not 20"):
        remember(old, "exact_copies", path, expected=20)
    with pytest.raises(Overfull, match="in a filter made for 1"):
        remember(old, "exact_copies", tmp_path / "small.bloom", expected=1)
    assert not (tmp_path / "small.bloom").exists()
    with pytest.raises(ValueError, match="near_copies does not compare texts by one hash"):
        remember(old, "near_copies", path)
