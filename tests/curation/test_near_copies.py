"""Near copies: clusters by bands, who stays, chains, and the chance that theory gives."""

import random

import numpy as np
import pytest

from trivium.curation.near_copies import NearCopies
from trivium.data.curating import curated, measured
from trivium.data.marks import Texts

WORDS = [f"w{n}" for n in range(5000)]


def words(seed: int, count: int = 200) -> list[str]:
    return random.Random(seed).sample(WORDS, count)


def texts(*said: str, sources=None) -> Texts:
    return Texts([f"d{n}" for n in range(len(said))], said, sources or ["s"] * len(said))


def changed(said: list[str], share: float, seed: int) -> list[str]:
    """A last stretch of other words: of the runs of five this share stays, but for the seam."""
    keep = int(share * len(said))
    return [*said[:keep], *words(seed + 10_000, len(said) - keep)]


def test_copies_and_strangers():
    base, other = words(1), words(2)
    found = measured(NearCopies(), [texts(" ".join(base), " ".join(other), " ".join(base).upper() + " !")])[0]
    assert found.numbers["stays"].tolist() == [1, 1, 0]
    assert found.numbers["copies"].tolist() == [2, 1, 2]
    assert found.numbers["likeness"][1] == 1.0
    assert found.numbers["likeness"][2] > 0.9


@pytest.mark.parametrize(("prefer", "kept"), [((), ["d1"]), (("web",), ["d0"]), (("books",), ["d1"])])
def test_the_preferred_source_stays(prefer, kept):
    base = " ".join(words(1))
    found = curated(NearCopies(prefer=prefer), texts(base, base + " x", base + " y", sources=["web", "books", "web"]))
    assert list(found.texts.ids) == kept


def test_a_chain_is_one_cluster_and_shows_in_the_likeness():
    one = words(1, 300)
    two = [*one[60:], *words(5, 60)]
    three = [*two[60:], *words(6, 60)]
    four = [*three[60:], *words(7, 60)]
    five = [*four[60:], *words(8, 60)]
    hashing = NearCopies(bands=64, rows=3)
    found = measured(hashing, [texts(*(" ".join(each) for each in (one, two, three, four, five)))])[0]
    assert found.numbers["copies"].tolist() == [5] * 5
    assert found.numbers["likeness"][4] < 0.2 < found.numbers["likeness"][1]


def test_verification_parts_what_only_looks_alike():
    base = words(1, 300)
    pair = texts(" ".join(base), " ".join(changed(base, 0.6, 3)))
    loose = {"bands": 64, "rows": 2}
    assert measured(NearCopies(**loose), [pair])[0].numbers["stays"].tolist() == [1, 0]
    assert measured(NearCopies(**loose, verify=0.8), [pair])[0].numbers["stays"].tolist() == [1, 1]


def test_short_and_empty_documents_are_compared_too():
    found = measured(NearCopies(), [texts("a b", "A  b", "", "", "a c")])[0]
    assert found.numbers["stays"].tolist() == [1, 0, 1, 0, 1]


def test_exact_copies_always_join_and_survivors_do_not_depend_on_order():
    said = ["One  two.", "one two.", "x " * 200, "x " * 200, "three"]
    assert measured(NearCopies(1, 128), [texts(*said)])[0].numbers["copies"].tolist() == [2, 2, 2, 2, 1]
    said = []
    for number in range(30):
        said.append(" ".join(words(number, 60)))
        said += [said[-1] + " and more"] * (number % 3 == 0) + [said[-1]] * (number % 4 == 0)
    rows = texts(*said)
    kept = set(curated(NearCopies(), rows).texts.ids)
    assert 30 <= len(kept) < len(said) - 8
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(said))
        moved = Texts([rows.ids[at] for at in order], [said[at] for at in order], ["s"] * len(said))
        assert set(curated(NearCopies(), moved).texts.ids) == kept


def test_recall_is_what_the_bands_promise():
    """300 pairs of Jaccard similarity about 0.72, where 14 x 8 gives about 0.64: within three standard errors."""
    method, pairs = NearCopies(), []
    for seed in range(300):
        base = words(seed, 120)
        pairs += [" ".join(base), " ".join(changed(base, 0.85, seed))]
    found = measured(method, [texts(*pairs)])[0]
    sets = [{tuple(p.split()[at : at + 5]) for at in range(116)} for p in pairs]
    alike = [len(a & b) / len(a | b) for a, b in zip(sets[::2], sets[1::2], strict=True)]
    expected = float(np.mean([method.hashing.chance(one) for one in alike]))
    recall = 1 - found.numbers["stays"].reshape(-1, 2).min(1).mean()
    assert 0.3 < expected < 0.9
    assert abs(recall - expected) < 3 * (expected * (1 - expected) / 300) ** 0.5


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"bands": 0}, "bands and rows"), ({"verify": 0.0}, "verify is a share"), ({"size": 0}, "at least 1 word"),
     ({"unit": "lines"}, "got 'lines'"), ({"prefer": ("a", "a")}, "names a source twice")],
)  # fmt: skip
def test_bad_settings(wrong, said):
    with pytest.raises(ValueError, match=said):
        NearCopies(**wrong)
