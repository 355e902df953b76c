"""What every explainer keeps to, on every family of models; written against the protocol, no method is named."""

from dataclasses import fields, replace
from functools import lru_cache

import pytest
import torch

from tests.attribution.models import OFFERS, VOCAB, ByHand, Deaf, Smooth
from tests.families import FAMILIES, wrapped
from trivium.attribution._render import from_json, to_json
from trivium.core.capabilities import lacking
from trivium.core.errors import NotFinite, NotOffered
from trivium.core.meter import Meter
from trivium.core.method import card_of, find, names
from trivium.core.nouns import Target

METHODS = names("attribution")
ON_GRADIENTS = [name for name in METHODS if "gradient" in card_of(find("attribution", name)).needs]
IDS = torch.tensor([7, 3, 11, 3, 2, 12, 5, 1])
TARGET = Target(4)

every_method = pytest.mark.parametrize("name", METHODS)
every_family = pytest.mark.parametrize(
    "model_name", [*FAMILIES, *(f"native {name}" for name in names("architectures"))]
)


def build(model_name):
    """A Hugging Face model of the family or a native one of the architecture, in double precision."""
    if model_name in FAMILIES:
        return wrapped(model_name)
    return find("architectures", model_name.removeprefix("native "))().build(64).double().eval()


family = lru_cache(build)


def suited(name, model):
    """An explainer with its defaults, but for a token as replacement where the model takes no embeddings."""
    made = find("attribution", name)()
    by_embeddings = "replacement" in {field.name for field in fields(made)} and "embeds" not in model.offers
    return replace(made, replacement=0) if by_embeddings else made


def skip_unless_suited(name, model):
    if lacking(model, card_of(find("attribution", name)).needs):
        pytest.skip("needs what this model lacks")


def explain(name, model, ids=IDS, target=TARGET, *, seed=0, explainer=None, **more):
    if isinstance(model, ByHand) and "sites" in card_of(find("attribution", name)).needs:
        pytest.skip("takes models apart, and those by hand are of one piece")
    explainer = explainer or suited(name, model)
    return explainer(model, ids, target, generator=torch.Generator().manual_seed(seed), **more)


@every_method
@every_family
def test_defaults_give_a_finite_score_per_token(name, model_name):
    model = family(model_name)
    if missing := lacking(model, card_of(find("attribution", name)).needs):
        with pytest.raises(NotOffered, match="|".join(missing)):
            explain(name, model)
        return
    got = explain(name, model)
    assert got.scores.shape == IDS.shape
    assert got.scores.is_floating_point()
    assert got.scores.isfinite().all()
    assert got.scores.abs().max() > 0
    assert not got.scores.requires_grad
    assert torch.equal(got.ids, IDS)
    assert (got.target, got.method) == (TARGET, name)
    with torch.no_grad():
        value = TARGET(model(IDS[None]).logits[:, -1]).item()
    assert got.facts["value"] == pytest.approx(value, abs=1e-9)


@every_method
@pytest.mark.parametrize("model_name", ["gpt2", "mamba", "native transnormer"])
def test_the_same_seed_gives_the_same_scores_and_no_global_state_moves(name, model_name):
    model, ids = family(model_name), IDS.clone()
    skip_unless_suited(name, model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    global_state = torch.random.get_rng_state()
    first, second = (explain(name, model, ids, seed=3) for _ in range(2))
    assert torch.equal(first.scores, second.scores)
    assert torch.equal(torch.random.get_rng_state(), global_state)
    assert torch.equal(ids, IDS)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()


@every_method
@pytest.mark.parametrize("model_name", ["llama", "mamba", "native transnormer"])
def test_frozen_parameters_and_contexts_without_gradients_change_nothing(name, model_name):
    model = family(model_name)
    skip_unless_suited(name, model)
    expected = explain(name, model).scores
    with torch.no_grad():
        torch.testing.assert_close(explain(name, model).scores, expected, atol=1e-6, rtol=1e-6)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        got = explain(name, model, IDS.clone()).scores
    torch.testing.assert_close(got.clone(), expected, atol=1e-6, rtol=1e-6)
    frozen = build(model_name).requires_grad_(False)
    torch.testing.assert_close(explain(name, frozen).scores, expected, atol=1e-6, rtol=1e-6)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


@every_method
@every_family
def test_the_batch_size_changes_no_score(name, model_name):
    made = find("attribution", name)()
    if "batch_size" not in {field.name for field in fields(made)}:
        pytest.skip("takes one row at a time")
    model = family(model_name)
    skip_unless_suited(name, model)
    made = suited(name, model)
    few = explain(name, model, explainer=replace(made, batch_size=4))
    together = explain(name, model, explainer=replace(made, batch_size=64))
    # some families have their logits in single precision, whatever the weights: 1e-6 of scores of order 1
    torch.testing.assert_close(together.scores, few.scores, atol=1e-6, rtol=1e-6)


@every_method
def test_batches_give_what_single_rows_give(name):
    made = find("attribution", name)()
    if "batch_size" not in {field.name for field in fields(made)}:
        pytest.skip("takes one row at a time")
    one_by_one = explain(name, family("llama"), explainer=replace(made, batch_size=1))
    torch.testing.assert_close(one_by_one.scores, explain(name, family("llama")).scores, atol=1e-9, rtol=1e-9)


@every_method
def test_what_is_spent_is_what_the_meter_saw(name, monkeypatch):
    model, backwards = Smooth(), []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: backwards.append(1) or grad(*a, **k))
    with Meter() as meter:
        explain(name, model)
    assert meter.spent.calls == len(model.seen)
    assert meter.spent.positions == sum(rows * time for rows, time in model.seen)
    assert meter.spent.backwards == len(backwards)
    assert (meter.spent.backwards > 0) == (name in ON_GRADIENTS)
    assert meter.spent.flops > 0
    with Meter() as again:
        explain(name, model)
    assert again.spent.flops == meter.spent.flops


@every_method
def test_dropout_is_off_and_every_module_gets_its_mode_back(name):
    model = Smooth()
    model.train()
    expected = explain(name, Smooth().eval()).scores
    torch.testing.assert_close(explain(name, model).scores, expected, atol=1e-13, rtol=0)
    assert model.training
    assert model.dropout.training
    model.dropout.eval()
    with pytest.raises(ValueError, match="vocabulary"):
        explain(name, model, target=Target(VOCAB))
    explain(name, model)
    assert model.training
    assert not model.dropout.training


@every_method
def test_a_prompt_of_one_token_is_explained(name):
    got = explain(name, family("llama"), torch.tensor([5]))
    assert got.scores.shape == (1,)
    assert got.scores.abs().item() > 0


@every_method
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_half_precision_scores_are_single_precision(name, dtype):
    got = explain(name, wrapped("llama", dtype))
    assert got.scores.dtype == torch.float32


@every_method
@pytest.mark.parametrize(
    "target", [Target(4, objective="logit"), Target(4, objective="prob"), Target(4, foil=9, objective="contrast")]
)
def test_every_objective_is_explained(name, target):
    model = Smooth()
    got = explain(name, model, target=target)
    with torch.no_grad():
        value = target(model.eval()(IDS[None]).logits[:, -1]).item()
    assert got.facts["value"] == pytest.approx(value)
    assert got.scores.abs().max() > 0


@every_method
def test_a_contrast_is_the_other_way_round_with_token_and_foil_exchanged(name):
    one = explain(name, Smooth(), target=Target(4, foil=9, objective="contrast"))
    other = explain(name, Smooth(), target=Target(9, foil=4, objective="contrast"))
    if (one.scores >= 0).all() and (other.scores >= 0).all():
        pytest.skip("its scores say how much a token matters, not which way")
    torch.testing.assert_close(one.scores, -other.scores, atol=1e-12, rtol=0)


SPAN = Target((4, 9, 2))


@every_method
@pytest.mark.parametrize("model_name", ["gpt2", "gemma", "llama", "mamba", "native transnormer"])
def test_an_answer_of_several_tokens_is_explained_whole(name, model_name):
    model = family(model_name)
    skip_unless_suited(name, model)
    got = explain(name, model, target=SPAN)
    assert got.scores.shape == IDS.shape
    assert got.scores.isfinite().all()
    assert got.scores.abs().max() > 0
    with torch.no_grad():
        logp = model(torch.cat([IDS, torch.tensor([4, 9])])[None]).logits[0].log_softmax(-1)
    expected = logp[7, 4] + logp[8, 9] + logp[9, 2]
    # some families have their logits in single precision, whatever the weights
    assert got.value == pytest.approx(expected.item(), abs=1e-5)


@every_method
def test_every_token_of_an_answer_and_of_a_foil_counts(name):
    """Where scores are about the target at all: attention sees only where the answer stands."""
    if "attention" in card_of(find("attribution", name)).needs:
        one, other = (explain(name, Smooth(), target=Target(answer)) for answer in ((4, 9), (5, 9)))
        assert not torch.equal(one.scores, other.scores) or name == "last_attention"
        return
    found = [
        explain(name, Smooth(), target=target).scores
        for target in (
            Target((4, 9)),
            Target((4, 10)),
            Target((5, 9)),
            Target((4, 9), foil=(4, 3), objective="contrast"),
            Target((4, 9), foil=(2, 3), objective="contrast"),
            Target((4, 9), foil=3, objective="contrast"),
        )
    ]
    assert all(not torch.equal(one, other) for at, one in enumerate(found) for other in found[:at])


@every_method
def test_a_foil_of_several_tokens_is_the_other_way_round(name):
    one = explain(name, Smooth(), target=Target((4, 9), foil=(3, 1, 2), objective="contrast"))
    other = explain(name, Smooth(), target=Target((3, 1, 2), foil=(4, 9), objective="contrast"))
    assert one.value == pytest.approx(-other.value)
    if (one.scores >= 0).all() and (other.scores >= 0).all():
        pytest.skip("its scores say how much a token matters, not which way")
    torch.testing.assert_close(one.scores, -other.scores, atol=1e-12, rtol=0)


@every_method
def test_a_budget_of_rows_is_kept(name):
    made = suited(name, Smooth())
    if not hasattr(made, "within"):
        pytest.skip("has no number of samples or steps")
    for rows in (20, 60):
        with Meter() as meter:
            explain(name, Smooth(), explainer=made.within(rows))
        assert meter.spent.evaluations <= rows
    assert made.within(10**9) == made


@every_method
def test_what_it_cost_stands_beside_the_scores(name):
    with Meter() as meter:
        got = explain(name, Smooth())
    assert got.spent["forwards"] + got.spent["backwards"] == meter.spent.evaluations
    assert (got.spent["backwards"] > 0) == (name in ON_GRADIENTS)


@every_method
@pytest.mark.parametrize("how", ["softmax", "abs_sum", "max"])
def test_a_scale_is_that_of_the_plain_scores(name, how):
    made = suited(name, Smooth())
    if "normalize" not in {field.name for field in fields(made)}:
        pytest.skip("its scores are shares already, or an effect with a unit")
    frozen = torch.tensor([True, False, False, False, True, False, False, False])
    plain = explain(name, Smooth(), explainer=made, frozen=frozen).scores
    got = explain(name, Smooth(), explainer=replace(made, normalize=how), frozen=frozen).scores
    expected = torch.zeros_like(plain)
    rest = plain[~frozen]
    expected[~frozen] = {
        "softmax": rest.softmax(0),
        "abs_sum": rest / rest.abs().sum(),
        "max": rest / rest.abs().max(),
    }[how]
    torch.testing.assert_close(got, expected)
    with pytest.raises(ValueError, match="normalize must be None, 'abs_sum', 'max' or 'softmax', got 'sum'"):
        replace(made, normalize="sum")


@every_method
def test_frozen_positions_score_zero_and_others_do_not(name):
    frozen = torch.tensor([True, True, False, False, True, False, False, False])
    got = explain(name, Smooth(), frozen=frozen)
    assert got.scores[frozen].tolist() == [0.0] * 3
    assert (got.scores[~frozen] != 0).all()
    assert explain(name, Smooth(), frozen=torch.ones(8, dtype=torch.bool)).scores.tolist() == [0.0] * 8


@every_method
@pytest.mark.parametrize("where", ["table", "head"])
def test_a_model_that_gives_nan_raises(name, where):
    model = Smooth()
    with torch.no_grad():
        getattr(model, where)[:, 4 if where == "head" else 0] = float("nan")
    with pytest.raises(NotFinite, match="nan"):
        explain(name, model)


@pytest.mark.parametrize("name", ON_GRADIENTS)
def test_without_a_gradient_the_way_out_is_named(name):
    model = Smooth(offers=OFFERS - {"gradient"})
    with Meter() as meter, pytest.raises(NotOffered, match=r"needs 'gradient'.*try 'occlusion'"):
        explain(name, model)
    assert meter.spent.calls == 0


@pytest.mark.parametrize("name", ON_GRADIENTS)
@pytest.mark.parametrize("parameters", ["trained", "frozen"])
def test_a_prediction_that_no_embedding_reaches_raises_rather_than_scores_zero(name, parameters):
    model = Deaf().requires_grad_(parameters == "trained")
    with pytest.raises(NotOffered, match="no gradient reaches the embeddings"):
        explain(name, model)


@every_method
@pytest.mark.parametrize(
    ("ids", "target", "message"),
    [
        (torch.tensor([], dtype=torch.int64), TARGET, "at least one token id"),
        (IDS[None], TARGET, "one row"),
        (IDS.double(), TARGET, "one row"),
        (torch.tensor([1, VOCAB]), TARGET, f"input token {VOCAB} is outside the vocabulary of {VOCAB}"),
        (torch.tensor([1, -1]), TARGET, "input token -1 is outside"),
        (IDS, Target(VOCAB), f"target token {VOCAB} is outside"),
        (IDS, Target(-1), "target token -1 is outside"),
        (IDS, Target(1, foil=VOCAB, objective="contrast"), f"foil token {VOCAB} is outside"),
    ],
)
def test_input_that_makes_no_sense_is_refused_before_any_pass(name, ids, target, message):
    with Meter() as meter, pytest.raises(ValueError, match=message):
        explain(name, Smooth(), ids, target)
    assert meter.spent.calls == 0


@every_method
@pytest.mark.parametrize("frozen", [torch.zeros(8), torch.zeros(7, dtype=torch.bool)])
def test_frozen_marks_every_position_with_a_bool(name, frozen):
    with pytest.raises(ValueError, match="frozen must be bool of shape"):
        explain(name, Smooth(), frozen=frozen)


@every_method
def test_json_round_trip_is_exact(name):
    got = explain(name, Smooth())
    back = from_json(to_json(got))
    assert torch.equal(back.scores, got.scores)
    assert back.scores.dtype == got.scores.dtype
    assert torch.equal(back.ids, got.ids)
    assert (back.target, back.method, back.facts) == (got.target, got.method, got.facts)
    assert (back.settings, back.spent, back.frozen) == (got.settings, got.spent, got.frozen)
    assert {key: axes.names for key, axes in back.arrays.items()} == {k: axes.names for k, axes in got.arrays.items()}
    assert all(torch.equal(axes.values, got.arrays[key].values) for key, axes in back.arrays.items())
