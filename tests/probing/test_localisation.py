import pytest
import torch

from trivium.core.seeds import generator
from trivium.probing.localisation import Localisation, overlap


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, "rand"), dtype=torch.float64)


def planted(seed=0, texts=480, units=5000, shifted=50):
    """Noise, and in class 1 so many units one spread higher."""
    x = rand(texts, units, seed=seed)
    labels = torch.arange(texts) % 2
    x[labels == 1, :shifted] += 1
    return x, labels


def fit(x, y, **settings):
    return Localisation(**settings).fit(x, y, generator=generator(0))


def test_planted_units_are_found_again():
    x, y = planted()
    probe = fit(x, y)
    assert probe.mask.sum() == 50
    assert probe.mask[:50].sum() >= 48
    fresh = planted(seed=1)
    assert probe.score(*fresh) > 0.99
    assert probe.select(x).shape == (480, 50)
    again = fit(*fresh)
    assert overlap(probe.mask, again.mask) == (pytest.approx(1, abs=0.08), 0.01)
    torch.testing.assert_close(fit(x, 1 - y).t, -probe.t)


def test_units_that_respond_less_are_never_taken_unless_their_size_counts():
    x, y = planted(units=300, shifted=3)
    x[y == 1, :3] -= 6  # to five below
    assert not fit(x, y, count=3).mask[:3].any()
    assert fit(x, y, count=3, absolute=True).mask[:3].all()
    assert fit(x, y, count=3, absolute=True).score(x, y) > 0.99


def test_the_response_is_a_mean_of_standardised_units():
    x, y = planted(units=40, shifted=2)
    x[:, 1] = 100 * x[:, 1] + 7  # a unit of large values speaks no louder
    probe = fit(x, y, share=0.05)
    assert probe.mask.nonzero()[:, 0].tolist() == [0, 1]
    z = (x[:, :2] - x[:, :2].mean(0)) / x[:, :2].std(0, correction=0)
    torch.testing.assert_close(probe.response(x), z.mean(1))
    assert probe.middle == pytest.approx(0, abs=1e-12)  # of classes of one size
    third = torch.cat([(y == 0).nonzero()[:, 0], (y == 1).nonzero()[:80, 0]])
    uneven = fit(x[third], y[third], share=0.05)
    r = uneven.response(x[third])
    assert uneven.middle == pytest.approx(float(r[y[third] == 1].mean() + r[y[third] == 0].mean()) / 2)


def test_a_constant_unit_is_not_taken_and_one_unit_is_the_least():
    x, y = planted(units=30, shifted=1)
    x[:, 5] = 3.0
    probe = fit(x, y, share=0.001)
    assert probe.t[5] == 0
    assert probe.mask.nonzero().tolist() == [[0]]


@pytest.mark.parametrize(
    ("wrong", "told"), [({"share": 0.0}, "share is a part"), ({"share": 1.5}, "share"), ({"count": 0}, "at least 1")]
)
def test_settings_out_of_range(wrong, told):
    with pytest.raises(ValueError, match=told):
        Localisation(**wrong)


def test_misuse_is_told():
    x, y = planted(texts=8, units=6, shifted=1)
    with pytest.raises(ValueError, match="two classes, 0 and 1"):
        fit(x, y + 1)
    with pytest.raises(ValueError, match="two classes"):
        fit(x, y.double())
    with pytest.raises(ValueError, match="needs two texts, got 1 of class 1"):
        fit(x[:3], torch.tensor([0, 1, 0]))
    with pytest.raises(ValueError, match="count must be 1 to the 6 units there are, got 7"):
        fit(x, y, count=7)
    with pytest.raises(ValueError, match="some of 6 units"):
        fit(x, y).predict(x[:, :4])
    with pytest.raises(ValueError, match="two masks of one model"):
        overlap(torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool))
