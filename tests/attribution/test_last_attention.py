"""Last attention: the last layer's weights alone."""

import torch

from tests.attribution.attended import model, scores, weights
from trivium.attribution.last_attention import LastAttention


def test_it_is_the_mean_over_the_last_layer_s_heads():
    found = scores(LastAttention(), model())
    torch.testing.assert_close(found, weights()[-1, :, -1].mean(0))
    assert (found - weights()[0, :, -1].mean(0)).abs().max() > 1e-3


def test_what_is_frozen_is_left_out():
    frozen = torch.tensor([False, False, True, False, False])
    assert scores(LastAttention(), model(), frozen=frozen)[2] == 0
