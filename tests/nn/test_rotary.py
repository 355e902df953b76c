import pytest
import torch

from trivium.nn.rotary import half_from_interleaved, rotary_table, rotate, rotate_reference


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("stretch", [1.0, 2.5])
def test_outputs_and_gradients_equal_the_reference(layout, strided, stretch):
    x = rand(2, 3, 5, 8) if not strided else rand(2, 5, 3, 8).transpose(1, 2)
    x.requires_grad_()
    positions = torch.tensor([[0, 1, 2, 3, 4], [7, 3, 100, 2, 0]])
    fast = rotate(x, *rotary_table(positions, 8, 500.0, x.dtype, stretch=stretch), layout)
    slow = rotate_reference(x, positions, 500.0, layout, stretch)
    torch.testing.assert_close(fast, slow, atol=1e-12, rtol=0)
    weight = rand(2, 3, 5, 8, seed=1)
    (a,), (b,) = (torch.autograd.grad((y * weight).sum(), x) for y in (fast, slow))
    torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_inner_products_depend_on_the_distance_only(layout):
    q, k = rand(1, 1, 1, 16), rand(1, 1, 1, 16, seed=1)

    def product(m, n):
        turned = [rotate(x, *rotary_table(torch.tensor([[p]]), 16, dtype=x.dtype), layout) for x, p in ((q, m), (k, n))]
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(product(9, 4), product(1005, 1000))
    assert abs(product(9, 4) - product(9, 5)) > 1e-3


def test_the_layouts_agree_after_the_permutation():
    x, index = rand(2, 2, 4, 8), half_from_interleaved(8)
    table = rotary_table(torch.arange(4)[None], 8, dtype=x.dtype)
    interleaved = rotate(x, *table, "interleaved")
    torch.testing.assert_close(rotate(x[..., index], *table, "half"), interleaved[..., index])


def test_position_zero_turns_nothing_and_a_quarter_turn_is_a_quarter_turn():
    x = rand(1, 1, 1, 2)
    still = rotate(x, *rotary_table(torch.tensor([[0]]), 2, dtype=x.dtype))
    torch.testing.assert_close(still, x)
    quarter = torch.tensor(0.0, dtype=x.dtype).view(1, 1, 1, 1), torch.tensor(1.0, dtype=x.dtype).view(1, 1, 1, 1)
    torch.testing.assert_close(rotate(x, *quarter), torch.stack((-x[..., 1], x[..., 0]), -1))


@pytest.mark.parametrize("layout", ["half", "interleaved"])
@pytest.mark.parametrize("table", [torch.float32, torch.bfloat16])
def test_half_precision_comes_back_as_it_came(layout, table):
    x, positions = rand(1, 2, 5, 8).bfloat16(), torch.arange(5)[None]
    got = rotate(x, *rotary_table(positions, 8, dtype=table), layout)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(
        got.double(), rotate_reference(x.double(), positions, layout=layout), atol=0.05, rtol=0.05
    )


def test_large_positions_keep_their_angle_in_half_precision():
    """The table is computed wide: at position 4001 a bfloat16 angle would be off by whole turns."""
    cos, _ = rotary_table(torch.tensor([[4001]]), 4, dtype=torch.bfloat16)
    exact = torch.tensor(4001.0, dtype=torch.float64).cos()
    assert abs(float(cos[..., 0]) - float(exact)) < 2**-8


def test_a_stretch_makes_a_text_as_much_shorter():
    x, positions = rand(1, 1, 4, 8), torch.tensor([[0, 3, 6, 9]])
    short = rotate(x, *rotary_table(positions // 3, 8, dtype=x.dtype))
    torch.testing.assert_close(rotate(x, *rotary_table(positions, 8, dtype=x.dtype, stretch=3.0)), short)
