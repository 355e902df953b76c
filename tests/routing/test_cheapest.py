import torch

from trivium.core.nouns import Experts
from trivium.core.seeds import generator
from trivium.routing.cheapest import Cheapest

EXPERTS = Experts(("a", "b", "c"), {"size": (1.0, 2.0, 1.0), "age": (4.0, 3.0, 9.0)})


def test_the_least_cost_and_of_equals_the_least_loss():
    losses = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]])
    for cost, expert in (("size", 2), ("age", 1)):
        router = Cheapest(cost).fit(["x", "y"], losses, EXPERTS, generator=generator(0))
        assert router(["p"]).tolist() == [expert]
