import pytest
import torch

from tests.probing.made import classes, heads, rand, values
from trivium.core.seeds import generator
from trivium.probing._readout import (
    Scaling,
    checked,
    cross_validate,
    dealt,
    folds_of,
    grouped,
    permutation_control,
    ratio,
    readout,
)
from trivium.probing.head_tuning import HeadTuning
from trivium.probing.linear_readout import LinearReadout
from trivium.probing.structural_probe import StructuralProbe


def test_a_ratio_by_hand():
    """Two groups, 1 of 2 and 3 of 4: 4/6. Residuals -1/3 and 1/3, so s^2 = 2 * 2/9 / 36 = 1/81, t of 1 degree."""
    score, low, high = ratio(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert score == pytest.approx(4 / 6)
    assert (high - low) / 2 == pytest.approx(12.7062 / 9, rel=1e-4)
    assert ratio(torch.tensor([[1.0, 4.0]])) == (0.25, None, None)
    with pytest.raises(ValueError, match="nothing to score"):
        ratio(torch.zeros(2, 2))


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Groups of 1 to 9 examples that are right together or not at all: 95 % of 400 intervals, give or take."""
    covered = 0
    for seed in range(400):
        draws = generator(seed, "cover")
        sizes = torch.randint(1, 10, (40,), generator=draws).double()
        right = (torch.rand(40, generator=draws) < 0.6).double() * sizes
        _, low, high = ratio(torch.stack((right, sizes), 1))
        covered += low <= 0.6 <= high
    assert 365 <= covered <= 395


def test_folds_hold_out_whole_groups_of_much_the_same_size():
    groups = torch.repeat_interleave(torch.arange(23), torch.randint(1, 8, (23,), generator=generator(1)))
    fold = folds_of(groups, 5, generator(0))
    for group in range(23):
        assert len(fold[groups == group].unique()) == 1
    sizes = torch.bincount(fold)
    assert len(sizes) == 5
    assert int(sizes.max() - sizes.min()) <= 7
    assert not torch.equal(fold, folds_of(groups, 5, generator(1)))
    with pytest.raises(ValueError, match="at most the 3 groups there are; got 5"):
        folds_of(torch.tensor([0, 1, 2, 2]), 5, generator(0))
    with pytest.raises(ValueError, match="at least 2"):
        folds_of(torch.arange(4), 1, generator(0))


def test_whole_groups_exchange_labels_that_all_their_examples_share():
    groups = torch.tensor([0, 0, 0, 1, 2, 2, 3, 3])
    own = torch.tensor([5, 6, 7, 8])
    for seed in range(5):
        got = dealt(own[groups], groups, generator(seed))
        assert sorted(got[torch.tensor([0, 3, 4, 6])].tolist()) == [5, 6, 7, 8]
        assert all(len(got[groups == group].unique()) == 1 for group in range(4))
    loose = torch.arange(8)
    assert sorted(dealt(loose, groups, generator(0)).tolist()) == list(range(8))
    assert not torch.equal(dealt(loose, groups, generator(0)), loose)


def test_leaking_groups_are_not_rewarded():
    """Labels that are a property of the group alone, with group means in the activations: examples held out singly are
    read off at once, whole groups held out are not."""
    groups = torch.arange(20).repeat_interleave(6)
    middle = 5 * rand(20, 40)
    x = middle[groups] + 0.1 * rand(120, 40, seed=1)
    y = torch.randint(0, 2, (20,), generator=generator(2))[groups]
    method = LinearReadout()
    leaked = cross_validate(method, x, y, None, 5, generator=generator(0))
    held = cross_validate(method, x, y, groups, 5, generator=generator(0))
    assert leaked.score > 0.95
    assert held.score < 0.75
    assert (held.groups, held.examples) == (20, 120)


def test_one_report():
    x, y, _ = classes()
    got = readout(LinearReadout(), x, y, folds=4, generator=generator(0), repeats=3)
    assert got.low < got.score < got.high
    assert got.score > 0.8
    assert 0.3 < got.control < 0.7
    assert got.selectivity == pytest.approx(got.score - got.control)
    assert got.to_dict()["selectivity"] == got.selectivity
    assert str(got).startswith("Accuracy 0.8")
    plain = readout(LinearReadout(), x, y, folds=4, generator=generator(0), repeats=0)
    assert (plain.score, plain.control, plain.selectivity) == (got.score, None, None)


def test_selectivity_is_positive_where_lower_is_better_too():
    x, y, _ = values()
    got = readout(HeadTuning(), x, y, folds=4, generator=generator(0))
    assert not got.higher_is_better
    assert got.selectivity == pytest.approx(got.control - got.score)
    assert got.selectivity > 0


def test_the_control_takes_the_methods_own_way_of_dealing():
    class Own(LinearReadout):
        def dealt(self, labels, groups, generator):
            return labels  # a control that is none

    x, y, _ = classes()
    own = permutation_control(Own(), x, y, folds=4, generator=generator(0))
    assert own > 0.8
    with pytest.raises(ValueError, match="repeats must be at least 1"):
        permutation_control(LinearReadout(), x, y, generator=generator(0), repeats=0)


def test_scaling():
    x = torch.tensor([[1.0, 10.0, 3.0], [3.0, 30.0, 3.0]])
    torch.testing.assert_close(Scaling.standard(x)(x), torch.tensor([[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0]]))
    assert torch.equal(Scaling.none(x)(x), x)
    whole = Scaling.common(x)(x)
    assert float(whole[1, 1] / whole[1, 0]) == pytest.approx(10.0)
    assert float(whole.square().mean()) == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"reads activations \(examples, 3\)"):
        Scaling.standard(x)(x[:, :2])


def test_groups_may_have_any_numbers():
    assert grouped(torch.tensor([9, 4, 9, 70]), 4).tolist() == [1, 0, 1, 2]
    assert checked(rand(3, 2), rand(3)).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="whole numbers, one per example"):
        checked(rand(3, 2), rand(3), torch.tensor([0.0, 1.0, 1.0]))


def test_clusters_of_groups_are_held_out_as_one():
    """Trees of one source: as many tallies as there are sources, and the score is that of all trees."""
    x, y, groups = heads()
    method = StructuralProbe(rate=0.02, batch_size=8, epochs=3)
    alone = cross_validate(method, x, y, groups, 4, generator=generator(0))
    of = cross_validate(method, x, y, groups, 4, generator=generator(0), clusters=groups // 5)
    assert (alone.groups, of.groups) == (40, 8)
    assert 0 < of.score < 1
    with pytest.raises(ValueError, match="a group lies in several clusters"):
        cross_validate(method, x, y, groups, 4, generator=generator(0), clusters=torch.arange(280) // 10)
    assert readout(method, x, y, groups, 4, generator=generator(0), clusters=groups // 5).control < of.score
