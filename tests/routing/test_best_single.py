import pytest
import torch

from trivium.core.nouns import Experts
from trivium.core.seeds import generator
from trivium.routing.best_single import BestSingle

EXPERTS = Experts(("a", "b", "c"), {"size": (3.0, 2.0, 1.0), "age": (0.0, 5.0, 9.0)})
LOSSES = torch.tensor([[1.0, 2.0, 9.0], [3.0, 1.0, float("nan")], [2.0, 2.5, 9.0]])


def choice(**settings):
    router = BestSingle(**settings).fit(["x", "y", "z"], LOSSES, EXPERTS, generator=generator(0))
    return router(["p", "q"]).tolist()


def test_the_least_mean_of_what_was_observed():
    assert choice() == [1, 1]  # means 2, 1.83 and 9
    assert choice(weight=10.0) == [2, 2]  # 32, 21.8 and 19
    assert choice(weight=10.0, cost="age") == [0, 0]
    with pytest.raises(ValueError, match="weight must not be negative, got -1"):
        BestSingle(weight=-1.0)
