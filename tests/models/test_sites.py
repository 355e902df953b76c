"""Named sites: seen without changing a bit, changed where and as told, and never silently missed."""

from functools import cache
from types import MethodType

import pytest
import torch

from tests.architectures.test_contract import ALL, lively
from tests.families import ATTENTION_FAMILIES, EXPERT_FAMILIES, FAMILIES, build, wrapped
from tests.models.test_huggingface import CLOSE, CLOSER_TO_FLOAT32, model, tokens
from trivium.core.errors import NotOffered, TooLarge, UnknownName
from trivium.models import _selecting
from trivium.models._selecting import time_axis
from trivium.models.huggingface import HuggingFaceModel, wrap
from trivium.models.sitecheck import check_sites

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


def test_a_model_without_attention_offers_what_it_has():
    block = ("in", "attn.norm", "attn.z", "attn.out", "out")
    blocks = (f"blocks.{layer}.{name}" for layer in range(2) for name in block)
    assert model("mamba").sites() == ("embed", *blocks, "final.norm", "logits")


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


@pytest.mark.parametrize("family", EXPERT_FAMILIES)
def test_a_mixture_of_experts_offers_what_it_has(family):
    adapter = wrapped(family)
    assert not adapter.refused
    plain = adapter(IDS).logits
    names = [name for name in adapter.sites() if not name.endswith((".scores", ".weights"))]
    with adapter.capture(*names) as seen:
        assert torch.equal(adapter(IDS).logits, plain)
    assert check_sites(adapter) == {}
    assert tuple(seen["blocks.0.mlp.router"].shape) == (2, 7, 4)
    weight = adapter.parts.blocks[0].mlp.gate.weight
    torch.testing.assert_close(seen["blocks.0.mlp.router"], seen["blocks.0.mlp.norm"] @ weight.T, **CLOSE)
    assert "blocks.0.mlp.act" not in names  # which would be of the experts, each with tokens of its own
    assert ("blocks.1.mlp.act" in names) == (family == "qwen_moe")  # whose middle layer is dense
    for name in set(names) - {f"blocks.{layer}.mlp.router" for layer in range(3)}:
        with adapter.edit({name: lambda x: x + 0.5 * torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype)}):
            assert not torch.equal(adapter(IDS).logits, plain), name
    fixed = "can be seen but not changed: the experts are chosen within the same module"
    with pytest.raises(NotOffered, match=fixed):
        adapter.edit({"blocks.0.mlp.router": torch.zeros_like}).__enter__()


class TestCapture:
    @pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "opt"])
    def test_positions_are_columns_of_what_is_seen_without_them(self, family):
        adapter = model(family)
        names = adapter.sites()
        with adapter.capture(*names) as whole:
            adapter(IDS)
        marks = torch.zeros(2, 7, dtype=torch.bool)
        marks[0, [1, 4]] = marks[1, 6] = True
        for positions, pick in (
            (-1, lambda x: x[:, -1]),
            ([0, -2], lambda x: x[:, [0, 5]]),
            (range(2, 5), lambda x: x[:, 2:5]),
            (torch.tensor([[3, 4], [0, 6]]), lambda x: torch.stack([x[0, [3, 4]], x[1, [0, 6]]])),
            (marks[0], lambda x: x[:, [1, 4]]),
            (marks, lambda x: x[marks]),
        ):
            with adapter.capture(*names, positions=positions) as seen:
                adapter(IDS)
            for name in names:
                wanted = pick(whole[name].movedim(time_axis(name), 1))
                found = seen[name]
                if found.ndim == whole[name].ndim:
                    found = found.movedim(time_axis(name), 1)
                assert torch.equal(found, wanted), (name, positions)

    @pytest.mark.parametrize("reduce", ["mean", "sum", "max"])
    def test_reduced(self, reduce):
        adapter, names = model("llama"), ("blocks.1.out", "blocks.1.attn.weights", "blocks.0.attn.v")
        with adapter.capture(*names) as whole:
            adapter(IDS)
        take = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax}[reduce]
        marks = torch.tensor([[True, False, True, True, False, False, False], [False] * 5 + [True] * 2])
        with adapter.capture(*names, reduce=reduce) as every:
            adapter(IDS)
        with adapter.capture(*names, reduce=reduce, positions=marks) as some:
            adapter(IDS)
        with adapter.capture(*names, reduce=reduce, positions=[2, 3]) as two:
            adapter(IDS)
        for name in names:
            x = whole[name].movedim(time_axis(name), 1)
            torch.testing.assert_close(every[name], take(x, 1), **CLOSE)
            torch.testing.assert_close(some[name], torch.stack([take(x[r][marks[r]], 0) for r in (0, 1)]), **CLOSE)
            torch.testing.assert_close(two[name], take(x[:, 2:4], 1), **CLOSE)

    def test_what_is_kept_holds_nothing_else(self):
        """Memory is bounded by the positions: the storage behind a part is no larger than the part."""
        adapter = model("gpt2")
        for positions in (-1, [0, 1], torch.tensor([[3], [4]])):
            with adapter.capture("blocks.1.attn.q", "blocks.1.out", positions=positions) as seen:
                adapter(IDS)
            for kept in seen.values():
                assert kept.untyped_storage().nbytes() == kept.numel() * kept.element_size()

    def test_views_have_a_history_and_detached_ones_none(self):
        adapter = model("llama")
        with torch.enable_grad():
            embeds = adapter.embed(IDS).detach().requires_grad_()
            for options, traced in (({}, True), ({"positions": -1}, True), ({"detach": True}, False)):
                with adapter.capture("blocks.1.out", **options) as seen:
                    adapter(embeds=embeds)
                assert seen["blocks.1.out"].requires_grad is traced

    @pytest.mark.parametrize("family", [*FAMILIES, *EXPERT_FAMILIES])
    def test_bytes_are_known_before_a_pass(self, family):
        adapter = model(family) if family in FAMILIES else wrapped(family)
        names = adapter.sites()
        for options in ({}, {"positions": [1, 2]}, {"positions": 3}, {"reduce": "mean"}):
            with adapter.capture(*names, **options) as seen:
                adapter(IDS)
            for name, kept in seen.items():
                found = adapter.capture_bytes(name, batch=2, time=7, **options)
                size = 8 if (family, name) == ("mamba", "logits") else kept.element_size()  # float32 whatever it is
                assert found == kept.numel() * size, (name, options)
        assert adapter.capture_bytes("embed", "final.norm", batch=3, time=5) == 2 * 3 * 5 * 32 * 8

    @pytest.mark.parametrize("name", ["based", "gpt", "h3", "mixture_of_experts", "pangu", "quasi_lstm", "transnormer"])
    def test_bytes_of_native_models(self, name):
        native = lively(name)
        with native.capture(*native.sites()) as seen:
            native(IDS % 41)
        for site, kept in seen.items():
            assert native.capture_bytes(site, batch=2, time=7) == kept.numel() * kept.element_size(), site

    def test_too_much_is_refused_before_the_pass(self):
        adapter, ran = model("llama"), []
        names = [f"blocks.{layer}.attn.weights" for layer in range(3)]  # of 4 heads, in float64
        handle = adapter.parts.blocks[0].register_forward_pre_hook(lambda *_: ran.append(1))
        needed = 3 * 2 * 4 * 7 * 7 * 8
        try:
            wanted = (
                r"the capture of 3 sites over 2 rows of 7 tokens would keep 9\.188 KiB, .* name fewer sites, positions"
            )
            with pytest.raises(TooLarge, match=wanted), adapter.capture(*names, limit=needed - 1):
                adapter(IDS)
            assert not ran
            with adapter.capture(*names, limit=needed):
                adapter(IDS)
            state = adapter(IDS, keep_state=True).state
            with pytest.raises(TooLarge), adapter.capture(*names, limit=needed):  # 14 keys by now
                adapter(IDS, state=state)
        finally:
            handle.remove()

    def test_without_a_limit_what_is_free_is_the_limit(self, monkeypatch):
        monkeypatch.setattr(_selecting, "free_bytes", lambda device: 1000)
        with model("llama").capture("embed"):  # too little to ask
            model("llama")(IDS)
        monkeypatch.setattr(_selecting, "SMALL", 0)
        wanted = r"would keep 3\.5 KiB, and 1000 bytes are free"
        with pytest.raises(TooLarge, match=wanted), model("llama").capture("embed"):
            model("llama")(IDS)
        with model("llama").capture("embed", positions=-1):
            model("llama")(IDS)

    def test_free_memory_is_told(self):
        found = _selecting.free_bytes(torch.device("cpu"))
        assert found is None or found > 1 << 20

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"positions": [7]}, "position 7 is outside a pass of 7 columns"),
            ({"positions": -8}, "position -8 is outside"),
            ({"positions": []}, "positions are empty"),
            ({"positions": torch.zeros(2, 7, dtype=torch.bool)}, "positions are empty"),
            ({"positions": torch.tensor([[True] * 7, [False] * 7])}, "or those of a row"),
            ({"positions": torch.ones(2, 6, dtype=torch.bool)}, "positions mark 6 columns, and the pass has 7"),
            ({"positions": torch.zeros(3, 1, dtype=torch.int64)}, "given for 3 rows, and the pass has 2"),
            ({"positions": torch.zeros(3)}, "positions are int64 or bool"),
            ({"reduce": "median"}, "reduce must be one of mean, sum, max; got 'median'"),
            ({"reduce": "mean", "positions": 2}, "leaves nothing to take the mean over"),
        ],
    )
    def test_positions_that_are_none(self, options, message):
        with pytest.raises(ValueError, match=message), model("llama").capture("blocks.0.out", **options):
            model("llama")(IDS)
        model("llama")(IDS)  # nothing was left behind


class TestSelfCheck:
    """Each of the five lines, on a model that breaks it: the site is not offered, and the line is the reason."""

    @staticmethod
    def refused(hf, site):
        adapter = wrap(hf)
        name = next(name for name in wrapped("llama").sites() if name.endswith(site))
        assert name not in adapter.sites()
        reason = adapter.refused[f"site {site}"]
        with pytest.raises(UnknownName, match="this model has no site") as caught:
            adapter.capture(name).__enter__()
        assert reason in str(caught.value)
        return reason

    def test_shapes(self):
        hf = build("llama")
        hf.model.layers[1].mlp.down_proj.register_forward_hook(lambda m, i, o: o[:, :1])  # spreads over positions
        assert "is (1, 1, 32), which is not of 1 rows of 3 tokens" in self.refused(hf, "mlp.out")

    def test_the_stream(self):
        hf = build("llama")
        layer = hf.model.layers[1]
        plain = layer.forward
        layer.forward = MethodType(lambda self, hidden, *a, **k: 1.5 * plain(hidden, *a, **k), layer)
        assert self.refused(hf, "mlp.out") == "mid + mlp.out is not out in block 1"

    def test_heads(self):
        hf = build("llama")
        hf.model.layers[2].self_attn.o_proj.register_forward_hook(lambda m, i, o: o + 0.1)
        assert (
            self.refused(hf, "attn.z") == "the heads of blocks.2.attn.z do not sum to what its output projection gives"
        )

    def test_weights(self, monkeypatch):
        plain = torch.Tensor.softmax
        monkeypatch.setattr(torch.Tensor, "softmax", lambda x, dim, **k: 0.9 * plain(x, dim, **k))
        adapter = wrap(build("llama"))
        assert "attention" not in adapter.offers
        assert "logits differ" in adapter.refused["attention"] or "sum to 1" in adapter.refused["attention"]

    def test_weights_of_a_native_model(self):
        native = lively("llama")
        native.blocks[1].mixer.weights = torch.nn.Dropout(0.0)
        assert check_sites(native) == {}
        native.blocks[1].mixer.weights.forward = lambda x: 0.9 * x
        found = check_sites(native)
        assert found["attn.weights"] == "blocks.1.attn.weights does not sum to 1"
        assert found["attn.scores"] == "attention that shows its weights gives other logits"

    def test_a_router_behind_its_softmax(self):
        hf = build("mixtral")
        hf.model.layers[2].mlp.gate.register_forward_hook(lambda m, i, o: (o[0].softmax(-1), *o[1:]))
        adapter = wrap(hf)
        assert "blocks.0.mlp.router" not in adapter.sites()
        reason = "blocks.2.mlp.router is not the router's matrix applied to the norm before it"
        assert adapter.refused["site mlp.router"] == reason

    def test_the_head(self):
        hf = build("llama")
        hf.lm_head.register_forward_hook(lambda m, i, o: -o)
        assert self.refused(hf, "final.norm") == "the head applied to final.norm does not give the logits"
        soft = build("llama")
        soft.lm_head.register_forward_hook(lambda m, i, o: 3 * torch.tanh(o / 3))  # keeps the order
        assert "final.norm" in wrap(soft).sites()

    def test_what_enters_the_head(self):
        hf = build("llama")
        hf.lm_head.register_forward_pre_hook(lambda m, args: (args[0].flip(-1),))
        adapter = wrap(hf)
        assert "final.norm" not in adapter.sites()

    def test_a_site_that_no_pass_reaches(self):
        hf = build("llama")
        norm = hf.model.layers[0].input_layernorm
        hf.model.layers[0].input_layernorm.__class__ = type("Around", (type(norm),), {"__call__": type(norm).forward})
        assert self.refused(hf, "attn.norm") == "no pass reaches blocks.0.attn.norm"

    @pytest.mark.parametrize("family", FAMILIES)
    def test_half_precision_refuses_no_site(self, family):
        """Mamba adds to a stream in float32 what it reckons in half precision."""
        for dtype in (torch.bfloat16, torch.float16):
            assert not [word for word in wrapped(family, dtype).refused if word.startswith("site")]

    @pytest.mark.parametrize("family", FAMILIES)
    def test_adapters(self, family):
        assert not [word for word in model(family).refused if word.startswith("site")]
        assert check_sites(model(family)) == {}

    @pytest.mark.parametrize("name", ALL)
    def test_native_models(self, name):
        """Blocks of words and blocks of other widths say that they are; everything else holds."""
        found = check_sites(lively(name))
        if name in ("byte2word", "hierarchical", "word_pooled"):
            assert all("which is not of 1 rows of 6 tokens" in reason for reason in found.values())
            assert "in" in found
        elif name in ("flexibert", "suma"):  # blocks that are narrower, or wider, than the model
            width = {"flexibert": 32, "suma": 128}[name]
            assert all(f"is (1, 6, {width}), not (1, 6, 64)" in reason for reason in found.values())
            assert found
        else:
            assert found == {}

    def test_a_native_model_of_ones_own_that_is_wrong(self):
        native = lively("llama")
        native.blocks[1].channel.register_forward_hook(lambda m, i, o: o)
        assert check_sites(native) == {}
        plain = native.blocks[1].forward
        native.blocks[1].forward = lambda x, *a: (2 * plain(x, *a)[0], plain(x, *a)[1])
        assert check_sites(native) == dict.fromkeys(("mlp.out", "mid"), "mid + mlp.out is not out in block 1")


class TestMisuse:
    def test_a_site_that_a_model_cannot_have_says_why(self):
        reason = r"no site 'blocks\.0\.attn\.weights' \(its memory is of fixed size, no list of tokens\)"
        with pytest.raises(UnknownName, match=reason), model("mamba").capture("blocks.0.attn.weights"):
            pass
        for native, absent, near in (
            ("h3", "blocks.0.attn.weights", "blocks.1.attn.weights"),  # the one layer that attends
            ("mixture_of_experts", "blocks.0.mlp.act", "blocks.0.mlp"),
        ):
            with pytest.raises(UnknownName, match=rf"no site '{absent}'; did you mean '{near}"):
                lively(native).capture(absent).__enter__()

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
