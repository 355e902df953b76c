"""Attention, last attention and rollout: read from weights that can be written down."""

import pytest
import torch

from tests.attribution.models import Smooth
from tests.families import wrapped
from trivium.architectures.llama import Llama
from trivium.attribution.attention import Attention
from trivium.attribution.attention_rollout import AttentionRollout
from trivium.attribution.last_attention import LastAttention
from trivium.core.errors import NotOffered
from trivium.core.nouns import Target

IDS = torch.tensor([7, 3, 11, 3, 2])
TARGET = Target(4)


def scores(explainer, model, **more):
    return explainer(model, IDS, TARGET, generator=torch.Generator(), **more).scores


@pytest.fixture(scope="module")
def model():
    made = Llama(width=16, heads=2, depth=3).build(31).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return made


@pytest.fixture(scope="module")
def weights(model):
    names = [f"blocks.{layer}.attn.weights" for layer in range(3)]
    with torch.no_grad(), model.capture(*names) as seen:
        model(IDS[None])
    return torch.stack([seen[name][0] for name in names])  # (layers, heads, time, time)


@pytest.mark.parametrize("explainer", [Attention(), LastAttention(), AttentionRollout()])
@pytest.mark.parametrize("source", ["native", "transformers"])
def test_what_is_shared_out_sums_to_one(explainer, source, model):
    found = scores(explainer, model if source == "native" else wrapped("llama"))
    assert found.sum().item() == pytest.approx(1.0)
    assert (found >= 0).all()


def test_means_over_layers_and_heads(model, weights):
    torch.testing.assert_close(scores(Attention(), model), weights[:, :, -1].mean((0, 1)))
    torch.testing.assert_close(scores(LastAttention(), model), weights[2, :, -1].mean(0))


@pytest.mark.parametrize("residual", [0.5, 0.2])
def test_rollout_is_the_product_of_the_layers(model, weights, residual):
    product = torch.eye(5, dtype=torch.float64)
    for layer in weights.mean(1):
        product = ((1 - residual) * layer + residual * torch.eye(5, dtype=torch.float64)) @ product
    torch.testing.assert_close(scores(AttentionRollout(residual=residual), model), product[-1])


def test_tokens_that_never_mix_leave_all_to_the_last(model):
    assert scores(AttentionRollout(residual=1.0), model).tolist() == [0.0] * 4 + [1.0]


def test_rollout_of_one_layer_by_hand():
    """A half of the layer's weights, and the other half of the last position itself."""
    one = Smooth()
    expected = scores(Attention(), one) / 2
    expected[-1] += 0.5
    torch.testing.assert_close(scores(AttentionRollout(), one), expected)


def test_the_first_position_can_be_left_out(model):
    frozen = torch.tensor([True, False, False, False, False])
    whole, rest = scores(Attention(), model), scores(Attention(), model, frozen=frozen)
    assert rest[0] == 0
    assert torch.equal(rest[1:], whole[1:])


def test_a_model_without_weights_in_every_layer_is_refused():
    class Half(Smooth):
        depth = 2

    with pytest.raises(NotOffered, match=r"every layer; this model lacks blocks\.1\.attn\.weights"):
        scores(Attention(), Half())
    with pytest.raises(NotOffered, match="needs 'attention'"):
        scores(AttentionRollout(), wrapped("mamba"))


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"residual is a share, so 0 to 1; got 1\.5"):
        AttentionRollout(residual=1.5)
