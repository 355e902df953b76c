import torch

from trivium.core.nouns import Experts
from trivium.core.seeds import generator
from trivium.routing.random_expert import RandomExpert


def test_experts_are_equally_likely_and_seeds_differ():
    experts, prompts = Experts(("a", "b", "c")), [f"prompt {number}" for number in range(1500)]
    one, other = (
        RandomExpert().fit(["x"], torch.ones(1, 3), experts, generator=generator(seed))(prompts) for seed in (0, 1)
    )
    shares = torch.bincount(one, minlength=3) / 1500
    assert (shares - 1 / 3).abs().max() < 0.05  # four standard errors
    assert 0.2 < (one == other).double().mean() < 0.45
