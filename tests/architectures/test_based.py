from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from trivium.architectures.based import Based, GatedConvolution, TaylorAttention, WindowAttention
from trivium.architectures.llama import Llama
from trivium.models.skeleton import Context
from trivium.nn.rotary import rotate_reference
from trivium.nn.taylor_attention import taylor_attention, taylor_features, taylor_features_reference

VOCAB = 41
VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "based_linear_attention.npz"
EXACT = {"atol": 1e-10, "rtol": 0}


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ids(batch=2, time=19):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(0))


def lively(recipe):
    model = recipe.build(VOCAB, seed=1).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return model


def facts(time, **known):
    return Context(None, torch.arange(time)[None], time, **known)


@pytest.fixture
def authors():
    if not VECTORS.is_file():
        pytest.skip(f"the authors' outputs are not beside this checkout ({VECTORS.parent.name}/{VECTORS.name})")
    return {name: torch.from_numpy(array) for name, array in np.load(VECTORS).items() if array.ndim}


def released_mixer(authors):
    mixer = TaylorAttention(Based(width=16, heads=2, feature_dim=4, chunk=4)).double()
    with torch.no_grad():
        for mine, theirs in {"q_proj": "proj_q", "k_proj": "proj_k", "v_proj": "proj_v", "o_proj": "out_proj"}.items():
            getattr(mixer, mine).weight.copy_(authors[f"w__{theirs}.weight"])
    return mixer


def once(state, width):
    """The authors' sums of whole outer products (..., features) as sums of each product once."""
    outer = state[..., 1 + width :].unflatten(-1, (width, width))
    first = torch.tensor([*range(width)] * (width // 2) + [*range(width // 2)])
    apart = torch.arange(width // 2 + 1).repeat_interleave(width)[: len(first)]
    scale = state.new_full(first.shape, 2**0.5).masked_fill(apart == 0, 1.0)
    return torch.cat((state[..., : 1 + width], outer[..., first, (first + apart) % width] * scale), -1)


def test_the_linear_attention_agrees_with_the_authors_code(authors):
    mixer, x = released_mixer(authors), authors["in_x"].clone().requires_grad_()
    y = mixer.parallel(x, facts(11))
    torch.testing.assert_close(y, authors["out_quadratic"], **EXACT)
    wanted = [x, *(getattr(mixer, f"{name}_proj").weight for name in "qkvo")]
    grads = torch.autograd.grad((y * authors["in_upstream_grad"]).sum(), wanted)
    expected = ["grad_x", *(f"grad_w__{name}.weight" for name in ("proj_q", "proj_k", "proj_v", "out_proj"))]
    for got, name in zip(grads, expected, strict=True):
        torch.testing.assert_close(got, authors[name], **EXACT)


def test_prefill_steps_and_states_agree_with_the_authors_code(authors):
    mixer, x = released_mixer(authors), authors["in_x"]

    def same(state, when):
        values = once(authors[f"out_state_kv_{when}"][:, :, 0], 4).mT  # theirs is (batch, heads, 1, value, feature)
        keys = once(authors[f"out_state_k_{when}"][:, :, 0], 4).mT
        torch.testing.assert_close(state[0], torch.cat((values, keys), -1), **EXACT)

    y, state = mixer.forward_chunk(x[:, :4], mixer.init_state(2, x.device, x.dtype), facts(4))
    same(state, "after_prefill4")
    outs = [y]
    for t in range(4, 11):
        y, state = mixer.step(x[:, t : t + 1], state, facts(1))
        outs.append(y)
    torch.testing.assert_close(torch.cat(outs, 1), authors["out_prefill4_then_steps"], **EXACT)
    same(state, "final")


def test_the_feature_map_agrees_with_the_authors_code(authors):
    x, theirs = authors["in_feature_x"], authors["out_feature_map"]
    torch.testing.assert_close(taylor_features_reference(x), theirs, **EXACT)
    torch.testing.assert_close(taylor_features(x), once(theirs, 4), **EXACT)


@pytest.mark.parametrize("theirs", ["parallel", "chunk4"])
def test_another_back_end_agrees_with_its_own_epsilon(authors, theirs):
    got, _ = taylor_attention(authors["in_fla_q"], authors["in_fla_k"], authors["in_fla_v"], chunk=4, eps=1e-6)
    torch.testing.assert_close(got, authors[f"out_fla_{theirs}"], **EXACT)
    default, _ = taylor_attention(authors["in_fla_q"], authors["in_fla_k"], authors["in_fla_v"])
    assert (default - got).abs().max() > 1e-9


@pytest.mark.parametrize("rest", [{}, {"tied": False, "base": 500.0, "eps": 1e-3}])
@pytest.mark.parametrize("window", [19, 1000])
def test_a_window_of_the_whole_sequence_in_every_layer_is_the_baseline(rest, window):
    model = lively(Based(depth=2, hidden=24, pattern=("window",), window=window, **rest))
    base = lively(Llama(hidden=24, **rest))
    assert [path for path, _ in model.named_parameters()] == [path for path, _ in base.named_parameters()]
    torch.testing.assert_close(model(ids()).logits, base(ids()).logits, **EXACT)
    mask = torch.ones(2, 19, dtype=torch.bool)
    mask[0, :6] = False
    got, expected = model(ids(), mask=mask).logits, base(ids(), mask=mask).logits
    torch.testing.assert_close(got[mask], expected[mask], **EXACT)
    shorter = lively(Based(depth=2, hidden=24, pattern=("window",), window=18, **rest))(ids()).logits
    torch.testing.assert_close(shorter[:, :18], base(ids()).logits[:, :18], **EXACT)
    assert (shorter - base(ids()).logits)[:, 18:].abs().max() > 1e-3


def mixer_of(kind, **settings):
    """One layer of this kind, what it read and what it wrote."""
    model = lively(Based(width=8, heads=2, depth=1, pattern=(kind,), **settings))
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if "bias" in path:
                parameter.copy_(rand(*parameter.shape, seed=3))
    with model.capture("blocks.0.attn.norm", "blocks.0.attn.out") as seen:
        model(embeds=rand(1, 12, 8, seed=4))
    return model.blocks[0].mixer, seen["blocks.0.attn.norm"][0], seen["blocks.0.attn.out"][0]


def split(x):
    """(time, 2 heads * width) -> heads of (time, width)."""
    return x.unflatten(-1, (2, -1)).unbind(-2)


def test_a_linear_layer_by_hand():
    mixer, h, got = mixer_of("linear", feature_dim=3, chunk=5)
    heads = []
    for q, k, v in zip(*(split(p(h)) for p in (mixer.q_proj, mixer.k_proj, mixer.v_proj)), strict=True):
        z = q @ k.T / 3**0.5
        w = (1 + z + z**2 / 2).tril()
        heads.append(w @ v / w.sum(1, keepdim=True))
    torch.testing.assert_close(got, mixer.o_proj(torch.cat(heads, 1)), atol=1e-9, rtol=1e-9)


def test_a_window_layer_by_hand():
    mixer, h, got = mixer_of("window", window=4, base=50.0)
    heads = []
    for q, k, v in zip(*(split(p(h)) for p in (mixer.q_proj, mixer.k_proj, mixer.v_proj)), strict=True):
        q, k = (rotate_reference(x[None, None], torch.arange(12)[None], 50.0, "interleaved")[0, 0] for x in (q, k))
        rows = []
        for t in range(12):
            at = slice(max(0, t - 3), t + 1)
            rows.append((k[at] @ q[t] / 2).softmax(0) @ v[at])
        heads.append(torch.stack(rows))
    torch.testing.assert_close(got, mixer.o_proj(torch.cat(heads, 1)), atol=1e-9, rtol=1e-9)


def test_a_convolution_layer_by_hand():
    mixer, h, got = mixer_of("conv")
    a, b = mixer.in_proj(h)[:, :16], mixer.in_proj(h)[:, 16:]
    rows = []
    for t in range(12):
        y = mixer.filter_bias + sum(mixer.filter[:, j] * a[t - j] for j in range(3) if t >= j)
        rows.append(F.silu(y) * b[t])
    torch.testing.assert_close(got, mixer.out_proj(torch.stack(rows)), atol=1e-9, rtol=1e-9)


def test_the_pattern_names_the_layers_and_begins_anew():
    sorts = {"linear": TaylorAttention, "window": WindowAttention, "conv": GatedConvolution}

    def layers(recipe):
        return [type(block.mixer) for block in recipe.build(VOCAB).blocks]

    assert layers(Based(depth=8)) == [
        sorts[name] for name in ("conv", "linear", "window", "conv", "conv", "conv", "linear", "window")
    ]
    assert layers(Based(depth=3, pattern=("linear", "window"))) == [sorts[x] for x in ("linear", "window", "linear")]
    released = Based(depth=27, pattern=("conv", "linear", "window", "conv", "conv") * 5 + ("conv", "conv"))
    made = layers(released)
    assert [index for index, sort in enumerate(made) if sort is TaylorAttention] == [1, 6, 11, 16, 21]
    assert [index for index, sort in enumerate(made) if sort is WindowAttention] == [2, 7, 12, 17, 22]
    assert Based(pattern=["conv"]).pattern == ("conv",)


@pytest.mark.parametrize(
    "pattern", [("linear",), ("window",), ("conv",), ("linear", "window"), ("window", "conv", "linear")]
)
def test_chunks_and_steps_equal_the_whole_in_any_pattern(pattern):
    model = lively(Based(pattern=pattern, feature_dim=5, window=4, chunk=6))
    mask = torch.ones(2, 19, dtype=torch.bool)
    mask[0, 5:9] = mask[1, -4:] = False
    expected = model(ids(), mask=mask).logits[mask]
    for size in (1, 5, 19):
        logits, state = [], None
        for start in range(0, 19, size):
            part = slice(start, start + size)
            out = model(ids()[:, part], mask=mask[:, part], state=state, keep_state=True)
            logits.append(out.logits)
            state = out.state
        torch.testing.assert_close(torch.cat(logits, 1)[mask], expected, atol=1e-9, rtol=0)


def test_the_state_stops_growing_and_is_what_the_settings_say():
    dial = Based(depth=3, pattern=("linear", "window", "conv"), feature_dim=8, window=16)
    model = dial.build(VOCAB)
    sums, keys, inputs = 4 * 45 * 17, 2 * 15 * 64, 2 * 128
    assert model.state_bytes(500) == 4 * (sums + keys + inputs) + 8
    held = [model(ids(1, time), keep_state=True).state.bytes() for time in (4, 15, 16, 60)]
    assert held == [model.state_bytes(time) for time in (4, 15, 16, 60)]
    assert held[0] < held[1] == held[2] == held[3] == model.state_bytes(500)

    def bytes_of(**change):
        return Based(pattern=("linear", "window"), depth=2, **change).build(VOCAB).state_bytes(500)

    assert bytes_of(feature_dim=4) < bytes_of(feature_dim=8) < bytes_of(feature_dim=16)
    assert bytes_of(window=8) < bytes_of(window=32)


def test_cost_per_token_does_not_grow():
    model = Based(window=16, chunk=16).build(VOCAB)
    assert model.flops(4096) / 4096 == pytest.approx(model.flops(512) / 512, rel=0.001)


def test_every_setting_changes_the_logits():
    settings = [
        {},
        {"pattern": ("linear", "window")},
        {"feature_dim": 8},
        {"window": 5},
        {"base": 50.0},
        {"eps": 1e-2},
        {"hidden": 64},
        {"heads": 2},
    ]
    logits = [lively(Based(**change))(ids()).logits for change in settings]
    for index, one in enumerate(logits):
        assert all((one - other).abs().max() > 1e-6 for other in logits[:index])


def test_chunks_change_the_cost_and_not_the_result():
    expected = lively(Based(chunk=64))(ids()).logits
    for chunk in (1, 5, 19):
        torch.testing.assert_close(lively(Based(chunk=chunk))(ids()).logits, expected, **EXACT)


def test_positions_reach_the_windows_only():
    positions = torch.arange(19).expand(2, 19)
    for pattern, moved in ((("linear", "conv"), False), (("window",), True)):
        model = lively(Based(depth=2, pattern=pattern))
        stretched = model(ids(), positions=3 * positions).logits
        assert ((stretched - model(ids()).logits).abs().max() > 1e-3) == moved
        shifted = model(ids(), positions=positions + 500).logits
        torch.testing.assert_close(shifted, model(ids()).logits, atol=1e-9, rtol=0)


def test_filters_start_as_torch_starts_a_convolution():
    filters = Based(width=256).build(VOCAB).blocks[0].mixer.filter
    bound = 3**-0.5
    assert filters.abs().max() < bound
    assert filters.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_the_parameter_count_is_that_of_the_equations():
    width, hidden, keys = 64, 128, 4 * 16
    conv = 4 * width * (width + 1) + 2 * width * 4 + (2 * width + 1) * width
    linear = 2 * width * keys + 2 * width**2
    rest = 3 * width * hidden + 2 * width
    model = Based().build(VOCAB)
    expected = VOCAB * width + conv + linear + 4 * width**2 + 3 * rest + width
    assert sum(p.numel() for p in model.parameters()) == expected
    free = Based(tied=False).build(VOCAB)
    assert sum(p.numel() for p in free.parameters()) == expected + VOCAB * width


def test_half_precision_and_autocast_go_through_every_form():
    mask = torch.ones(2, 19, dtype=torch.bool)
    mask[0, :6] = False
    model = Based(window=5, chunk=4).build(VOCAB)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(ids(), mask=mask, keep_state=True)
        out.logits.float().square().sum().backward()
        again = model(ids(2, 1), state=out.state).logits
    assert out.logits.isfinite().all()
    assert again.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    half = Based(window=5).build(VOCAB).bfloat16()
    state = half(ids(), mask=mask, keep_state=True).state
    assert half(ids(2, 1), state=state).logits.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"heads": 5}, "even number"),
        ({"pattern": ()}, "at least one layer"),
        ({"pattern": ("linear", "attention")}, "each of linear, window, conv"),
        ({"feature_dim": 0}, "feature_dim must be at least 1"),
        ({"window": 0}, "window must be at least 1"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"base": 0.0}, "must be positive"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        Based(**wrong)
