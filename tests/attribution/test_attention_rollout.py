"""Attention rollout: the product of the layers, by hand."""

import pytest
import torch

from tests.attribution.attended import model, scores, weights
from tests.attribution.models import Smooth
from trivium.attribution.attention import Attention
from trivium.attribution.attention_rollout import AttentionRollout


@pytest.mark.parametrize("residual", [0.5, 0.2])
def test_it_is_the_product_of_the_layers(residual):
    product = torch.eye(5, dtype=torch.float64)
    for layer in weights().mean(1):
        product = ((1 - residual) * layer + residual * torch.eye(5, dtype=torch.float64)) @ product
    found = scores(AttentionRollout(residual=residual), model())
    torch.testing.assert_close(found, product[-1])
    assert found.sum().item() == pytest.approx(1.0)


def test_tokens_that_never_mix_leave_all_to_the_last():
    assert scores(AttentionRollout(residual=1.0), model()).tolist() == [0.0] * 4 + [1.0]


def test_of_one_layer_by_hand():
    """A half of the layer's weights, and the other half of the last position itself."""
    expected = scores(Attention(), Smooth()) / 2
    expected[-1] += 0.5
    torch.testing.assert_close(scores(AttentionRollout(), Smooth()), expected)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"residual is a share, so 0 to 1; got 1\.5"):
        AttentionRollout(residual=1.5)
