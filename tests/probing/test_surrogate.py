import pytest
import torch

from trivium.core.seeds import generator
from trivium.probing.surrogate import Surrogate


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, "rand"), dtype=torch.float64)


def made(examples=200, width=8, seed=0, share=0.0):
    x = rand(examples, width, seed=seed)
    return x, (x @ rand(width, seed=99) / width**0.5 > share).long()


def fit(x, y, groups=None, **settings):
    return Surrogate(**settings).fit(x, y, generator=generator(0), groups=groups)


def test_f1_by_hand():
    """Said 1, 1, 1, 0, 0 where right is 1, 1, 0, 1, 0: two hits, one false alarm, one miss: 4 / 6; groups add up."""
    x, y = made()
    probe = fit(x, y)
    said = torch.tensor([1, 1, 1, 0, 0])
    pick = torch.stack([x[probe.predict(x) == one][at] for at, one in enumerate(said.tolist())])
    right, groups = torch.tensor([1, 1, 0, 1, 0]), torch.tensor([4, 4, 1, 1, 4])
    assert probe.score(pick, right) == pytest.approx(4 / 6)
    assert probe.tally(pick, right, groups).tolist() == [[0.0, 2.0], [4.0, 4.0]]


def test_it_learns_what_is_linear_and_stops_when_nothing_gets_better():
    probe = fit(*made(400), rate=0.01)
    assert probe.score(*made(400, seed=1)) > 0.93
    quick = fit(*made(400), rate=0.01, epochs=3)
    assert quick.epochs == 3
    x, y = made(200)
    noise = y[torch.randperm(200, generator=generator(4))]
    lost = fit(x, noise, rate=0.05, patience=4)
    assert lost.epochs < 100
    # What is kept is the best on the part held back, which was found four epochs before.
    best = fit(x, noise, rate=0.05, epochs=lost.epochs - 4)
    assert torch.equal(best.weight, lost.weight)


def test_labels_dealt_out_anew_leave_it_at_chance():
    x, y = made(400)
    dealt = y[torch.randperm(400, generator=generator(1))]
    fresh, right = made(400, seed=1)
    said = fit(x, dealt, rate=0.01).predict(fresh)
    assert abs(float((said == right).double().mean()) - 0.5) < 0.2


def test_scale_does_not_matter_where_features_are_standardised():
    x, y = made()
    scale = torch.logspace(-3, 3, 8)
    assert torch.equal(fit(x, y).predict(x), fit(x * scale, y).predict(x * scale))
    assert not torch.allclose(fit(x, y, standardise=False).logits(x), fit(x, y).logits(x))


def test_the_part_held_back_is_of_whole_groups():
    """One feature tells the label, another the group, and labels of the held-out groups are the other way round: with
    whole groups held back, training stops at once, for nothing that it learns helps there."""
    groups = torch.arange(40) // 4
    y = torch.arange(40) % 2
    seen = Surrogate()._held(y.double(), groups, generator(0))
    assert 0 < int(seen.sum()) < 20
    for group in range(10):
        assert len(seen[groups == group].unique()) == 1
    assert set(y[seen].tolist()) == {0, 1}


@pytest.mark.parametrize("wrong", [{"rate": 0.0}, {"batch_size": 0}, {"epochs": 0}, {"patience": 0}, {"folds": 1}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Surrogate(**wrong)


def test_misuse_is_told():
    x, y = made(20)
    with pytest.raises(ValueError, match="all 20 examples are of class 0"):
        fit(x, torch.zeros(20, dtype=torch.int64))
    with pytest.raises(ValueError, match="two classes, 0 and 1"):
        fit(x, y + 1)
    with pytest.raises(ValueError, match="class 1 is in a single group"):
        fit(x, (torch.arange(20) == 3).long())


def test_a_step_is_adams_on_the_cross_entropy():
    """One epoch of one batch: the gradient by autograd, and Adam's first step, which is the rate times its sign."""
    x, y = made(40)
    probe = fit(x, y, epochs=1, batch_size=64, rate=0.01)
    held = Surrogate()._held(y.double()[(probe.scaling(x) @ torch.linspace(1, 2, 8).double()).argsort()],
                             torch.arange(40), generator(0))  # fmt: skip
    assert 0 < int(held.sum()) < 20
    order = (probe.scaling(x) @ torch.linspace(1, 2, 8).double()).argsort()
    z, labels = probe.scaling(x)[order][~held], y[order][~held].double()
    weight = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.binary_cross_entropy_with_logits(z @ weight, labels).backward()
    torch.testing.assert_close(probe.weight, -0.01 * weight.grad.sign(), atol=1e-5, rtol=0)
