from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from trivium.architectures.llama import Llama
from trivium.architectures.polycom import PolyCom, Polynomial, activated
from trivium.models.slots import PlainMLP
from trivium.nn.polynomial import poly_norm, poly_relu
from trivium.training.update import decayed

VOCAB = 41
VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "polycom.npz"
PLAIN = {"relu": F.relu, "squared_relu": lambda x: F.relu(x) ** 2, "gelu": F.gelu}


def ids(batch=2, time=19):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(0))


def lively(recipe):
    model = recipe.build(VOCAB, seed=1).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return model


@pytest.fixture
def authors():
    if not VECTORS.is_file():
        pytest.skip(f"the authors' outputs are not beside this checkout ({VECTORS.parent.name}/{VECTORS.name})")
    return {name: torch.from_numpy(array) for name, array in np.load(VECTORS).items() if array.ndim}


def close(got, expected):
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(("name", "activation"), [("PolyNorm", poly_norm), ("PolyReLU", poly_relu)])
def test_outputs_and_gradients_agree_with_the_authors_code(authors, name, activation):
    x = authors["in_x"].clone().requires_grad_()
    rising = authors["w_weight_cubic_square_linear"].flip(0).requires_grad_()
    bias = authors["w_bias"].clone().requires_grad_()
    y = activation(x, rising, bias)
    close(y, authors[f"out_{name}"])
    got = torch.autograd.grad((y * authors["in_upstream_grad"]).sum(), (x, rising, bias))
    close(got[0], authors[f"grad_{name}_x"])
    close(got[1].flip(0), authors[f"grad_{name}_weight"])
    close(got[2], authors[f"grad_{name}_bias"])


def test_a_fresh_activation_agrees_with_the_authors_start(authors):
    fresh = PolyCom().build(VOCAB).double().blocks[0].channel.activation  # 1/3 rounded to float32, as theirs
    close(fresh(authors["in_x"]), authors["out_PolyNorm_default_init"])
    fresh.normed = False
    close(fresh(authors["in_x"]), authors["out_PolyReLU_default_init"])


def test_the_blocked_rows_of_the_authors_experts_are_dense_rows(authors):
    dense = authors["in_moe_dense_view"]
    rising = authors["w_weight_cubic_square_linear"].flip(0)
    close(poly_norm(dense, rising, authors["w_bias"]), authors["out_PolyNorm_moe_dense_view"])


def test_the_start_is_a_third_of_each_power_and_no_constant():
    for block in PolyCom(depth=3).build(VOCAB).blocks:
        assert block.channel.activation.weight.tolist() == pytest.approx([1 / 3] * 3)
        assert block.channel.activation.bias.tolist() == [0.0]


@pytest.mark.parametrize("activation", ["polynorm", "polyrelu", "relu", "squared_relu", "gelu"])
def test_the_feed_forward_is_two_matrices_around_the_activation(activation):
    channel = lively(PolyCom(activation=activation, hidden=24, poly_eps=0.1)).blocks[1].channel
    x = torch.randn(2, 3, 64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    u = x @ channel.up_proj.weight.T
    a = torch.full((3,), 1 / 3)
    if activation == "polynorm":
        z = sum(a[i - 1] * u**i / ((u**i).square().mean(-1, keepdim=True) + 0.1).sqrt() for i in (1, 2, 3))
    elif activation == "polyrelu":
        z = sum(a[i - 1] * u.relu() ** i for i in (1, 2, 3))
    else:
        z = PLAIN[activation](u)
    torch.testing.assert_close(channel(x, None), z @ channel.down_proj.weight.T, atol=1e-10, rtol=1e-10)


def test_with_the_first_power_alone_polyrelu_is_the_decoder_with_relu():
    model, plain = lively(PolyCom(activation="polyrelu")), lively(PolyCom(activation="relu"))
    assert (model(ids()).logits - plain(ids()).logits).abs().max() > 1e-3
    with torch.no_grad():
        for block in model.blocks:
            block.channel.activation.weight.copy_(torch.tensor([1.0, 0.0, 0.0]))
    assert torch.equal(model(ids()).logits, plain(ids()).logits)


def test_nothing_but_the_feed_forward_differs_from_the_baseline():
    model, base = (
        lively(PolyCom(kv_heads=2, layout="half", base=500.0)),
        lively(Llama(kv_heads=2, layout="half", base=500.0)),
    )
    with torch.no_grad():
        for block in (*model.blocks, *base.blocks):
            block.channel.down_proj.weight.zero_()
    assert torch.equal(model(ids()).logits, base(ids()).logits)


def test_four_parameters_are_added_per_layer_and_spared_from_weight_decay():
    def count(activation):
        return sum(p.numel() for p in PolyCom(activation=activation, depth=3).build(VOCAB).parameters())

    assert count("polynorm") == count("polyrelu") == count("gelu") + 3 * 4
    assert count("gelu") == VOCAB * 64 + 3 * (4 * 64**2 + 2 * 64 * 256 + 2 * 64) + 64
    model = PolyCom().build(VOCAB)
    spared = {id(parameter) for parameter in decayed(model)[1]}
    for part in model.modules():
        if isinstance(part, Polynomial):
            assert {id(part.weight), id(part.bias)} <= spared


def test_eight_units_of_polyrelu_multiply_three_numbers_exactly():
    """x1 x2 x3 is a sum of four cubes over 24, (+ + +) - (+ + -) - (+ - +) + (+ - -); u^3 = relu(u)^3 - relu(-u)^3."""
    signs = torch.tensor([[1.0, 1, 1], [1, 1, -1], [1, -1, 1], [1, -1, -1]], dtype=torch.float64)
    weight = torch.tensor([1.0, -1, -1, 1], dtype=torch.float64)[None] / 24
    channel = PlainMLP(3, 8, activated("polyrelu")).double()
    x = torch.rand(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        channel.up_proj.weight.copy_(torch.cat((signs, -signs)))
        channel.down_proj.weight.copy_(torch.cat((weight, -weight), 1).expand(3, -1))
        channel.activation.weight.copy_(torch.tensor([0.0, 0.0, 1.0]))
        channel.activation.bias.zero_()
    torch.testing.assert_close(channel(x, None)[:, 0], x.prod(-1), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"activation": "swish"}, "activation must be one of polynorm"),
        ({"poly_eps": 0.0}, "poly_eps must be positive"),
        ({"heads": 5}, "even number"),
        ({"hidden": 0}, "hidden must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        PolyCom(**wrong)
