import numpy as np
import pytest

from trivium.evaluation.stats.multiplicity import holm
from trivium.evaluation.stats.paired import sign_flip
from trivium.evaluation.stats.verdicts import LEVEL, fewest_clusters


@pytest.mark.parametrize("family", [1, 2, 5, 16, 48, 200])
def test_fewer_clusters_than_a_verdict_needs_cannot_reach_the_level(family):
    """By the test itself, where every cluster points the same way: at the number it is reached, one below it is not."""
    fewest = fewest_clusters(family)
    reached = [holm([sign_flip(np.ones(n))] * family)[0] for n in (fewest - 1, fewest)]
    assert reached[1] < LEVEL <= reached[0]


def test_the_clusters_that_verdicts_need_by_hand():
    assert [fewest_clusters(family) for family in (0, 1, 2, 48)] == [6, 6, 7, 11]
