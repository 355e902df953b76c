"""What every probe holds: written against the protocol, run over the folder."""

from importlib import import_module

import pytest
import torch

from tests.probing.made import TASKS
from trivium.core.meter import Meter
from trivium.core.method import find, names
from trivium.core.nouns import LABELS, Measure
from trivium.core.seeds import generator

PROBES = names("probing")


def task(name, seed=0):
    return TASKS[find("probing", name).reads[0]](seed)


def small(name):
    """Settings that suit tasks as small as these, where a method needs some: SMALL in its own test file."""
    return getattr(import_module(f"tests.probing.test_{name}"), "SMALL", {})


def fitted(name, x, y, groups=None, seed=0):
    return find("probing", name)(**small(name)).fit(x, y, generator=generator(seed, "fit"), groups=groups)


@pytest.mark.parametrize("name", PROBES)
def test_it_says_what_labels_it_reads_and_reads_all_of_them(name):
    method = find("probing", name)
    assert method.reads
    assert set(method.reads) <= set(LABELS)
    probe = fitted(name, *task(name))
    assert isinstance(probe.measure, Measure)
    assert probe.measure.higher_is_better is not None


@pytest.mark.parametrize("name", PROBES)
def test_same_seed_same_probe_and_nothing_is_changed_in_place(name):
    x, y, groups = task(name)
    before = x.clone(), y.clone()
    state = torch.random.get_rng_state()
    first, second = (fitted(name, x, y, groups).score(*task(name, 1)) for _ in range(2))
    assert first == second
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", PROBES)
def test_what_is_there_is_found_and_what_is_not_is_not(name):
    """On fresh examples a probe of true labels does better than one of activations that were dealt out anew."""
    x, y, groups = task(name)
    probe = fitted(name, x, y, groups)
    sign = 1 if probe.measure.higher_is_better else -1
    true, chance = probe.score(*task(name, 1)), 0.0
    for seed in (5, 6, 7):  # once may find a part of what is there by chance
        shuffled = x[torch.randperm(len(x), generator=generator(seed))]
        chance += fitted(name, shuffled, y, groups).score(*task(name, 1)) / 3
    assert sign * (true - chance) > 0.2


@pytest.mark.parametrize("name", PROBES)
def test_the_score_is_the_ratio_of_the_sums_of_its_tally_by_group(name):
    x, y, groups = task(name)
    fresh, wanted, of = task(name, 1)
    probe = fitted(name, x, y, groups)
    tally = probe.tally(fresh, wanted, of)
    count = len(fresh) if of is None else int(of.max()) + 1
    assert tally.shape == (count, 2)
    assert probe.score(fresh, wanted, of) == pytest.approx(float(tally[:, 0].sum() / tally[:, 1].sum()))
    for group in range(0, count, 7):
        mine = torch.arange(len(fresh)) == group if of is None else of == group
        alone = probe.tally(fresh[mine], wanted[mine], None if of is None else of[mine])
        torch.testing.assert_close(alone[0], tally[group])
    assert len(probe.predict(fresh, of)) == len(fresh)


@pytest.mark.parametrize("name", PROBES)
def test_the_order_of_the_groups_does_not_matter(name):
    """Of the examples, where each stands by itself. What is drawn in batches may differ by the order a little."""
    x, y, groups = task(name)
    if groups is None:
        order = torch.randperm(len(x), generator=generator(6))
        tolerance = 1e-6
    else:
        count = int(groups.max()) + 1
        place = torch.randperm(count, generator=generator(6))
        order = torch.cat([(groups == group).nonzero()[:, 0] for group in place.tolist()])
        tolerance = 0.1
    moved = fitted(name, x[order], y[order], None if groups is None else groups[order])
    assert moved.score(*task(name, 1)) == pytest.approx(fitted(name, x, y, groups).score(*task(name, 1)), abs=tolerance)


@pytest.mark.parametrize("name", PROBES)
def test_half_precision_activations_are_read_too(name):
    x, y, groups = task(name)
    fresh, wanted, of = task(name, 1)
    half = y.float() if y.is_floating_point() else y
    got = fitted(name, x.bfloat16(), half, groups).score(fresh.bfloat16(), wanted, of)
    assert got == pytest.approx(fitted(name, x, y, groups).score(fresh, wanted, of), abs=0.05)


@pytest.mark.parametrize("name", PROBES)
def test_what_does_not_fit_together_is_refused(name):
    x, y, groups = task(name)
    with pytest.raises(ValueError, match="of as many examples"):
        fitted(name, x, y[:-1], groups)
    with pytest.raises(ValueError, match="activations must be"):
        fitted(name, x.flatten(), y, groups)
    with pytest.raises(ValueError, match="activations must be"):
        fitted(name, x[:0], y[:0], None)
    with pytest.raises(ValueError, match="groups must be"):
        fitted(name, x, y, torch.zeros(3, dtype=torch.int64))
    x[3].flatten()[2] = float("nan")
    with pytest.raises(ValueError, match=r"activations of examples \[3\] are not finite"):
        fitted(name, x, y, groups)


@pytest.mark.parametrize("name", PROBES)
def test_what_it_reads_while_fitting_is_metered(name):
    x, y, groups = task(name)
    with Meter() as meter:
        fitted(name, x, y, groups)
    assert meter.spent.evaluations > 0
