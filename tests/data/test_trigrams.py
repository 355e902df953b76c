import pytest
import torch

from trivium.data.trigrams import trigrams


def test_shares_by_hand():
    found = trigrams(["aaa", "aaaa"], width=1 << 16)
    assert sorted(found[0].square()[found[0] > 0].tolist()) == pytest.approx(
        [1 / 3, 1 / 3, 1 / 3]
    )  # " aa", "aaa", "aa "
    assert sorted(found[1].square()[found[1] > 0].tolist()) == pytest.approx([1 / 4, 1 / 4, 1 / 2])


def test_vectors_have_length_1_and_depend_on_no_other_text():
    texts = ["the cat sat on the mat", "le chat est sur le tapis", "é", "x" * 1000]
    found = trigrams(texts, 256)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4, dtype=torch.float64))
    for row, text in enumerate(texts):
        assert torch.equal(found[row], trigrams([text], 256)[0])
    assert (found > 0).sum(1).max() > 10  # they spread over the buckets
    assert found[0] @ trigrams(["the cat and the mat"], 256)[0] > found[1] @ trigrams(["the cat and the mat"], 256)[0]


def test_bad_input():
    with pytest.raises(ValueError, match="no text to make"):
        trigrams([])
    with pytest.raises(ValueError, match="text 1 is empty"):
        trigrams(["a", ""])
    with pytest.raises(ValueError, match="at least 2 buckets"):
        trigrams(["a"], 1)
