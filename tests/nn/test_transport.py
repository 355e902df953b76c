import itertools

import pytest
import torch
from scipy.optimize import linprog

from trivium.core.seeds import generator
from trivium.nn.transport import transport_costs


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=generator(seed, "rand"), dtype=torch.float64)


def by_program(cost):
    """The transport plan of least cost, as a linear program."""
    rows, columns = cost.shape
    equal = [[float(at // columns == row) for at in range(rows * columns)] for row in range(rows)]
    equal += [[float(at % columns == column) for at in range(rows * columns)] for column in range(columns)]
    return linprog(cost.flatten().numpy(), A_eq=equal, b_eq=[1 / rows] * rows + [1 / columns] * columns).fun


def test_equals_the_best_permutation_where_sizes_match():
    cost = rand(7, 3)
    chosen = torch.tensor([[0, 1, 2], [4, 6, 5]])
    for points, found in zip(chosen.tolist(), transport_costs(cost, chosen).tolist(), strict=True):
        best = min(sum(float(cost[p, i]) for p, i in zip(points, order, strict=True)) / 3
                   for order in itertools.permutations(range(3)))  # fmt: skip
        assert found == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize(("size", "items"), [(2, 6), (3, 5), (4, 2), (1, 4)])
def test_equals_the_linear_program_where_they_do_not(size, items):
    cost = rand(6, items, seed=size)
    chosen = torch.tensor([list(range(size)), list(range(6 - size, 6))])
    expected = [by_program(cost[points]) for points in chosen.tolist()]
    assert transport_costs(cost, chosen).tolist() == pytest.approx(expected, abs=1e-9)


def test_nothing_is_carried_between_equal_sets_and_order_does_not_matter():
    points = torch.nn.functional.normalize(rand(5, 8), dim=1)
    cost = 1 - points @ points[[3, 1, 3]].T
    assert float(transport_costs(cost, torch.tensor([[3, 3, 1]]))) == pytest.approx(0.0, abs=1e-12)
    orders = torch.tensor(list(itertools.permutations((0, 2, 4))))
    found = transport_costs(cost, orders)
    assert (found == found[0]).all()
    assert found[0] > 0.01
