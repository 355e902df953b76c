"""Near duplicates: the S-curve of banding, unbiased signatures, clusters."""

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from trivium.data.near_duplicates import (
    BLOCK,
    PRESETS,
    MinHash,
    agreement,
    candidate_pairs,
    components,
    jaccard,
    normalised,
    shingles,
    similar,
)


def planted(generator, count, similarity, union=200):
    """Pairs of sets of this Jaccard similarity, all else random."""
    own = round(union * (1 - similarity) / 2)
    hashes = generator.integers(0, 2**64, (count, union), np.uint64)
    return [half for row in hashes for half in (np.unique(row[own:]), np.unique(row[: union - own]))]


@pytest.mark.parametrize("similarity", [0.63, 0.82, 0.91])
def test_recall_follows_the_curve(similarity):
    count, how = 1000, MinHash(seed=3)
    sets = planted(np.random.default_rng(7), count, similarity)
    assert jaccard(*sets[:2]) == pytest.approx(similarity)
    signatures = how.signatures(sets)
    pairs = candidate_pairs(how.keys(signatures))
    found = {tuple(pair) for pair in pairs.tolist()}
    true = np.arange(2 * count).reshape(-1, 2)
    chance = how.chance(similarity)
    error = np.sqrt(chance * (1 - chance) / count)
    assert len(found & set(map(tuple, true.tolist()))) / count == pytest.approx(chance, abs=3 * error)
    assert len(found) <= count  # and not one pair that was not planted
    estimates = agreement(signatures, true)
    # The mean of 1000 estimates of 112 numbers each, within three standard errors; one estimate, within the bound.
    spread = np.sqrt(similarity * (1 - similarity) / 112)
    assert estimates.mean() == pytest.approx(similarity, abs=3 * spread / np.sqrt(count))
    assert np.abs(estimates - similarity).mean() < 2 / np.sqrt(112)
    assert estimates.std() == pytest.approx(spread, rel=0.15)


def test_the_curve_s_numbers():
    at = {name: [round(how.chance(j), 2) for j in (0.7, 0.8, 0.9)] for name, how in PRESETS.items()}
    assert at["fineweb"] == [0.56, 0.92, 1.0]
    assert at["mt_nlg"] == [0.18, 0.68, 1.0]  # 0.9971
    assert at["high_recall"] == [1.0, 1.0, 1.0]
    assert [round(how.threshold, 2) for how in PRESETS.values()] == [0.72, 0.79, 0.42]


def test_signatures_are_those_of_a_slow_loop():
    how = MinHash(2, 3, seed=5)
    generator = np.random.Generator(np.random.PCG64(5))
    a, b = generator.integers(0, 2**64, (2, 6, 1), np.uint64)[..., 0].tolist()
    for count in (1, 7, BLOCK + 3):  # the last in two blocks
        found = np.random.default_rng(count).integers(0, 2**64, count, np.uint64)
        slow = [min((((x | 1) * h + y) % 2**64) >> 32 for h in found.tolist()) for x, y in zip(a, b, strict=True)]
        assert how.signatures([found])[0].tolist() == slow
    assert (how.signatures([found]) != MinHash(2, 3, seed=6).signatures([found])).all()


def test_bands_agree_where_their_numbers_do_and_only_there():
    how = MinHash(2, 2)
    keys = how.keys(np.array([[1, 2, 1, 2], [1, 2, 3, 4], [3, 4, 2, 1], [5, 5, 3, 4]], np.uint32))
    assert keys[0, 0] == keys[1, 0]
    assert len(np.unique(keys)) == 6  # the same numbers in another band or order are another key
    assert candidate_pairs(keys).tolist() == [[0, 1], [1, 3]]


def test_shingles_are_runs_of_words_or_characters():
    assert len(shingles("a b c d e f")) == 2
    assert jaccard(shingles("a b c d e f"), shingles("x a b c d e")) == pytest.approx(1 / 3)
    assert len(shingles("a a a a a a a a")) == 1  # a set
    assert shingles("a b", 5).tolist() != shingles("b a", 5).tolist()
    assert len(shingles("a b c", 1)) == 3
    assert len(shingles("abcdefg", 5, "characters")) == 3
    assert len(shingles("😀é漢字", 2, "characters")) == 3
    for short in ("", "one", "one two"):  # fewer words than the size: the whole text
        assert len(shingles(short)) == len(shingles(short, 24, "characters")) == 1
    assert shingles("one").tolist() != shingles("two").tolist()


def test_normalised():
    assert normalised("  The\tCAT\n sat. ") == "the cat sat."
    assert normalised("The cat, sat.", punctuation=False) == "the cat sat"
    assert normalised("e\u0301") == "é"
    assert normalised("ﬁ") == "ﬁ"
    assert normalised("ﬁ", compatible=True) == "fi"


def test_exact_similarity_takes_out_what_only_looked_alike():
    words = [f"w{x}" for x in range(60)]
    texts = [" ".join(words), " ".join(words[:40] + [f"v{x}" for x in range(20)]), " ".join(words), "a b c d e"]
    sets, easy = (
        [shingles(text) for text in texts],
        MinHash(64, 1),
    )  # half of the shingles are shared: one in 64 sees it
    assert similar(sets, easy, 0.01).tolist() == [0, 0, 0, 3]
    assert similar(sets, easy, 0.4).tolist() == [0, 0, 0, 3]
    assert similar(sets, easy, 0.9).tolist() == [0, 1, 0, 3]
    assert similar(sets[3:], easy, 1.0).tolist() == [0]
    assert similar([], easy, 1.0).tolist() == []
    written = [shingles(text, 4, "characters") for text in ("漢字かな交じり文" * 4, "漢字かな交じり文" * 4 + "。")]
    assert similar(written, MinHash(), 0.5).tolist() == [0, 0]


def test_stars_make_the_same_clusters_as_every_pair():
    keys = np.random.default_rng(0).integers(0, 12, (30, 3)).astype(np.uint64) + np.arange(3, dtype=np.uint64) * 100
    full, star = candidate_pairs(keys), candidate_pairs(keys, every=False)
    assert len(star) < len(full)
    assert (components(30, full) == components(30, star)).all()
    slow = [(i, j) for i in range(30) for j in range(i + 1, 30) if (keys[i] == keys[j]).any()]
    assert [tuple(pair) for pair in full.tolist()] == slow


def test_components_by_hand():
    pairs = np.array([[4, 5], [1, 2], [2, 4], [0, 3]])
    assert components(7, pairs).tolist() == [0, 1, 1, 0, 1, 1, 6]
    for seed in range(4):
        pairs = np.random.default_rng(seed).integers(0, 60, (40, 2))
        _, label = connected_components(coo_array((np.ones(40), pairs.T), (60, 60)), directed=False)
        assert components(60, pairs).tolist() == [label.tolist().index(one) for one in label]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0 x 8"):
        MinHash(0)
    with pytest.raises(ValueError, match="needs 112 numbers"):
        MinHash().keys(np.zeros((2, 10), np.uint32))
    with pytest.raises(ValueError, match="document 1 has no shingle"):
        MinHash().signatures([shingles("a"), np.empty(0, np.uint64)])
    with pytest.raises(ValueError, match="at least 1 word"):
        shingles("a", 0)
    with pytest.raises(ValueError, match="'words' or 'characters'"):
        shingles("a", 5, "bytes")
    with pytest.raises(ValueError, match=r"Jaccard similarity, above 0 and at most 1; got 1\.5"):
        similar([shingles("a")], MinHash(), 1.5)
    with pytest.raises(ValueError, match="places 0 to 3"):
        components(3, np.array([[0, 3]]))
