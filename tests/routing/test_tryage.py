import pytest
import torch

from tests.routing.made import EXPERTS, losses, prompts
from trivium.core.nouns import Experts
from trivium.core.seeds import generator
from trivium.nn.routing import regrets
from trivium.routing.best_single import BestSingle
from trivium.routing.cheapest import Cheapest
from trivium.routing.tryage import Tryage

TEXTS, KINDS = prompts()
FRESH, TRUE = prompts(60, seed=1)


def fitted(method, seen=None):
    return method.fit(TEXTS, losses(KINDS) if seen is None else seen, EXPERTS, generator=generator(0))


def test_it_learns_which_expert_knows_what():
    seen = losses(TRUE, seed=1)
    own, best = (fitted(method)(FRESH) for method in (Tryage(), BestSingle()))
    assert (own == TRUE).double().mean() > 0.9
    assert regrets(seen, own).mean() < 0.1 < 1.0 < regrets(seen, best).mean()


def test_predictions_come_near_the_losses():
    gap = fitted(Tryage()).predicted(FRESH) - losses(TRUE, seed=1)
    assert gap.square().mean().sqrt() < 0.6  # of a spread of about 1; the noise alone is 0.2


def test_the_map_is_ridge_regression_on_centred_features():
    one = Tryage(penalties=(0.5,), width=64)
    router = fitted(one)
    x, y = one.features(TEXTS), losses(KINDS)
    x, y = x - x.mean(0), y - y.mean(0)
    w = torch.linalg.solve(x.mT @ x + 0.5 * torch.eye(64, dtype=x.dtype), x.mT @ y)
    torch.testing.assert_close(router.weights, w)
    torch.testing.assert_close(router.predicted(TEXTS).mean(0), losses(KINDS).mean(0))
    assert not torch.equal(fitted(Tryage(penalties=(50.0,), width=64)).weights, router.weights)


def test_the_weight_goes_from_the_predicted_to_the_cheapest():
    free = fitted(Tryage())
    assert torch.equal(free(FRESH), free.predicted(FRESH).argmin(1))
    assert (fitted(Tryage(weight=1e6))(FRESH) == 2).all()
    assert (fitted(Tryage(weight=1e6, cost="age"))(FRESH) == 0).all()
    spent = [float(EXPERTS.cost("size")[fitted(Tryage(weight=w))(FRESH)].mean()) for w in (0.0, 0.5, 1.0, 2.0, 4.0)]
    assert spent == sorted(spent, reverse=True)
    assert spent[0] > spent[-1]


def test_flags_in_a_prompt_weigh_costs_of_that_prompt_alone():
    router = fitted(Tryage(flagged=100.0))
    french = "le chat est sur le tapis"
    asked = [french, f"{french} [Flag: smallest model]", f"[Flag: age 50] {french}", french]
    assert router(asked).tolist() == [1, 2, 0, 1]
    assert torch.equal(router.predicted(asked[:1]), router.predicted(asked[1:2]))
    assert fitted(Tryage(flagged=0.0))(asked[1:2]).tolist() == [1]
    with pytest.raises(ValueError, match="no cost of these experts is called 'seconds'; there are size, age"):
        router(["x [Flag: fastest model]"])


def test_missing_losses_change_their_experts_fit_alone():
    seen = losses(KINDS)
    seen[::4, 1] = float("nan")
    whole, holed = fitted(Tryage(penalties=(0.1,))), fitted(Tryage(penalties=(0.1,)), seen)
    assert (whole.missing, holed.missing) == (0, 15)
    same = [0, 2]
    torch.testing.assert_close(whole.predicted(FRESH)[:, same], holed.predicted(FRESH)[:, same])
    kept = [at for at in range(60) if at % 4]
    alone = Tryage(penalties=(0.1,)).fit(
        [TEXTS[at] for at in kept], losses(KINDS)[kept], EXPERTS, generator=generator(0)
    )
    torch.testing.assert_close(holed.predicted(FRESH)[:, 1], alone.predicted(FRESH)[:, 1])
    seen[1:, 1] = float("nan")
    seen[0, 1] = 3.5  # one observation is no slope
    torch.testing.assert_close(
        fitted(Tryage(), seen).predicted(FRESH)[:, 1], torch.full((60,), 3.5, dtype=torch.float64)
    )


def test_an_encoder_s_vectors_are_features_too(monkeypatch):
    monkeypatch.setattr("trivium.routing.tryage._encoder", lambda name: lambda texts: torch.ones(len(texts), 5))
    assert Tryage(encoder="any").features(TEXTS).shape == (60, 1024 + 5)


def test_bad_settings_are_refused():
    for changed, said in (
        ({"weight": -0.1}, "weight must not be negative"),
        ({"flagged": -1.0}, "flagged must not be negative"),
        ({"width": 1}, "width must be at least 2"),
        ({"penalties": (0.0,)}, "penalties must be positive"),
    ):
        with pytest.raises(ValueError, match=said):
            Tryage(**changed)
    with pytest.raises(ValueError, match="no cost of these experts is called 'price'"):
        fitted(Tryage(weight=1.0, cost="price"))
    with pytest.raises(ValueError, match="at least two prompts"):
        Tryage().fit(["a"], losses(KINDS)[:1], EXPERTS, generator=generator(0))
    with pytest.raises(ValueError, match="names of their own"):
        Experts(("a", "a"))
    with pytest.raises(ValueError, match="'size' must be one finite number for each of 2"):
        Experts(("a", "b"), {"size": (1.0,)})
    assert fitted(Cheapest(cost="age"))(FRESH[:1]).tolist() == [0]
