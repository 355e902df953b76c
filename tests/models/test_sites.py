"""Named sites: seen without changing a bit, changed where and as told, and never silently missed."""

from functools import cache

import pytest
import torch

from tests.families import ATTENTION_FAMILIES, FAMILIES, wrapped
from tests.models.test_huggingface import CLOSE, CLOSER_TO_FLOAT32, model, tokens
from trivium.core.errors import UnknownName
from trivium.models.huggingface import HuggingFaceModel

IDS = tokens(2, 7)
SHAPES = {  # of 2 rows, 7 tokens, 4 heads; width 32
    "in": (2, 7, 32),
    "attn.norm": (2, 7, 32),
    "attn.q": (2, 7, 4, 8),
    "attn.z": (2, 7, 4, 8),
    "attn.scores": (2, 4, 7, 7),
    "attn.weights": (2, 4, 7, 7),
    "attn.out": (2, 7, 32),
    "mid": (2, 7, 32),
    "mlp.norm": (2, 7, 32),
    "mlp.out": (2, 7, 32),
    "out": (2, 7, 32),
}


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@cache
def without_attention_shown(family: str) -> tuple[str, ...]:
    return tuple(name for name in model(family).sites() if not name.endswith((".scores", ".weights")))


@pytest.mark.parametrize("family", FAMILIES)
def test_seeing_changes_not_one_bit(family):
    plain = model(family)(IDS).logits
    with model(family).capture(*without_attention_shown(family)) as seen:
        assert torch.equal(model(family)(IDS).logits, plain)
    assert set(seen) == set(without_attention_shown(family))
    assert torch.equal(seen["logits"], plain)
    assert torch.equal(model(family)(IDS).logits, plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_edit_that_changes_nothing_changes_not_one_bit(family):
    plain = model(family)(IDS).logits
    with model(family).edit({name: torch.clone for name in without_attention_shown(family)}):
        assert torch.equal(model(family)(IDS).logits, plain)


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_every_usual_site_is_there_in_its_shape(family):
    adapter = model(family)
    missing = {"mid"} if family == "gpt_neox" else set()  # attention and feed-forward run side by side there
    names = [name for name in adapter.sites() if name.startswith("blocks.1.")]
    with adapter.capture(*names) as seen:
        adapter(IDS)
    for name, shape in SHAPES.items():
        if name in missing:
            assert f"blocks.1.{name}" not in names
        else:
            assert tuple(seen[f"blocks.1.{name}"].shape) == shape, name
    groups = getattr(adapter.config, "num_key_value_heads", 4)
    assert tuple(seen["blocks.1.attn.k"].shape) == tuple(seen["blocks.1.attn.v"].shape) == (2, 7, groups, 8)
    assert seen["blocks.1.mlp.act"].shape[:2] == (2, 7)


def test_a_model_without_attention_offers_its_stream():
    assert model("mamba").sites() == (
        "embed",
        "blocks.0.in",
        "blocks.0.out",
        "blocks.1.in",
        "blocks.1.out",
        "final.norm",
        "logits",
    )


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_the_stream_adds_up(family):
    adapter = model(family)
    with adapter.capture(*without_attention_shown(family)) as seen:
        adapter(IDS)
    for layer in range(adapter.depth):
        at = {name: seen.get(f"blocks.{layer}.{name}") for name in ("in", "attn.out", "mid", "mlp.out", "out")}
        if at["mid"] is not None:
            torch.testing.assert_close(at["in"] + at["attn.out"], at["mid"], **CLOSE)
        torch.testing.assert_close(at["in"] + at["attn.out"] + at["mlp.out"], at["out"], **CLOSE)
    torch.testing.assert_close(adapter.inner.get_output_embeddings()(seen["final.norm"]), seen["logits"], **CLOSE)
    torch.testing.assert_close(seen["embed"], adapter.embed(IDS), **CLOSE)


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_weights_and_values_make_what_the_projection_reads(family):
    """z = weights @ v, each query head with the value head of its group."""
    adapter = model(family)
    with adapter.capture("blocks.1.attn.weights", "blocks.1.attn.scores", "blocks.1.attn.v", "blocks.1.attn.z") as seen:
        logits = adapter(IDS).logits
    torch.testing.assert_close(logits, adapter(IDS).logits, **CLOSE)
    weights, value = seen["blocks.1.attn.weights"], seen["blocks.1.attn.v"]
    value = value.repeat_interleave(weights.shape[1] // value.shape[2], 2)
    torch.testing.assert_close(torch.einsum("bhqk,bkhd->bqhd", weights, value), seen["blocks.1.attn.z"], **CLOSE)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    causal = torch.ones(7, 7, dtype=torch.bool).tril()
    assert (weights[..., ~causal] == 0).all()
    if family != "gemma":  # whose window hides more
        masked = seen["blocks.1.attn.scores"].masked_fill(~causal, float("-inf"))
        torch.testing.assert_close(masked.softmax(-1), weights, **CLOSE)


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_weights_are_those_of_eager_attention(family):
    adapter = model(family)
    adapter.inner.set_attn_implementation("eager")
    try:
        expected = adapter.inner(input_ids=IDS, output_attentions=True).attentions
        with adapter.capture(*(f"blocks.{layer}.attn.weights" for layer in range(adapter.depth))) as seen:
            adapter(IDS)
        assert adapter.config._attn_implementation == "eager"
    finally:
        adapter.inner.set_attn_implementation("sdpa")
    for layer, weights in enumerate(expected):
        torch.testing.assert_close(seen[f"blocks.{layer}.attn.weights"], weights, **CLOSER_TO_FLOAT32)


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_the_attention_implementation_is_put_back(family):
    adapter = model(family)
    with adapter.capture("blocks.0.attn.weights"):
        assert adapter.config._attn_implementation != "sdpa"
        with adapter.capture("blocks.1.attn.weights"):
            adapter(IDS)
        assert adapter.config._attn_implementation != "sdpa"
        adapter(IDS)
    assert adapter.config._attn_implementation == "sdpa"
    with pytest.raises(ZeroDivisionError), adapter.capture("blocks.0.attn.weights"):
        raise ZeroDivisionError
    assert adapter.config._attn_implementation == "sdpa"
    assert adapter.watched == 0


def test_two_models_show_their_attention_at_once():
    left, right = model("llama"), model("gpt2")
    with left.capture("blocks.0.attn.weights") as a, right.capture("blocks.0.attn.weights") as b:
        left(IDS)
        right(IDS[:, :3])
    assert a["blocks.0.attn.weights"].shape[-1] == 7
    assert b["blocks.0.attn.weights"].shape[-1] == 3


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_cutting_attention_to_a_token_hides_it(family):
    """With no weight on token 2 after it, in any layer, later logits do not depend on it."""
    adapter = model(family)

    def cut(scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        scores[..., 3:, 2] = torch.finfo(scores.dtype).min
        return scores

    other = IDS.clone()
    other[:, 2] = (IDS[:, 2] + 1) % 60
    edits = {f"blocks.{layer}.attn.scores": cut for layer in range(adapter.depth)}
    with adapter.edit(edits):
        one, two = adapter(IDS).logits[:, 3:], adapter(other).logits[:, 3:]
    torch.testing.assert_close(one, two, **CLOSE)
    assert (adapter(IDS).logits[:, 3:] - adapter(other).logits[:, 3:]).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_every_edit_takes_effect(family):
    plain = model(family)(IDS).logits
    for name in model(family).sites():
        with model(family).edit({name: lambda x: x + 0.5 * torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype)}):
            changed = model(family)(IDS).logits
        assert not torch.equal(changed, plain), name
    assert torch.equal(model(family)(IDS).logits, plain)


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_edits_of_parts_leave_the_others_alone(family):
    adapter = model(family)
    names = ["blocks.1.attn.q", "blocks.1.attn.k", "blocks.1.attn.v"]
    with adapter.capture(*names) as before:
        adapter(IDS)
    with adapter.edit({"blocks.1.attn.k": torch.zeros_like}), adapter.capture(*names) as after:
        adapter(IDS)
    assert torch.equal(before["blocks.1.attn.q"], after["blocks.1.attn.q"])
    assert torch.equal(before["blocks.1.attn.v"], after["blocks.1.attn.v"])
    assert not after["blocks.1.attn.k"].any()


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen", "gemma", "opt"])
def test_an_edit_in_the_middle_moves_the_whole_stream(family):
    """The norm and the residual read the same tensor: replacing ``mid`` replaces both."""
    adapter = model(family)
    other = tokens(2, 7, seed=9)
    names = ["blocks.0.mid", "blocks.0.out"]
    with adapter.capture(*names) as wanted:
        adapter(other)
    with adapter.edit({"blocks.0.mid": lambda x: wanted["blocks.0.mid"]}), adapter.capture("blocks.0.out") as seen:
        adapter(IDS)
    torch.testing.assert_close(seen["blocks.0.out"], wanted["blocks.0.out"], **CLOSE)


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
def test_gradients_reach_captured_and_edited_sites(family):
    adapter = model(family)
    names = [name for name in without_attention_shown(family) if name != "logits"]
    with torch.enable_grad():
        embeds = adapter.embed(IDS).detach().requires_grad_()
        with adapter.edit({"blocks.0.mid": lambda x: 2 * x}), adapter.capture(*names) as seen:
            total = adapter(embeds=embeds).logits[:, -1].logsumexp(-1).sum()
        gradients = torch.autograd.grad(total, [seen[name] for name in names], allow_unused=True)
    unreached = {name for name, gradient in zip(names, gradients, strict=True) if gradient is None}
    assert not unreached


def test_edits_compose_in_the_order_of_entry():
    adapter: HuggingFaceModel = model("llama")
    with adapter.capture("blocks.1.in") as plain:
        adapter(IDS)
    with (
        adapter.edit({"blocks.1.in": lambda x: x + 1}),
        adapter.capture("blocks.1.in") as between,
        adapter.edit({"blocks.1.in": lambda x: x * 3}),
        adapter.capture("blocks.1.in") as after,
    ):
        adapter(IDS)
    x = plain["blocks.1.in"]
    torch.testing.assert_close(between["blocks.1.in"], x + 1)
    torch.testing.assert_close(after["blocks.1.in"], (x + 1) * 3)


def test_the_embedding_is_a_site_for_ids_and_embeddings():
    adapter = model("gemma")
    given = adapter.embed(IDS)
    for call in (lambda: adapter(IDS), lambda: adapter(embeds=given)):
        with adapter.edit({"embed": lambda x: 0 * x}):
            zero = call().logits
        assert torch.equal(zero, adapter(embeds=0 * given).logits)


def test_sites_along_a_state():
    """Within a block, passes that go on from a state are seen as well; the last pass wins."""
    adapter = model("llama")
    state = adapter(IDS[:, :4], keep_state=True).state
    with adapter.capture("blocks.2.out", "blocks.2.attn.weights") as seen:
        adapter(IDS[:, 4:], state=state)
    assert tuple(seen["blocks.2.out"].shape) == (2, 3, 32)
    assert tuple(seen["blocks.2.attn.weights"].shape) == (2, 4, 3, 7)


class TestMisuse:
    def test_unknown_site(self):
        near = r"no site 'blocks\.0\.att\.out'; did you mean 'blocks\.0\.attn\.out'\?"
        with pytest.raises(UnknownName, match=near), model("llama").capture("blocks.0.att.out"):
            pass
        with (
            pytest.raises(UnknownName, match=r"no site 'blocks\.9\.out'"),
            model("llama").edit({"blocks.9.out": torch.clone}),
        ):
            pass

    def test_an_edit_that_never_ran(self):
        missed = r"the edit at 'blocks\.0\.out' never ran"
        with pytest.raises(RuntimeError, match=missed), model("llama").edit({"blocks.0.out": torch.clone}):
            pass

    def test_a_capture_that_saw_nothing(self):
        missed = r"the capture at 'blocks\.0\.out' never ran"
        with pytest.raises(RuntimeError, match=missed), model("llama").capture("blocks.0.out"):
            pass

    def test_the_first_error_is_the_one_shown(self):
        with pytest.raises(ZeroDivisionError), model("llama").edit({"blocks.0.out": torch.clone}):
            raise ZeroDivisionError

    def test_an_edit_of_the_wrong_shape(self):
        wanted = r"the edit at 'blocks\.0\.out' must return a tensor of shape \(2, 7, 32\)"
        with pytest.raises(ValueError, match=wanted), model("llama").edit({"blocks.0.out": lambda x: x[:, :1]}):
            model("llama")(IDS)
        nothing = "it returned NoneType"
        with pytest.raises(ValueError, match=nothing), model("llama").edit({"blocks.0.out": lambda x: None}):
            model("llama")(IDS)

    def test_nothing_is_left_behind(self):
        adapter = wrapped("llama")
        plain = adapter(IDS).logits
        with pytest.raises(ValueError, match="must return"), adapter.edit({"blocks.0.mid": lambda x: None}):
            adapter(IDS)
        assert torch.equal(adapter(IDS).logits, plain)
        assert all(not part._forward_hooks and not part._forward_pre_hooks for part in adapter.modules())
