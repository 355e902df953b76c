from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from trivium.architectures.h3 import H3, H3Mixer
from trivium.models.skeleton import Context, StackState
from trivium.models.slots import Attention
from trivium.nn.attention import attention_reference
from trivium.nn.norms import layer_norm_reference
from trivium.nn.state_space import diagonal_ssm, shift_kernel, shift_ssm
from trivium.training.optimizers import decayed

VOCAB = 41
VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "h3_headdim1.npz"
EXACT = {"atol": 1e-9, "rtol": 0}


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


def noisy(recipe):
    """A mixer whose every parameter, fixed starts and biases included, has been moved."""
    model = recipe.build(VOCAB, seed=1).double()
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            parameter.add_(rand(*parameter.shape, seed=index) / 4)
    return model.blocks[0].mixer


@pytest.fixture
def authors():
    if not VECTORS.is_file():
        pytest.skip(f"the authors' outputs are not beside this checkout ({VECTORS.parent.name}/{VECTORS.name})")
    return {name: torch.from_numpy(array) for name, array in np.load(VECTORS).items() if array.ndim}


NAMES = {
    "q_proj.weight": "q_proj.weight",
    "q_proj.bias": "q_proj.bias",
    "k_proj.weight": "k_proj.weight",
    "k_proj.bias": "k_proj.bias",
    "v_proj.weight": "v_proj.weight",
    "v_proj.bias": "v_proj.bias",
    "output_linear.weight": "o_proj.weight",
    "output_linear.bias": "o_proj.bias",
    "ssm_k_D": "shift.skip",
    "ssm_k_kernel.kernel.B": "shift.b",
    "ssm_k_kernel.kernel.C": "shift.c",
    "D": "diagonal.skip",
    "kernel.kernel.log_dt": "diagonal.log_step",
    "kernel.kernel.inv_A_real": "diagonal.log_decay",
    "kernel.kernel.A_imag": "diagonal.frequency",
    "kernel.kernel.B": "diagonal.b",
    "kernel.kernel.C": "diagonal.c",
}
"""The authors' parameters, and ours."""


def released(authors):
    """Our mixer with the authors' weights; theirs carry an axis of one more here and there."""
    mixer = H3Mixer(H3(width=6, heads=2, states=8)).double()
    parameters = dict(mixer.named_parameters())
    assert set(parameters) == set(NAMES.values())
    with torch.no_grad():
        for theirs, mine in NAMES.items():
            parameters[mine].copy_(authors[f"w__{theirs}"].view_as(parameters[mine]))
    return mixer


def close(got, expected, tolerance=1e-10):
    """The authors round the kernel of the shift to float32 wherever they convolve; what comes of it agrees to 1e-6."""
    torch.testing.assert_close(got.double(), expected.double(), atol=tolerance, rtol=tolerance)


def test_outputs_and_gradients_agree_with_the_authors_convolutions(authors):
    mixer, x = released(authors), authors["in_x"].double().requires_grad_()
    y = mixer.parallel(x, facts(13))
    close(y, authors["out_fft"], 1e-6)
    parameters = dict(mixer.named_parameters())
    wanted = [x, *(parameters[mine] for mine in NAMES.values())]
    got = torch.autograd.grad((y * authors["in_upstream_grad"]).sum(), wanted)
    for grad, name in zip(got, ["grad_x", *(f"grad_w__{theirs}" for theirs in NAMES)], strict=True):
        close(grad, authors[name].view_as(grad), 1e-6)


def test_steps_and_states_agree_with_the_authors_recurrence(authors):
    mixer, x = released(authors), authors["in_x"].double()
    empty = mixer.init_state(2, x.device, x.dtype)
    state, outs = empty, []
    for t in range(13):
        y, state = mixer.step(x[:, t : t + 1], state, facts(1))
        outs.append(y)
    close(torch.cat(outs, 1), authors["out_recurrent"])
    final = torch.complex(authors["out_state_diag_final_real"], authors["out_state_diag_final_imag"])
    for shift, diagonal in (state, mixer.forward_chunk(x, empty, facts(13))[1]):
        close(shift, authors["out_state_shift_final"])
        torch.testing.assert_close(diagonal[:, :, 0], final, atol=1e-10, rtol=0)
    y, state = mixer.forward_chunk(x[:, :7], empty, facts(7))
    outs = [y]
    for t in range(7, 13):
        y, state = mixer.step(x[:, t : t + 1], state, facts(1))
        outs.append(y)
    close(torch.cat(outs, 1), authors["out_prefill7_then_steps"], 1e-6)


def test_kernels_and_states_of_either_system_agree_with_the_authors_code(authors):
    mixer = released(authors)
    log_a, b, c = mixer.diagonal.system(torch.float64)
    torch.testing.assert_close(
        log_a.exp(), torch.complex(authors["out_diag_dA_real"], authors["out_diag_dA_imag"]), atol=1e-10, rtol=0
    )
    torch.testing.assert_close(
        b, torch.complex(authors["out_diag_dB_real"], authors["out_diag_dB_imag"]), atol=1e-10, rtol=0
    )
    impulse = F.pad(torch.ones(1, 6, 1, 1, dtype=torch.float64), (0, 12))
    close(diagonal_ssm(impulse, log_a, b, c)[0][:, :, 0], authors["out_kernel_diag"])
    taps = shift_kernel(mixer.shift.b, mixer.shift.c)
    close(F.pad(taps, (0, 5)), authors["out_kernel_shift"][0], 1e-6)

    state = torch.complex(authors["in_diag_state_real"], authors["in_diag_state_imag"])[:, :, None]
    silence = torch.zeros(2, 6, 1, 13, dtype=torch.float64)
    close(diagonal_ssm(silence, log_a, b, c, state=state)[0][:, :, 0], authors["out_diag_free_response"][:, 0])
    _, after = diagonal_ssm(authors["in_forward_state_u"].double()[:, :, None], log_a, b, c, state=state, chunk=5)
    expected = torch.complex(authors["out_forward_state_diag_real"], authors["out_forward_state_diag_imag"])
    torch.testing.assert_close(after[:, :, 0], expected, atol=1e-10, rtol=0)

    u, state = authors["in_forward_state_shift_u"].double(), authors["in_shift_state"].double()
    for time, name in ((13, "out_forward_state_shift"), (3, "out_forward_state_shift_first3")):
        _, after = shift_ssm(u[..., :time], mixer.shift.b, mixer.shift.c, state=state)
        close(after, authors[name])


@pytest.mark.parametrize("rule", ["bilinear", "zoh"])
@pytest.mark.parametrize("p", [1, 2, 4])
@torch.no_grad()
def test_a_layer_by_hand(p, rule):
    """The recurrences written out for every head and channel."""
    mixer = noisy(H3(width=8, heads=2, states=6, head_width=p, rule=rule))
    x, heads, modes = rand(1, 11, 8), 8 // p, 3
    q, k, v = (projection(x)[0] for projection in (mixer.q_proj, mixer.k_proj, mixer.v_proj))
    shift, diagonal = mixer.shift, mixer.diagonal
    o = torch.zeros(11, 8, dtype=torch.float64)
    for h in range(heads):
        step = float(diagonal.log_step[h].exp())
        a = [complex(-diagonal.log_decay[h, n].exp(), diagonal.frequency[h, n]) for n in range(modes)]
        b, c = ([complex(*pair[h, n]) for n in range(modes)] for pair in (diagonal.b, diagonal.c))
        if rule == "bilinear":
            forward = [(1 + step * z / 2) / (1 - step * z / 2) for z in a]
            inward = [step * w / (1 - step * z / 2) for z, w in zip(a, b, strict=True)]
        else:
            forward = [np.exp(step * z) for z in a]
            inward = [(np.exp(step * z) - 1) / z * w for z, w in zip(a, b, strict=True)]
        for i in range(p):
            column = h * p + i
            past = torch.zeros(6, dtype=torch.float64)
            kbar = []
            for t in range(11):
                past = torch.cat((past.new_zeros(1), past[:-1])) + shift.b[column] * k[t, column]
                kbar.append(shift.c[column] @ past + shift.skip[column] * k[t, column])
            for j in range(p):
                memory = [0j] * modes
                for t in range(11):
                    z = float(kbar[t] * v[t, h * p + j])
                    memory = [f * m + w * z for f, m, w in zip(forward, memory, inward, strict=True)]
                    s = 2 * sum(w * m for w, m in zip(c, memory, strict=True)).real + float(diagonal.skip[h]) * z
                    o[t, h * p + j] += q[t, column].item() * s
    expected = mixer.o_proj(o)[None]
    torch.testing.assert_close(mixer.parallel(x, facts(11)), expected, atol=1e-10, rtol=1e-10)


def test_one_head_that_forgets_nothing_is_linear_attention(monkeypatch):
    mixer = noisy(H3(width=8, heads=2, states=4, head_width=8))
    with torch.no_grad():
        mixer.shift.b.copy_(mixer.shift.initial("b"))
        mixer.shift.c.copy_(mixer.shift.initial("b"))  # the tap of the token itself
        mixer.shift.skip.zero_()
        mixer.diagonal.skip.zero_()
    one = torch.tensor([[1.0, 0.0]], dtype=torch.complex128)
    monkeypatch.setattr(mixer.diagonal, "system", lambda dtype: (0 * one, one / 2, one))  # K_j = 2 Re 1/2 = 1
    x = rand(2, 11, 8)
    q, k, v = (projection(x) for projection in (mixer.q_proj, mixer.k_proj, mixer.v_proj))
    expected = mixer.o_proj((q @ k.mT).tril() @ v)
    torch.testing.assert_close(mixer.parallel(x, facts(11)), expected, **EXACT)


@pytest.mark.parametrize("recipe", [H3(attention_layers=()), H3(depth=1, attention_layers=(), head_width=4, chunk=5)])
def test_without_attention_every_form_gives_the_same(recipe):
    model = lively(recipe)
    mask = torch.ones(2, 19, dtype=torch.bool)
    mask[0, 5:9] = mask[1, -4:] = False
    for real in (None, mask):
        expected = model(ids(), mask=real).logits
        for size in (1, 5, 8, 19):
            logits, state = [], None
            for start in range(0, 19, size):
                part = slice(start, start + size)
                out = model(ids()[:, part], mask=None if real is None else real[:, part], state=state, keep_state=True)
                logits.append(out.logits)
                state = out.state
            got = torch.cat(logits, 1)
            torch.testing.assert_close(
                got if real is None else got[real], expected if real is None else expected[real], **EXACT
            )
        assert isinstance(state, StackState)
        assert state.keys is None
        assert state.bytes() == 2 * model.state_bytes(19) == 2 * model.state_bytes(7)


def test_a_document_is_convolved_by_itself_however_loud_its_neighbour_is():
    mixer = noisy(H3(width=8, heads=2))
    segments = torch.tensor([[0] * 9 + [1] * 5 + [2] * 5])
    x = rand(1, 19, 8)
    alone = [mixer.parallel(x[:, part], facts(part.stop - part.start)) for part in (slice(9, 14), slice(14, 19))]
    loud = x.clone()
    loud[:, :9] = 1e15  # what cancels in one sum of all would leave errors of the size of 1 here
    packed = mixer.parallel(loud, facts(19, segments=segments))
    torch.testing.assert_close(packed[:, 9:], torch.cat(alone, 1), **EXACT)


def test_after_packed_documents_the_state_is_that_of_the_last():
    mixer = noisy(H3(width=8, heads=2, states=6))
    segments = torch.tensor([[0] * 9 + [1] * 10, [0] * 19])
    real = torch.ones(2, 19, dtype=torch.bool)
    real[0, 12] = real[0, -1] = False
    x = rand(2, 19, 8)
    empty = mixer.init_state(2, x.device, x.dtype)
    _, state = mixer.forward_chunk(x, empty, facts(19, segments=segments, real=real))
    for row, keep in enumerate(((segments[0] == 1) & real[0], real[1])):
        kept = x[row : row + 1, keep]
        _, expected = mixer.forward_chunk(kept, tuple(y[:1] for y in empty), facts(kept.shape[1]))
        for got, wanted in zip(state, expected, strict=True):
            torch.testing.assert_close(got[row], wanted[0], **EXACT)


def test_chunks_change_the_cost_and_not_the_result():
    mask = torch.ones(2, 19, dtype=torch.bool)
    mask[0, :6] = False
    expected = lively(H3())(ids(), mask=mask).logits[mask]
    for chunk in (1, 5, 19):
        torch.testing.assert_close(lively(H3(chunk=chunk))(ids(), mask=mask).logits[mask], expected, **EXACT)


def test_attention_layers_are_attention_without_positions():
    model = lively(H3(attention_layers=(0, 1), heads=2))
    assert all(isinstance(block.mixer, Attention) for block in model.blocks)
    assert "tree" in model.offers
    hidden = model.embed(ids())
    for block in model.blocks:
        h = layer_norm_reference(hidden)
        q, k, v = (
            projection(h).unflatten(-1, (2, -1)).transpose(1, 2)
            for projection in (block.mixer.q_proj, block.mixer.k_proj, block.mixer.v_proj)
        )
        hidden = hidden + block.mixer.o_proj(attention_reference(q, k, v).transpose(1, 2).flatten(2))
        inner = F.gelu(block.channel.up_proj(layer_norm_reference(hidden)))
        hidden = hidden + block.channel.down_proj(inner)
    expected = layer_norm_reference(hidden) @ model.embedding.weight.T
    torch.testing.assert_close(model(ids()).logits, expected, **EXACT)
    sorts = [type(block.mixer) for block in H3(depth=4, attention_layers=(1, 2)).build(VOCAB).blocks]
    assert sorts == [H3Mixer, Attention, Attention, H3Mixer]
    assert H3(attention_layers=[0]).attention_layers == (0,)


def test_every_setting_changes_the_logits():
    settings = [
        {},
        {"attention_layers": ()},
        {"attention_layers": (0,)},
        {"head_width": 4},
        {"states": 8},
        {"rule": "zoh"},
        {"step_range": (1e-2, 1.0)},
        {"heads": 2},
        {"hidden": 96},
        {"eps": 1e-2},
    ]
    logits = [lively(H3(**change))(ids()).logits for change in settings]
    for index, one in enumerate(logits):
        assert all((one - other).abs().max() > 1e-7 for other in logits[:index])


def test_systems_start_as_the_paper_starts_them():
    mixer = H3(width=256, states=16).build(VOCAB).blocks[0].mixer
    shift, diagonal = mixer.shift, mixer.diagonal
    assert torch.equal(shift.b, torch.eye(1, 16).expand(256, -1))
    assert shift.c.abs().max() < 16**-0.5
    assert shift.c.std().item() == pytest.approx((16 * 3) ** -0.5, rel=0.05)
    torch.testing.assert_close(-diagonal.log_decay.exp(), torch.full((256, 8), -0.5))
    torch.testing.assert_close(diagonal.frequency, (torch.pi * torch.arange(8)).expand(256, -1))
    assert torch.equal(diagonal.b, torch.tensor([1.0, 0.0]).expand(256, 8, 2))
    assert diagonal.c.square().sum(-1).mean().item() == pytest.approx(1.0, rel=0.05)
    steps = diagonal.log_step.detach().exp()
    assert 1e-3 <= float(steps.min()) < 2e-3
    assert 5e-2 < float(steps.max()) <= 1e-1
    for skip in (shift.skip, diagonal.skip):
        assert skip.std().item() == pytest.approx(1.0, rel=0.15)


def test_state_space_parameters_take_no_weight_decay():
    mixer = H3().build(VOCAB).blocks[0].mixer
    matrices, _ = decayed(mixer)
    assert {id(x) for x in matrices} == {id(getattr(mixer, f"{name}_proj").weight) for name in "qkvo"}


def test_the_parameter_count_is_that_of_the_equations():
    width, hidden, states, p = 64, 256, 64, 4
    heads = width // p
    systems = 2 * width * states + width + heads * (2 + states // 2 * 6)
    h3 = 4 * width * (width + 1) + systems
    rest = 2 * width * hidden + hidden + width + 4 * width
    model = H3(head_width=p).build(VOCAB)
    expected = VOCAB * width + h3 + 4 * width**2 + 2 * rest + 2 * width
    assert sum(x.numel() for x in model.parameters()) == expected
    free = H3(head_width=p, tied=False).build(VOCAB)
    assert sum(x.numel() for x in free.parameters()) == expected + VOCAB * width


@pytest.mark.parametrize("chunk", [16, 64])
@pytest.mark.parametrize("p", [1, 4])
def test_declared_flops_hold_where_the_state_is_passed_on(p, chunk):
    from trivium.core.meter import count_flops

    model = H3(attention_layers=(), head_width=p, chunk=chunk).build(VOCAB)
    with torch.no_grad():
        assert count_flops(lambda: model(ids(1, 50))) == pytest.approx(model.flops(50), rel=0.01)


def test_half_precision_and_autocast_go_through_every_form():
    mask = torch.ones(2, 19, dtype=torch.bool)
    mask[0, :6] = False
    model = H3(chunk=4).build(VOCAB)
    for real in (None, mask):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(ids(), mask=real, keep_state=True)
            out.logits.float().square().sum().backward()
            again = model(ids(2, 1), state=out.state).logits
        assert out.logits.isfinite().all()
        assert again.isfinite().all()
        assert all(p.grad.isfinite().all() for p in model.parameters())
    half = H3().build(VOCAB).bfloat16()
    state = half(ids(), mask=mask, keep_state=True).state
    assert state.memories[0][1].dtype == torch.complex64
    assert half(ids(2, 1), state=state).logits.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"heads": 5}, "multiple of heads"),
        ({"head_width": 3}, "multiple of head_width"),
        ({"states": 7}, "even number"),
        ({"attention_layers": (2,)}, "must lie in 0 to 1"),
        ({"rule": "euler"}, "rule must be one of bilinear, zoh"),
        ({"step_range": (0.1, 0.01)}, "step_range"),
        ({"step_range": (0.0, 0.01)}, "step_range"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"eps": 0.0}, "eps must be positive"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        H3(**wrong)
