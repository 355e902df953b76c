"""What every probe holds: written against the protocol, run over the folder."""

import pytest
import torch

from trivium.core.method import find, names
from trivium.core.seeds import generator

PROBES = names("probing")
EXAMPLES, WIDTH = 60, 7


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, "rand"), dtype=torch.float64)


def task(seed=0):
    """Activations, and labels that are a direction of them with little noise."""
    x = rand(EXAMPLES, WIDTH, seed=seed)
    return x, x @ rand(WIDTH, seed=99) + 0.1 * rand(EXAMPLES, seed=seed + 50)


def fitted(name, x, y, seed=0):
    return find("probing", name)().fit(x, y, generator=generator(seed, "fit"))


@pytest.mark.parametrize("name", PROBES)
def test_same_seed_same_probe_and_nothing_is_changed_in_place(name):
    x, y = task()
    before = x.clone(), y.clone()
    first, second = fitted(name, x, y).score(*task(1)), fitted(name, x, y).score(*task(1))
    assert first == second
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


@pytest.mark.parametrize("name", PROBES)
def test_what_is_there_is_found_and_what_is_not_is_not(name):
    """On fresh examples a probe of true labels does better than one of labels that were dealt out anew."""
    x, y = task()
    dealt = y[torch.randperm(EXAMPLES, generator=generator(5))]
    true, chance = fitted(name, x, y).score(*task(1)), fitted(name, x, dealt).score(*task(1))
    assert abs(true - chance) > 0.5
    best = fitted(name, *task(1)).score(*task(1))
    assert abs(true - best) < abs(chance - best)


@pytest.mark.parametrize("name", PROBES)
def test_the_order_of_the_examples_does_not_matter(name):
    x, y = task()
    order = torch.randperm(EXAMPLES, generator=generator(6))
    assert fitted(name, x[order], y[order]).score(*task(1)) == pytest.approx(fitted(name, x, y).score(*task(1)))


@pytest.mark.parametrize("name", PROBES)
def test_half_precision_activations_are_read_too(name):
    x, y = task()
    got = fitted(name, x.bfloat16(), y.float()).score(task(1)[0].bfloat16(), task(1)[1])
    assert got == pytest.approx(fitted(name, x, y).score(*task(1)), abs=0.05)


@pytest.mark.parametrize("name", PROBES)
def test_what_does_not_fit_together_is_refused(name):
    x, y = task()
    with pytest.raises(ValueError, match="of as many examples"):
        fitted(name, x, y[:-1])
    with pytest.raises(ValueError, match="activations must be"):
        fitted(name, x[0], y)
    with pytest.raises(ValueError, match="activations must be"):
        fitted(name, x[:0], y[:0])
    x[3, 2] = float("nan")
    with pytest.raises(ValueError, match=r"activations of examples \[3\] are not finite"):
        fitted(name, x, y)
