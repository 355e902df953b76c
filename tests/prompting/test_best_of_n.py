import pytest

from claims.prompting._ordered import ITEMS, Ordered, Vectors
from trivium.core.seeds import generator
from trivium.prompting.best_of_n import BestOfN


def test_the_best_of_those_that_were_drawn():
    task = Ordered()
    found = BestOfN(evaluations=9, items=10, fresh=5).search(task, Vectors(task), generator=generator(0))
    assert len(found.history) == 9
    assert found.reward == max(found.history)
    assert task.asked == 9 * 10 + 5
    more = BestOfN(evaluations=20, shots=3).search(Ordered(), Vectors(task), generator=generator(0))
    assert len(more.history) == 20
    assert ITEMS == 20


def test_bad_settings():
    for changed in ({"shots": 0}, {"evaluations": 0}, {"items": 0}, {"fresh": -1}):
        with pytest.raises(ValueError, match="must be at least"):
            BestOfN(**changed)
    with pytest.raises(ValueError, match="too few for 13 shots"):
        BestOfN(shots=13).search(Ordered(), None, generator=generator(0))
