"""Attention: the mean of the last position's weights."""

import pytest
import torch

from tests.attribution.attended import model, scores, weights
from tests.attribution.models import Smooth
from tests.families import wrapped
from trivium.attribution.attention import Attention
from trivium.core.errors import NotOffered


@pytest.mark.parametrize("source", ["native", "transformers"])
def test_what_is_shared_out_sums_to_one(source):
    found = scores(Attention(), model() if source == "native" else wrapped("llama"))
    assert found.sum().item() == pytest.approx(1.0)
    assert (found >= 0).all()


def test_it_is_the_mean_over_layers_and_heads():
    torch.testing.assert_close(scores(Attention(), model()), weights()[:, :, -1].mean((0, 1)))


def test_the_first_position_can_be_left_out():
    frozen = torch.tensor([True, False, False, False, False])
    whole, rest = scores(Attention(), model()), scores(Attention(), model(), frozen=frozen)
    assert rest[0] == 0
    assert torch.equal(rest[1:], whole[1:])


def test_a_model_without_weights_in_every_layer_is_refused():
    class Half(Smooth):
        depth = 2

    with pytest.raises(NotOffered, match=r"every layer; this model lacks blocks\.1\.attn\.weights"):
        scores(Attention(), Half())
    with pytest.raises(NotOffered, match="needs 'attention'"):
        scores(Attention(), wrapped("mamba"))
