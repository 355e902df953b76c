from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from trivium.architectures.transnormer import GatedLinearAttention, LearnedRotary, TransNormer, alibi_slopes
from trivium.models.skeleton import Context
from trivium.nn.norms import simple_rms_norm

VOCAB = 41
VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "transnormer_layer_plain.npz"


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ids(batch=2, time=19):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(0))


def lively(recipe):
    model = recipe.build(VOCAB, seed=1).double().eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if "theta" not in path:
                parameter.mul_(6)
    return model


@pytest.fixture
def authors():
    if not VECTORS.is_file():
        pytest.skip(f"the authors' outputs are not beside this checkout ({VECTORS.parent.name}/{VECTORS.name})")
    return {name: torch.from_numpy(array) for name, array in np.load(VECTORS).items() if array.ndim}


def released_layer(authors):
    """The second of four layers, without LRPE, with the authors' weights."""
    block = TransNormer(width=16, depth=4, heads=4, hidden=24, lrpe_layers=(), chunk=8).build(VOCAB).double().blocks[1]
    q, k, v, u = authors["w__token_mixer.qkvu_proj.weight"].chunk(4)
    with torch.no_grad():
        for name, weight in {"q": q, "k": k, "v": v, "u": u, "o": authors["w__token_mixer.out_proj.weight"]}.items():
            getattr(block.mixer, f"{name}_proj").weight.copy_(weight)
        for name, number in {"gate": 1, "up": 2, "down": 3}.items():
            getattr(block.channel, f"{name}_proj").weight.copy_(authors[f"w__channel_mixer.l{number}.weight"])
    return block


def facts(time, real=None):
    return Context(None, torch.arange(time)[None], time, real=real)


def close(got, expected):
    """The authors compute norms, and the chunked and stepwise forms altogether, in float32."""
    torch.testing.assert_close(got.double(), expected.double(), atol=1e-5, rtol=1e-5)


def test_the_layer_agrees_with_the_authors_code(authors):
    block, x = released_layer(authors), authors["in_x"].clone().requires_grad_()
    assert block.mixer.rates == pytest.approx(authors["in_slope_rate"].flatten().tolist(), rel=1e-5)
    close(block(x, facts(21))[0], authors["out_layer_parallel"])
    y = block.mixer.parallel(x, facts(21))
    close(y, authors["out_mixer_parallel"])
    wanted = [x, block.mixer.o_proj.weight, *(getattr(block.mixer, f"{name}_proj").weight for name in "qkvu")]
    grads = torch.autograd.grad((y * authors["in_upstream_grad"]).sum(), wanted)
    close(grads[0], authors["grad_x"])
    close(grads[1], authors["grad_w__out_proj.weight"])
    close(torch.cat(grads[2:]), authors["grad_w__qkvu_proj.weight"])
    norm_x = authors["in_norm_x"]
    close(simple_rms_norm(norm_x), authors["out_srmsnorm"])
    close(block.channel(norm_x, facts(3)), authors["out_channel_mixer"])


def test_prefill_steps_and_states_agree_with_the_authors_code(authors):
    mixer, x = released_layer(authors).mixer, authors["in_x"]
    memory = mixer.init_state(2, x.device, x.dtype)
    whole, state = mixer.forward_chunk(x, memory, facts(21))
    close(whole, authors["out_mixer_chunked"])
    close(state[0], authors["out_state_after_full"])
    first, state = mixer.forward_chunk(x[:, :9], memory, facts(9))
    close(state[0], authors["out_state_after_9"])
    outs = [first]
    for t in range(9, 21):
        out, state = mixer.step(x[:, t : t + 1], state, facts(1))
        outs.append(out)
    close(torch.cat(outs, 1), authors["out_mixer_prefill9_then_steps"])


def test_left_padding_agrees_with_the_authors_code(authors):
    mixer, real = released_layer(authors).mixer, authors["in_padding_mask"].bool()
    got = mixer.parallel(authors["in_x"], facts(21, real))
    close(got[real], authors["out_mixer_left_padded"][real])


@pytest.mark.parametrize("heads", [4, 6, 8, 12])
def test_slopes_agree_with_the_authors_code(authors, heads):
    assert alibi_slopes(heads) == pytest.approx(authors[f"out_slopes_{heads}"].tolist())


def test_lrpe_gives_cosines_of_the_distance():
    rotary = LearnedRotary(2, 4).double()
    with torch.no_grad():
        rotary.theta.copy_(rand(2, 4))
    q, k = rand(1, 2, 6, 4, seed=1), rand(1, 2, 6, 4, seed=2)
    got = rotary(q, torch.arange(6)[None]) @ rotary(k, torch.arange(6)[None]).mT
    distance = torch.arange(6)[:, None] - torch.arange(6)
    expected = torch.einsum("bhtj,bhsj,hjts->bhts", q, k, (rotary.theta[..., None, None] * distance).cos())
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=0)


def test_lrpe_starts_as_the_authors_start_it():
    theta = TransNormer(width=8, heads=2).build(VOCAB).blocks[0].mixer.lrpe.theta
    torch.testing.assert_close(theta.flatten(), 10_000.0 ** (-2 * torch.arange(8) / 8))
    assert theta._no_weight_decay
    assert TransNormer().build(VOCAB).blocks[1].mixer.lrpe is None


def test_switched_off_it_is_plain_causal_linear_attention():
    recipe = TransNormer(decay="none", lrpe_layers=(), gate=False)
    mixer = GatedLinearAttention(recipe, 0).double()
    with torch.no_grad():
        for seed, parameter in enumerate(mixer.parameters()):
            parameter.copy_(rand(*parameter.shape, seed=seed) / 8)
    x = rand(2, 19, 64, seed=9)
    q, k, v = (p(x).unflatten(-1, (4, -1)).transpose(1, 2) for p in (mixer.q_proj, mixer.k_proj, mixer.v_proj))
    o = (F.silu(q) @ F.silu(k).mT).tril() @ v
    expected = mixer.o_proj(simple_rms_norm(o.transpose(1, 2).flatten(2)))
    torch.testing.assert_close(mixer.parallel(x, facts(19)), expected, atol=1e-10, rtol=0)


def test_a_gate_of_ones_is_no_gate():
    gated, free = (
        GatedLinearAttention(TransNormer(), 0).double(),
        GatedLinearAttention(TransNormer(gate=False), 0).double(),
    )
    with torch.no_grad():
        for seed, parameter in enumerate(free.parameters()):
            parameter.copy_(rand(*parameter.shape, seed=seed) / 8)
    gated.load_state_dict(free.state_dict(), strict=False)
    gated.u_proj.register_forward_hook(lambda module, given, gate: torch.ones_like(gate))
    x = rand(2, 19, 64, seed=9)
    torch.testing.assert_close(gated.parallel(x, facts(19)), free.parallel(x, facts(19)), atol=1e-12, rtol=0)


def test_chunks_change_the_cost_and_not_the_result():
    expected = lively(TransNormer(chunk=64))(ids()).logits
    for chunk in (1, 5, 19):
        torch.testing.assert_close(lively(TransNormer(chunk=chunk))(ids()).logits, expected, atol=1e-10, rtol=0)


def test_heads_can_change_places_with_their_parameters_and_rates():
    mixer = GatedLinearAttention(TransNormer(), 0).double()
    other = GatedLinearAttention(TransNormer(), 0).double()
    order = torch.tensor([2, 0, 3, 1])
    swap = lambda w, axis: w.unflatten(axis, (4, 16)).index_select(axis, order).flatten(axis, axis + 1)  # noqa: E731
    with torch.no_grad():
        for seed, (a, b) in enumerate(zip(mixer.parameters(), other.parameters(), strict=True)):
            a.copy_(rand(*a.shape, seed=seed) / 8)
            b.copy_(a)
        for name in "qkvu":
            weight = getattr(other, f"{name}_proj").weight
            weight.copy_(swap(weight, 0))
        other.o_proj.weight.copy_(swap(other.o_proj.weight, 1))
        other.lrpe.theta.copy_(other.lrpe.theta[order])
    other.rates = tuple(mixer.rates[head] for head in order)
    x = rand(2, 19, 64, seed=9)
    torch.testing.assert_close(other.parallel(x, facts(19)), mixer.parallel(x, facts(19)), atol=1e-10, rtol=0)


def test_the_channel_mixer_is_homogeneous_of_degree_two():
    channel = lively(TransNormer()).blocks[0].channel
    x = rand(2, 3, 64)
    torch.testing.assert_close(channel(3 * x, facts(3)), 9 * channel(x, facts(3)))


def test_decay_schedules():
    alibi = TransNormer(depth=3)
    assert alibi.rates(0) == pytest.approx([2**-2 * 1.00001, 2**-4 * 1.00001, 2**-6 * 1.00001, 2**-8 * 1.00001])
    assert max(alibi.rates(2)) < 1e-5  # the last layer forgets almost nothing
    assert TransNormer(depth=1).rates(0) == pytest.approx([2**-2, 2**-4, 2**-6, 2**-8])  # no division by zero
    assert TransNormer(decay="linear").rates(1) == pytest.approx([1.0, 2.0, 3.0, 4.0])
    assert TransNormer(decay="none").rates(0) == (0.0,) * 4
    logits = [lively(TransNormer(decay=decay))(ids()).logits for decay in ("alibi", "linear", "none")]
    assert (logits[0] - logits[1]).abs().max() > 1e-3
    assert (logits[0] - logits[2]).abs().max() > 1e-3


def test_embeddings_are_scaled_where_asked():
    on, off = (TransNormer(scale_embedding=flag).build(VOCAB) for flag in (True, False))
    torch.testing.assert_close(on.embed(ids()), 8 * off.embed(ids()))


def test_the_head_is_tied_where_asked():
    assert TransNormer(tied=True).build(VOCAB).head.weight.data_ptr()
    model = TransNormer(tied=True).build(VOCAB)
    assert model.head.weight is model.embedding.weight
    free = TransNormer().build(VOCAB)
    assert free.head.weight is not free.embedding.weight


def test_the_parameter_count_is_that_of_the_equations():
    width, hidden, depth = 64, 192, 2
    model = TransNormer().build(VOCAB)
    assert (
        sum(p.numel() for p in model.parameters())
        == 2 * VOCAB * width + depth * (5 * width**2 + 3 * width * hidden) + width
    )


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"heads": 5}, "multiple of the 5 heads"),
        ({"decay": "alibi2"}, "decay must be"),
        ({"lrpe_layers": (2,)}, "lrpe_layers"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"hidden": -1}, "hidden must be at least 1"),
        ({"eps": 0.0}, "eps must be positive"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        TransNormer(**wrong)
