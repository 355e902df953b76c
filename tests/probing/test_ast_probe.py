from functools import cache

import pytest
import torch

from tests.probing.made import constituents, rand
from trivium.core.seeds import generator
from trivium.data.constituents import EMPTY, Bracket, Tree, label_names, labels_of
from trivium.probing._readout import Scaling
from trivium.probing._sequences import Sequences
from trivium.probing.ast_probe import AstProbe, Subspace, _heights, _skewed

NAMES = (EMPTY, "odd", "even", "own")
SMALL = dict(rank=4, epochs=20, rate=0.02, batch_size=4, labels=NAMES)


@cache
def plain():
    """The probe that most tests look at."""
    return fit(constituents())


def fit(made, **settings):
    x, y, groups = made
    return AstProbe(**(SMALL | settings)).fit(x, y, generator=generator(0), groups=groups)


def probe_of(d, basis=None):
    """A probe of one dimension that gives these heights, for its own activations (leaves, 1)."""
    basis = torch.eye(1) if basis is None else basis
    plain = Scaling(torch.zeros(1), torch.ones(1))
    steps = torch.tensor([0.0, *d]).sqrt().cumsum(0)[:, None]
    return Subspace(plain, basis, torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 0.0]]), (EMPTY, "a"), False), steps


# The probe ------------------------------------------------------------------------------------------------------------


def test_heights_by_hand():
    """Leaves at 0, 1 and 3: squared distances 1 and 4, so the second and third leaf are parted first."""
    probe, x = probe_of([1.0, 4.0])
    got = probe.predict(x)
    torch.testing.assert_close(got[:, 0], torch.tensor([1.0, 4.0, 0.0]))
    assert got[:, 1].tolist() == [1.0, 1.0, 0.0]
    assert probe.trees(x) == [Tree(3, (Bracket("a", 0, 3), Bracket("a", 0, 2)))]


def test_trees_that_are_there_are_recovered_and_shuffled_ones_are_not():
    """The labels of the task alternate with the height, so that a probe must find both."""
    probe, fresh = plain(), constituents(1)
    assert probe.score(*fresh) > 0.95
    told = probe.details(*fresh)
    assert told["f1"] == pytest.approx(probe.score(*fresh))
    assert told["precision"] > 0.95
    x, y, groups = constituents()
    anew = AstProbe().dealt(y, groups, generator(1))
    assert fit((x, anew, groups)).score(*fresh) < probe.score(*fresh) - 0.15


@pytest.mark.parametrize("distance", ["rank", "l1", "l2"])
def test_every_loss_of_heights_learns_the_order(distance):
    probe = fit(constituents(), distance=distance, orthogonality=0.1)
    assert probe.score(*constituents(1)) > 0.9


def test_the_rank_loss_is_that_of_a_slow_loop():
    found, true = rand(3, 5).abs(), torch.randint(1, 5, (3, 5), generator=generator(3)).double()
    inside = torch.arange(5) < torch.tensor([5, 3, 0])[:, None]
    total = count = 0
    for tree in range(3):
        for i in range(5):
            for j in range(5):
                if inside[tree, i] and inside[tree, j] and true[tree, i] > true[tree, j]:
                    total += max(0.0, 1 - float(found[tree, i] - found[tree, j]))
                    count += 1
    assert float(_heights("rank", found, true, inside)) == pytest.approx(total / count)
    l1 = sum(float((found[t, :n] - true[t, :n]).abs().mean()) if n else 0.0 for t, n in enumerate((5, 3, 0))) / 3
    assert float(_heights("l1", found, true, inside)) == pytest.approx(l1)


def test_heights_are_the_same_after_a_rotation_of_the_subspace():
    probe, (x, _, groups) = plain(), constituents(1)
    turn = torch.linalg.qr(rand(4, 4)).Q
    turned = Subspace(probe.scaling, probe.basis @ turn, turn.mT @ probe.between, turn.mT @ probe.own, NAMES, False)
    torch.testing.assert_close(turned.predict(x, groups), probe.predict(x, groups))
    assert turned.similarity(probe) == pytest.approx(1.0)


def test_the_penalty_is_0_for_an_orthonormal_basis_and_only_there():
    straight = torch.linalg.qr(rand(6, 3)).Q
    assert float(_skewed(straight)) == pytest.approx(0.0, abs=1e-12)
    assert float(_skewed(straight * 1.1)) > 0.01
    assert float(_skewed(straight[:, :1].expand(6, 2))) == pytest.approx(2.0)


def test_the_basis_is_close_to_orthonormal_where_that_costs():
    loose = fit(constituents(), orthogonality=0.0).details(*constituents(1))
    assert plain().details(*constituents(1))["skewed"] < 0.02 < 0.5 < loose["skewed"]


def test_similarity_of_subspaces():
    of = lambda basis: Subspace(None, basis, None, None, (), False)  # noqa: E731
    eye = torch.eye(6).double()
    assert of(eye[:, :3]).similarity(of(eye[:, 3:])) == pytest.approx(0.0)
    assert of(eye[:, :3]).similarity(of(eye[:, [2, 0, 1]] * 7)) == pytest.approx(1.0)
    assert of(eye[:, :2]).similarity(of(eye[:, 1:3])) == pytest.approx(0.5)
    assert 0.0 <= of(rand(6, 2)).similarity(of(rand(6, 4, seed=1))) <= 1.0


def test_true_numbers_recover_everything():
    """A probe whose heights and labels are the true ones has F1 1, fused labels and unary ones included."""
    trees = [
        Tree(3, (Bracket("m", 0, 3), Bracket("f", 0, 3), Bracket("g", 1, 3), Bracket("i", 2, 3))),
        Tree(1, (Bracket("m", 0, 1),)),
    ]
    names = label_names(trees)
    labels, groups = labels_of(trees, names)

    class Right(Subspace):
        def predict(self, activations, groups=None):
            return labels.double()

    right = Right(None, None, None, None, names, False)
    assert right.trees(rand(4, 2), groups) == trees
    assert right.score(rand(4, 2), labels, groups) == 1.0
    assert right.tally(rand(4, 2), labels, groups).tolist() == [[1.0, 1.0]] * 2
    unseen = labels.clone()
    unseen[0, 1] = -1  # a label that is not in the vocabulary is wrong and harms nothing else
    assert 0.0 < right.score(rand(4, 2), unseen, groups) < 1.0


def test_without_names_a_fused_label_is_one_node():
    probe, fresh = fit(constituents(), labels=()), constituents(1)
    assert probe.score(*fresh) > 0.9
    assert probe.trees(fresh[0], fresh[2])[0].brackets[0].label.startswith("label ")


def test_leaves_may_come_in_any_order_of_their_groups():
    x, _, groups = constituents(1)
    probe = plain()
    mixed = torch.arange(len(x)).reshape(40, 6).mT.flatten()  # first leaves first: members keep their order
    torch.testing.assert_close(probe.predict(x[mixed], groups[mixed]), probe.predict(x, groups)[mixed])


def test_dealing_keeps_trees_and_what_is_in_them():
    _, y, groups = constituents()
    anew = AstProbe().dealt(y, groups, generator(0))
    assert not torch.equal(anew, y)
    for group in range(40):
        mine, before = anew[groups == group], y[groups == group]
        assert sorted(mine[:-1, :2].tolist()) == sorted(before[:-1, :2].tolist())
        assert mine[-1, :2].tolist() == [0, 0]
        assert sorted(mine[:, 2].tolist()) == sorted(before[:, 2].tolist())


def test_nothing_that_stands_behind_a_tree_is_learned():
    """Rows of one leaf only have no height at all; training goes through, and their own label is learned."""
    x = torch.cat([torch.eye(2).double()] * 12)
    y = torch.tensor([[0, 0, 1], [0, 0, 2]] * 12)
    probe = AstProbe(rank=2, epochs=40, rate=0.1).fit(x, y, generator=generator(0), groups=torch.arange(24))
    assert probe.score(x, y, torch.arange(24)) == 1.0


def test_what_pads_a_shorter_tree_is_no_label():
    """EMPTY and the own label never stand between two leaves here, so that both are learned to be unlikely there, alike
    and no more: what follows the last leaf of a shorter tree would teach one of them a direction."""
    x, y, groups = constituents()
    kept = (groups % 2 == 0) | (torch.arange(6).repeat(40) < 3)
    y = y.clone()
    y[2::6, :2] = torch.where((groups[2::6] % 2 == 0)[:, None], y[2::6, :2], 0)
    between = fit((x[kept], y[kept], groups[kept])).between
    assert float(between[:, 0].norm() / between[:, 3].norm()) == pytest.approx(1.0, abs=0.35)


def test_it_ends_where_nothing_gets_better():
    from trivium.core.meter import Meter

    x, y, groups = constituents()
    with Meter() as long:
        AstProbe(**SMALL | dict(epochs=60, rate=0.2, patience=1)).fit(x, y, generator=generator(0), groups=groups)
    assert 3 * len(x) < long.spent.evaluations < 59 * len(x)


def test_sequences():
    groups = torch.tensor([1, 0, 1, 1, 0])
    got = Sequences.of(groups)
    assert got.real.tolist() == [[True, True, False], [True, True, True]]
    assert got.rows[got.real].tolist() == [1, 4, 0, 2, 3]
    values = torch.arange(5.0)[got.rows]
    assert got.back(values).tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert got.of_groups(torch.tensor([0])).rows.tolist() == [[1, 4]]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"rank": 0}, "rank must be at least 1"),
        ({"distance": "cosine"}, "distance must be one of rank, l1, l2; got 'cosine'"),
        ({"orthogonality": -1.0}, "orthogonality must be at least 0"),
        ({"rate": 0.0}, "rate must be positive"),
        ({"validation": 1.0}, "validation is a share"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"labels": ("a",)}, "the first of labels must be '<empty>'"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        AstProbe(**wrong)


def test_misuse_is_told():
    x, y, groups = constituents()
    with pytest.raises(ValueError, match="a width of at least the rank, 128"):
        AstProbe().fit(x, y, generator=generator(0), groups=groups)
    for wrong in (y[:, :2], y.double()):
        with pytest.raises(ValueError, match=r"labels must be \(leaves, 3\) whole numbers"):
            fit((x, wrong, groups))
    with pytest.raises(ValueError, match="this probe reads activations"):
        plain().predict(x[:, 1:], groups)
