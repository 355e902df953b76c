"""LIME: the weights of a model that is linear in which tokens are there."""

import math

import pytest
import torch

from tests.attribution.models import Additive, Smooth
from trivium.attribution.lime import Lime, ridge
from trivium.attribution.occlusion import Occlusion
from trivium.core.nouns import Target

IDS = torch.tensor([7, 3, 11, 5, 2, 9])
LOGIT = Target(4, objective="logit")


def explain(explainer, model, *, seed=0, **more):
    return explainer(model, IDS, LOGIT, generator=torch.Generator().manual_seed(seed), **more)


def test_terms_that_add_up_are_recovered():
    """Each token's term is what occlusion finds; without a penalty LIME finds it too, and fits perfectly."""
    model = Additive()
    terms = explain(Occlusion(), model).scores
    found = explain(Lime(ridge=1e-9), model)
    torch.testing.assert_close(found.scores, terms, atol=1e-6, rtol=1e-6)
    assert found.facts["fit"] == pytest.approx(1.0)


def test_a_penalty_shrinks_the_weights():
    free, held = (explain(Lime(ridge=penalty), Smooth()).scores.norm() for penalty in (0.0, 100.0))
    assert held < 0.5 * free


def test_the_kernel_decides_what_is_near():
    narrow, wide = (explain(Lime(width=width), Smooth()).scores for width in (0.05, 10.0))
    assert (narrow - wide).abs().max() > 1e-3
    few = explain(Lime(masks=3), Smooth()).scores
    assert few.isfinite().all()


def test_ridge_by_hand():
    """One token, there in half of the masks, equal weights: the difference of the means, shrunk by n/4 over n/4 + a."""
    kept = torch.tensor([[1.0], [0.0], [1.0], [0.0]], dtype=torch.float64)
    values = torch.tensor([3.0, 1.0, 5.0, 1.0], dtype=torch.float64)
    found, fit = ridge(kept, values, width=1e6, penalty=1.0)
    assert found.item() == pytest.approx(3.0 * 1.0 / (1.0 + 1.0))
    assert 0 < fit < 1
    near, _ = ridge(kept, values, width=1e6, penalty=0.0)
    assert near.item() == pytest.approx(3.0)


def test_the_kernel_by_hand():
    """Of masks that keep 2, 1 and 0 of 2 tokens: cosines 1, sqrt(1/2) and 0, and the weighted least squares of that."""
    kept = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    values = torch.tensor([4.0, 1.0, 0.0], dtype=torch.float64)
    weights = [1.0, math.exp(-((1 - math.sqrt(0.5)) ** 2) / 0.5), math.exp(-1 / 0.5)]
    root = torch.tensor(weights, dtype=torch.float64).sqrt()[:, None]
    design = torch.cat([kept, torch.ones(3, 1, dtype=torch.float64)], 1)
    penalty = torch.diag(torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))
    normal = (root * design).T @ (root * design) + penalty
    expected = torch.linalg.solve(normal, (root * design).T @ (root[:, 0] * values))
    found, _ = ridge(kept, values, width=0.5, penalty=1.0)
    torch.testing.assert_close(found, expected[:2])


def test_masks_far_from_the_prompt_count_less():
    """With a narrow kernel the mask that keeps all decides, and with it the one that is nearest."""
    kept = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    values = torch.tensor([2.0, 2.0, 1.0, -50.0], dtype=torch.float64)
    found, _ = ridge(kept, values, width=0.1, penalty=0.0)
    assert found[0].item() == pytest.approx(1.0, abs=1e-3)


def test_a_token_as_replacement_needs_no_embeddings():
    model = Smooth(offers=frozenset({"causal"}))
    assert explain(Lime(replacement=0), model).scores.abs().max() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"masks": 0}, "masks must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"width": 0.0}, "width must be positive, got 0.0"),
        ({"ridge": -1.0}, "ridge must not be negative, got -1.0"),
        ({"replacement": "pad"}, "replacement must be"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Lime(**settings)


def test_captum_agrees():
    """Its own sampling, kernel and ridge, against our regression on the very masks and values that it drew."""
    captum = pytest.importorskip("captum.attr")
    linear = pytest.importorskip("captum._utils.models.linear_model")
    model = Smooth().eval()
    embeds, neutral = model.embed(IDS[None]).detach(), model.table.detach().mean(0)
    draw, drawn = torch.Generator().manual_seed(0), []

    def forward(x):
        return LOGIT(model(embeds=x).logits[:, -1])

    def perturbed(_, **more):
        return (torch.rand(1, 6, generator=draw) < 0.5).double()

    def embedded(kept, original, **more):
        drawn.append(kept[0])
        return torch.where(kept[..., None] > 0, original, neutral)

    def near(original, perturbed_input, kept, **more):
        cosine = kept.mean().sqrt()
        return torch.exp(-((1 - cosine) ** 2) / (2 * 0.25**2))

    lime = captum.LimeBase(
        forward,
        linear.SkLearnRidge(alpha=1.0),
        similarity_func=near,
        perturb_func=perturbed,
        perturb_interpretable_space=True,
        from_interp_rep_transform=embedded,
        to_interp_rep_transform=None,
    )
    with torch.random.fork_rng():  # its loader of samples seeds itself
        theirs = lime.attribute(embeds, n_samples=200)
    masks = torch.stack(drawn)
    with torch.no_grad():
        values = forward(torch.where(masks[..., None] > 0, embeds, neutral))
    found, _ = ridge(masks, values, width=0.25, penalty=1.0)
    # captum keeps masks and weights in single precision
    torch.testing.assert_close(found, theirs[0].to(found), atol=1e-5, rtol=1e-4)
