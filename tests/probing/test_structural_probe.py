from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from tests.probing.made import heads, rand
from trivium.core.seeds import generator
from trivium.nn.dependency_trees import depths, tree_distances
from trivium.probing._readout import Scaling
from trivium.probing.structural_probe import Metric, StructuralProbe, _measured, _spearman

SMALL = dict(rate=0.02, batch_size=5, epochs=20)


@cache
def fit(seed=0, **settings):
    x, y, groups = heads(seed)
    return StructuralProbe(**(SMALL | settings)).fit(x, y, generator=generator(0), groups=groups)


def exact(what="distance"):
    """The map that leaves the noise out, under which distances are those of the trees."""
    return Metric(Scaling.none(torch.zeros(1, 8).double()), torch.eye(8).double()[:, :7], what)


def test_squared_distances_that_are_the_trees_recover_them():
    x, y, groups = heads(1)
    told = exact().details(x, y, groups)
    assert exact().score(x, y, groups) == 1.0
    assert told["spearman"] == pytest.approx(1.0)
    assert told["chain"] < 0.6
    root = exact("depth").details(x, y, groups)
    assert root["root"] == 1.0  # its state has the norm 1, every other more
    assert exact("depth").score(x, y, groups) == pytest.approx(1.0)


def test_a_fitted_probe_finds_the_trees_of_fresh_sentences():
    probe, fresh = fit(), heads(1)
    assert probe.score(*fresh) > 0.95
    x, y, groups = heads()
    anew = StructuralProbe().dealt(y, groups, generator(1))
    control = StructuralProbe(**SMALL).fit(x, anew, generator=generator(0), groups=groups)
    assert control.score(*fresh) < probe.score(*fresh) - 0.2
    deep = fit(what="depth")
    assert deep.score(*fresh) > 0.9
    assert deep.details(*fresh)["root"] > 0.8


def test_distances_and_their_losses_are_those_of_a_slow_loop():
    states, basis = rand(2, 4, 5), rand(5, 3, seed=1)
    found = _measured("distance", states, basis)
    for sentence in range(2):
        for i in range(4):
            for j in range(4):
                expected = ((states[sentence, i] - states[sentence, j]) @ basis).square().sum()
                assert float(found[sentence, i, j]) == pytest.approx(float(expected), abs=1e-9)
    torch.testing.assert_close(_measured("depth", states, basis), (states @ basis).square().sum(-1))


@pytest.mark.parametrize("what", ["distance", "depth"])
def test_the_loss_falls_to_that_of_the_exact_map(what):
    """By how far what is read is from the tree, over pairs of words or over words."""
    x, y, groups = heads()
    probe = fit(what=what, epochs=40)
    off = []
    for sentence, found in enumerate(probe.read(x, groups)):
        mine = y[groups == sentence].numpy()
        true = tree_distances(mine) if what == "distance" else depths(mine)
        off.append(np.abs(found - true).mean())
    assert np.mean(off) < (0.35 if what == "distance" else 0.6)


def test_scores_do_not_change_with_a_rotation_and_predictions_neither():
    x, y, groups = heads(1)
    probe = fit()
    turned = Metric(probe.scaling, probe.basis @ torch.linalg.qr(rand(8, 8)).Q, "distance")
    assert turned.score(x, y, groups) == pytest.approx(probe.score(x, y, groups))
    assert torch.equal(turned.predict(x, groups), probe.predict(x, groups))


def test_predictions_are_the_tree_towards_its_first_word():
    """Of a chain 1-0-2: words 1 and 2 hang from 0."""
    x = torch.tensor([[0.0], [1.0], [-1.0]]).double()
    probe = Metric(Scaling.none(x), torch.eye(1).double(), "distance")
    assert probe.predict(x).tolist() == [-1, 0, 0]
    twice = probe.predict(torch.cat((x, x)), torch.tensor([0, 0, 0, 1, 1, 1]))
    assert twice.tolist() == [-1, 0, 0, -1, 0, 0]
    assert Metric(Scaling.none(x), torch.eye(1).double(), "depth").predict(x).tolist() == [0.0, 1.0, 1.0]


def test_words_that_do_not_count_are_in_no_edge():
    x, y, groups = heads(1)
    marks = torch.ones_like(y)
    marks[::7] = 0
    labels = torch.stack((y, marks), 1)
    assert exact().tally(x, labels, groups)[:, 1].tolist() == [5.0] * 40
    assert exact().tally(x, y, groups)[:, 1].tolist() == [6.0] * 40
    other = StructuralProbe().dealt(labels, groups, generator(0))
    assert torch.equal(other[:, 1], marks)
    assert torch.equal(other[:, 0], StructuralProbe().dealt(y, groups, generator(0)))


def test_dealing_keeps_the_shape_of_each_tree():
    _, y, groups = heads()
    anew = StructuralProbe().dealt(y, groups, generator(0))
    assert not torch.equal(anew, y)
    for group in range(40):
        mine, before = (tree_distances(each[groups == group].numpy()) for each in (anew, y))
        assert sorted(mine.sum(1)) == sorted(before.sum(1))


def test_correlations_are_those_of_scipy():
    a, b = rand(3, 9).numpy(), rand(3, 9, seed=1).numpy().round(0)
    assert _spearman(a, b) == pytest.approx([spearmanr(x, y).correlation for x, y in zip(a, b, strict=True)])
    assert _spearman(np.zeros((1, 5)), a[:1, :5]) == [0.0]


def test_short_sentences_have_no_correlation_and_count_for_uuas():
    x, y, groups = heads(2, sentences=6, words=4)
    assert exact("depth").tally(x, y, groups).tolist() == [[0.0, 0.0]] * 6
    with pytest.raises(ValueError, match="nothing to score"):
        exact("depth").score(x, y, groups)
    assert "spearman" not in exact().details(x, y, groups)
    assert exact().score(x, y, groups) == 1.0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"what": "height"}, "what must be distance or depth, got 'height'"),
        ({"rank": 0}, "rank must be at least 1"),
        ({"rate": -1.0}, "rate must be positive"),
        ({"patience": 0}, "patience must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        StructuralProbe(**wrong)


def test_misuse_is_told():
    x, y, groups = heads()
    with pytest.raises(ValueError, match="a width of at least the rank, 9"):
        StructuralProbe(rank=9).fit(x, y, generator=generator(0), groups=groups)
    with pytest.raises(ValueError, match=r"labels must be \(words,\) heads"):
        StructuralProbe().fit(x, y.double(), generator=generator(0), groups=groups)
    with pytest.raises(ValueError, match="one root, -1, and heads among its 7 words"):
        StructuralProbe().fit(x, y.clamp(min=0), generator=generator(0), groups=groups)
    with pytest.raises(ValueError, match="one root"):
        StructuralProbe().fit(x, y, generator=generator(0))  # all words one sentence, with 40 roots
