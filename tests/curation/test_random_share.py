"""A share by chance: how much stays, which, and that nothing but the text and the seed has a say."""

import numpy as np
import pytest

from trivium.curation.quality import Quality
from trivium.curation.random_share import RandomShare
from trivium.data.curating import curated
from trivium.data.linear import LinearClassifier
from trivium.data.marks import Texts

MANY = Texts([f"d{n}" for n in range(4000)], [f"text {n} 🙂" for n in range(4000)], ["s"] * 4000)
KNOWN = 0.733605036021828


def kept(**given) -> set[str]:
    return set(curated(RandomShare(**given), MANY).texts.ids)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_so_many_stay(share):
    assert abs(len(kept(share=share)) / 4000 - share) < 4 * (share * (1 - share) / 4000) ** 0.5


def test_all_stay_and_smaller_shares_are_parts_of_larger_ones():
    assert len(kept(share=1.0)) == 4000
    assert kept(share=0.1) < kept(share=0.3) < kept(share=0.9)


def test_numbers_are_even_and_those_of_seeds_and_of_quality_s_draw_are_independent(tmp_path):
    LinearClassifier(np.zeros(1 << 8, np.float32), 0.0, 1).save(tmp_path / "even")
    one, other = (RandomShare(seed=seed).tag(MANY).numbers["number"] for seed in (0, 1))
    drawn = Quality(str(tmp_path / "even")).tag(MANY).numbers["draw"]
    assert 0 <= one.min() < one.max() < 1
    assert np.abs(np.sort(one) - (np.arange(4000) + 0.5) / 4000).max() < 0.03  # Kolmogorov's distance
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.07
    assert abs(np.corrcoef(one, drawn)[0, 1]) < 0.07


def test_the_number_of_a_text_is_this_one_for_ever():
    found = RandomShare().tag(Texts(["a", "b"], ["text", "text"], ["s", "t"])).numbers["number"]
    assert found.tolist() == [KNOWN, KNOWN]
    assert RandomShare(seed=1).tag(Texts(["a"], ["text"], ["s"])).numbers["number"][0] != KNOWN


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_bad_settings(share):
    with pytest.raises(ValueError, match="share is what stays"):
        RandomShare(share)
