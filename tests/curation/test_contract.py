"""What every method of curation holds: written against the protocol, run over the folder."""

import itertools

import numpy as np
import pytest

from trivium.core.method import find, names
from trivium.data.curating import Gatherer, Tagger, curated, measured, names_of, together
from trivium.data.marks import Marks, Texts

METHODS = names("curation")

SENTENCES = [
    "The river rose in the night and took the bridge with it, and nobody had seen it go.",
    "Call me at 555-123-4567 or write to someone@example.org before the end of the week!",
    "• first point\n• second point\n• third point…",
    "buy buy buy buy buy buy buy buy buy buy cheap cheap cheap",
    "Ünïcödé — 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 🙂🙂 and an e\u0301 that is two code points",
    "{ this.page = 'lorem ipsum' }",
    "",
    " \n\t\n",
    "x",
    "NUL \0 and bell \a stay",
]
TEXTS = [
    *SENTENCES,
    *("\n".join(pair) for pair in itertools.pairwise(SENTENCES)),
    "\n\n".join(SENTENCES * 5),
    SENTENCES[0],
    SENTENCES[0].upper(),
]
ALL = Texts([f"d{n}" for n in range(len(TEXTS))], TEXTS, [f"s{n % 3}" for n in range(len(TEXTS))])


def part(texts: Texts, places) -> Texts:
    columns = (texts.ids, texts.texts, texts.sources, texts.metadata)
    return Texts(*([column[place] for place in places] for column in columns))


def same(a: Marks, b: Marks) -> bool:
    numbers = all(np.array_equal(a.numbers[n], b.numbers[n], equal_nan=True) for n in a.numbers)
    return numbers and {n: list(map(list, r)) for n, r in a.spans.items()} == {
        n: list(map(list, r)) for n, r in b.spans.items()
    }


@pytest.fixture(params=METHODS)
def made(request):
    return find("curation", request.param)()


def test_it_is_of_one_sort(made):
    assert isinstance(made, Tagger) != isinstance(made, Gatherer)


def test_it_measures_what_it_says(made):
    (found,) = measured(made, [ALL])  # raises where names, counts or spans are wrong
    assert found.count == len(TEXTS)
    assert found.numbers.keys() == made.measures
    assert found.spans.keys() == made.marks
    assert not any(np.isinf(column).any() for column in found.numbers.values())


def test_its_rules_are_about_what_it_measures(made):
    name = type(made).__card__.name
    made.rules.check(*names_of({name: made}))
    assert made.rules.drops or made.rules.cuts or not made.measures | made.marks  # what is measured is used
    assert all(drop.name.startswith(name) for drop in made.rules.drops)


def test_twice_gives_the_same(made):
    assert same(*(measured(made, [ALL])[0] for _ in range(2)))


def test_shards_and_their_order_do_not_matter(made):
    whole = measured(made, [ALL])[0]
    order = np.random.default_rng(1).permutation(len(TEXTS))
    cuts = [order[:5], order[5:6], order[6:6], order[6:]]
    parts = together(measured(made, [part(ALL, places) for places in cuts]))
    back = np.argsort(order)
    shuffled = Marks(
        parts.count,
        {name: column[back] for name, column in parts.numbers.items()},
        {name: [rows[place] for place in back] for name, rows in parts.spans.items()},
    )
    assert same(whole, shuffled)


def test_nothing_at_all(made):
    (found,) = measured(made, [Texts([], [], [])])
    assert found.count == 0
    assert curated(made, Texts([], [], [])).counts.read == 0


def test_every_document_and_character_is_accounted_for(made):
    found = curated(made, ALL)
    assert found.counts.read == len(TEXTS)
    assert found.counts.kept == len(found.texts)
    assert sum(found.counts.dropped.values()) == len(TEXTS) - len(found.texts)
    assert found.counts.chars_kept == sum(map(len, found.texts.texts))
    kept = [id for id, stays in zip(ALL.ids, found.decided.kept, strict=True) if stays]
    assert list(found.texts.ids) == kept


def test_a_document_that_is_kept_whole_is_not_changed(made):
    found = curated(made, ALL)
    texts = dict(zip(ALL.ids, ALL.texts, strict=True))
    cut = {id for id, cuts in zip(ALL.ids, found.decided.cuts, strict=True) if cuts}
    for id, text in zip(found.texts.ids, found.texts.texts, strict=True):
        assert (text == texts[id]) or id in cut


def test_a_second_time_removes_nothing_more_where_documents_are_compared(made):
    if not isinstance(made, Gatherer):
        pytest.skip("a tagger may find more once passages are cut")
    if getattr(made, "relative", False):
        pytest.skip("its documents are ranked among those that are there")
    once = curated(made, ALL)
    again = curated(made, once.texts)
    assert list(again.texts.ids) == list(once.texts.ids)
    assert list(again.texts.texts) == list(once.texts.texts)
