"""Searches: what is asked once, what is compared at an equal number, and that each finds what can be found."""

import pytest
import torch

from trivium.architectures.flexibert import EncoderLayer, FlexiBERT, Space
from trivium.compare.boshnas import Boshnas
from trivium.compare.searching import (
    GaussianProcessSearch,
    RandomSearch,
    Trace,
    in_two_levels,
    placed,
    posterior,
    untried,
)

SEARCHES = [RandomSearch(), GaussianProcessSearch(), Boshnas(fit=5, steps=5)]


def grid():
    """36 points on a square, and a bowl whose least value is at (4, 1)."""
    points = torch.tensor([[float(x), float(y)] for x in range(6) for y in range(6)], dtype=torch.float64)
    values = (points - torch.tensor([4.0, 1.0])).square().sum(1)
    return points, values.tolist()


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("search", SEARCHES)
def test_each_contender_is_asked_once_and_the_seed_decides(search):
    points, values = grid()
    one, two, three = (
        search(points, lambda index, _: values[index], queries=10, generator=draws(seed)) for seed in (1, 1, 2)
    )
    assert one == two != three
    assert len(set(one.asked)) == 10
    assert one.values == tuple(values[index] for index in one.asked)
    everything = search(points[:6], lambda index, _: values[index], queries=6, generator=draws())
    assert sorted(everything.asked) == list(range(6))


@pytest.mark.parametrize("search", SEARCHES)
def test_what_is_known_is_not_asked_again_and_the_nearest_is_named(search):
    points, values = grid()
    told = []

    def evaluate(index, nearest):
        told.append((index, nearest))
        return values[index]

    known = {0: values[0], 35: values[35]}
    trace = search(points, evaluate, queries=8, generator=draws(), known=known)
    assert not {0, 35} & set(trace.asked)
    there = [0, 35]
    for index, nearest in told:
        distances = {other: float((points[other] - points[index]).abs().mean()) for other in there}
        assert distances[nearest] == min(distances.values())
        there.append(index)
    search(points, lambda index, nearest: float(nearest is None), queries=1, generator=draws())
    with pytest.raises(ValueError, match="1 to the 34 contenders"):
        search(points, evaluate, queries=35, generator=draws(), known=known)


def test_a_trace_tells_its_best_and_its_regret():
    trace = Trace((7, 2, 5, 1), (3.0, 1.5, 2.0, 1.5))
    assert trace.best == 2
    assert [trace.regret(queries, 1.0) for queries in (1, 2, 4)] == [2.0, 0.5, 0.5]
    with pytest.raises(ValueError, match="1 to the 4 queries"):
        trace.regret(5, 1.0)


def test_a_process_knows_what_it_was_told_and_little_far_away():
    points, values = grid()
    known = {index: values[index] for index in (0, 1, 6, 7, 14, 21)}
    y = torch.tensor(list(known.values()), dtype=torch.float64)
    mean, deviation = posterior(points, known, [*known, 35])
    torch.testing.assert_close(mean[:-1], (y - y.mean()) / y.std(correction=0), atol=0.15, rtol=0)
    assert deviation[-1] > 2 * deviation[:-1].max()


def test_a_process_finds_the_bottom_sooner_than_chance():
    points, values = grid()
    regrets = {}
    for search in (RandomSearch(), GaussianProcessSearch()):
        traces = [
            search(points, lambda index, _: values[index], queries=10, generator=draws(seed)) for seed in range(12)
        ]
        regrets[type(search).__name__] = sum(trace.regret(10, 0.0) for trace in traces) / 12
    assert regrets["GaussianProcessSearch"] < 0.5 * regrets["RandomSearch"]
    with pytest.raises(ValueError, match="start at least 1"):
        GaussianProcessSearch(start=0)
    wide = GaussianProcessSearch(beta=0.0, start=5)(
        points, lambda index, _: values[index], queries=8, generator=draws(1)
    )
    usual = GaussianProcessSearch()(points, lambda index, _: values[index], queries=8, generator=draws(1))
    assert wide.asked[:3] == usual.asked[:3]
    assert wide.asked != usual.asked


LAYERS = tuple(EncoderLayer(operation) for operation in ("sdp", "wma", "dft", "conv"))


def test_encoders_are_placed_as_far_apart_as_they_are_unlike():
    recipes = list(Space(LAYERS, depths=(2, 4)).stacks())
    points = placed([recipe.graph() for recipe in recipes])
    assert points.shape == (20, 16)
    near = torch.cdist(points, points) + torch.eye(20) * 9
    assert near.min() > 0.01
    with pytest.raises(ValueError, match="take more axes"):
        placed([recipe.graph() for recipe in recipes], axes=1)


def test_two_levels_end_at_a_single_layer_that_the_first_could_not_change():
    """The value counts layers unlike a target that is no stack of equal pairs."""
    target = [LAYERS[at] for at in (0, 1, 2, 2)]
    space, seen = Space(LAYERS, depths=(4,)), []

    def evaluate(recipe: FlexiBERT, nearest: FlexiBERT | None) -> float:
        seen.append(nearest)
        return float(sum(a != b for a, b in zip(recipe.stack, target, strict=True)))

    tried = in_two_levels(
        GaussianProcessSearch(),
        list(space.stacks()),
        space.around,
        FlexiBERT.graph,
        evaluate,
        queries=(16, 12),
        generator=draws(),
    )
    assert len(tried) == 28
    assert len({recipe for recipe, _ in tried}) == 28
    assert min(value for _, value in tried[:16]) == 1.0
    assert min(value for _, value in tried) == 0.0
    assert seen[0] is None
    assert isinstance(seen[-1], FlexiBERT)


def test_untried():
    assert untried(torch.zeros(4, 1), {1: 0.0, 3: 0.0}) == [0, 2]
