import itertools

import pytest
import torch

from trivium.core.seeds import generator
from trivium.nn.neural_bandit import beginning, bounds, fitted, gradients, gradients_reference, network


def made(inputs=5, width=8, depth=2):
    net = network(inputs, width, depth, generator=generator(0))
    return net, beginning(net), torch.randn(12, inputs, generator=generator(1), dtype=torch.float64)


def test_gradients_of_all_rows_equal_those_of_each():
    net, begin, x = made()
    found = gradients(net, begin, x)
    assert found.shape == (12, 5 * 8 + 8 + 8 * 8 + 8 + 8 + 1)
    torch.testing.assert_close(found, gradients_reference(net, begin, x))


def test_a_bound_is_the_value_and_the_square_root():
    net, begin, x = made()
    spread = torch.rand(129, generator=generator(2), dtype=torch.float64) + 0.1
    value, more = bounds(net, begin, x, spread, reg=0.3, explore=0.2, chunk=5)
    g = gradients_reference(net, begin, x)
    torch.testing.assert_close(more, (0.3 * 0.2 * (g.square() / spread).sum(1)).sqrt())
    torch.testing.assert_close(value, net(x)[:, 0].detach())


def test_a_choice_that_was_made_is_less_uncertain_the_more_often():
    net, begin, x = made()
    spread = torch.full((129,), 0.1, dtype=torch.float64)
    seen = []
    for _ in range(4):
        seen.append(bounds(net, begin, x, spread)[1])
        spread = spread + gradients(net, begin, x[:1])[0].square()
    for before, after in itertools.pairwise(seen):
        assert after[0] < before[0]
        assert (after <= before).all()


def test_fitting_begins_where_it_began_and_learns():
    net, begin, x = made()
    y = x[:, 0] * 2 - x[:, 1]
    first = fitted(net, begin, x, y, steps=200, rate=1e-2)
    again = fitted(net, begin, x, y, steps=200, rate=1e-2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(torch.equal(begin[name], value) for name, value in net.named_parameters())

    def error(parameters):
        return float((bounds(net, parameters, x, torch.ones(129, dtype=x.dtype))[0] - y).square().mean())

    assert error(first) < 0.05 * error(begin)
    shrunk = fitted(net, begin, x, y, steps=200, rate=1e-2, decay=1.0)
    assert sum(p.square().sum() for p in shrunk.values()) < sum(p.square().sum() for p in first.values())


def test_drawn_from_the_generator_alone():
    one, other = made()[1], made()[1]
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        network(0, generator=generator(0))
