"""Flatness: against exact traces of a tiny model, what moves it and what does not, and models left as they were."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.families import wrapped
from trivium.architectures.llama import Llama
from trivium.core.seeds import generator
from trivium.data.corpus import Corpus
from trivium.evaluation.flatness import Flatness
from trivium.models.system import System
from trivium.nn.curvature import hutchinson_reference, score_squares_reference
from trivium.tokenization.byte import ByteTokenizer

TEXTS = ["abca", "hello there", ""]
TASK = Flatness(Corpus("three", {"test": TEXTS}), draws=4)
IDS = torch.tensor([[3, 1, 4, 1, 5]])


def tiny(vocab=7, seed=1, **changes):
    model = Llama(width=8, heads=2, depth=1, hidden=6, **changes).build(vocab, seed=seed).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(15)
    return model


@pytest.fixture(scope="module")
def system():
    return System(tiny(ByteTokenizer().vocab_size).float(), ByteTokenizer(), "made")


@pytest.mark.parametrize("tensors", ["all", "matrices"])
def test_means_are_the_exact_traces(tensors):
    model = tiny()
    chosen = [p for name, p in model.named_parameters() if tensors == "all" or name.endswith("proj.weight")]
    with sdpa_kernel(SDPBackend.MATH):
        logits = model(IDS).logits[0, :-1]
    own = score_squares_reference(logits, chosen) / 4
    hessian = hutchinson_reference(F.cross_entropy(logits, IDS[0, 1:]), chosen)
    lengths = torch.stack([p.detach().square().sum() for p in chosen])
    exact = {"trace_gn": own.sum(), "trace_hessian": hessian.sum(), "relative_gn": (own * lengths).sum()}
    found = Flatness(draws=250, tensors=tensors).measure(model, IDS, generator=generator(0))
    means, errors = found.means(), found.errors()
    for name, value in exact.items():
        assert abs(means[name] - value) < 3 * errors[name], name
        assert errors[name] < 0.2 * abs(value), name


def test_a_scale_that_two_matrices_share_moves_the_trace_and_not_the_relative_one():
    model = tiny()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.blocks[0].mixer.v_proj.weight.mul_(4)
        other.blocks[0].mixer.o_proj.weight.div_(4)
    torch.testing.assert_close(other(IDS).logits, model(IDS).logits)
    a, b = (TASK.measure(each, IDS, generator=generator(0)).means() for each in (model, other))
    assert b["relative_gn"] == pytest.approx(a["relative_gn"], rel=1e-9)
    assert b["trace_gn"] != pytest.approx(a["trace_gn"], rel=0.05)


def test_settings_do_what_they_say(system):
    few, many = (Flatness(TASK.corpus, draws=draws) for draws in (2, 9))
    a, b = (task.measure(system.model, IDS, generator=generator(0)) for task in (few, many))
    assert (len(a.gn), len(b.gn)) == (2, 9)
    per = Flatness(TASK.corpus, draws=2, per_parameter=True).measure(system.model, IDS, generator=generator(0))
    count = sum(parameter.numel() for parameter in system.model.parameters())
    torch.testing.assert_close(per.gn * count, a.gn)
    torch.testing.assert_close(per.hessian * count, a.hessian)
    assert torch.equal(per.relative, a.relative)
    matrices = Flatness(TASK.corpus, draws=2, tensors="matrices").measure(system.model, IDS, generator=generator(0))
    assert matrices.gn.mean() < a.gn.mean()
    assert [example.text for example in Flatness(TASK.corpus, documents=2).examples("test")] == TEXTS[:2]
    short = Flatness(Corpus("cut", {"test": [TEXTS[1][:3]]}), draws=4)  # the opening and three bytes
    cut = Flatness(TASK.corpus, draws=4, length=4).measure(
        system.model, system.prompt(TEXTS[1])[:, :4], generator=generator(0, "flatness", "test-00000")
    )
    got = Flatness(Corpus("long", {"test": [TEXTS[1]]}), draws=4, length=4)
    for task in (short, got):
        assert task.score(system, task.examples("test")[0]).values == cut.means()


def test_a_document_is_scored_alike_each_time_and_one_too_short_is_left_out(system):
    examples = TASK.examples("test")
    first, again = (TASK.score(system, examples[1]) for _ in range(2))
    assert first.values == again.values
    assert set(first.values) == {measure.name for measure in TASK.measures}
    assert first.shown["level"] == "mean over positions"
    assert first.shown["trace_gn_error"] > 0
    assert first.values["trace_gn"] > 0
    assert TASK.score(system, examples[2]).values == {}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_pretrained_model_is_measured_and_left_as_it_was(family):
    model = wrapped(family)
    model.train()
    frozen, *_ = model.parameters()
    frozen.requires_grad_(False)
    grads = [parameter.requires_grad for parameter in model.parameters()]
    before = [parameter.clone() for parameter in model.parameters()]
    with torch.inference_mode():
        found = TASK.measure(model, IDS.clone(), generator=generator(0))
    assert all(samples.isfinite().all() for samples in (found.gn, found.hessian, found.relative))
    assert found.gn.min() > 0
    assert model.training
    assert [parameter.requires_grad for parameter in model.parameters()] == grads
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    frozen.requires_grad_(True)
    thawed = TASK.measure(model, IDS, generator=generator(0))
    assert torch.equal(thawed.gn, found.gn)


@pytest.mark.parametrize(
    "wrong", [{"documents": 0}, {"length": 1}, {"draws": 1}, {"tensors": "biases"}], ids=lambda wrong: next(iter(wrong))
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Flatness(**wrong)
