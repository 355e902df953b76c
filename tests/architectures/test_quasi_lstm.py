from pathlib import Path

import numpy as np
import pytest
import torch

from claims.architectures.quasi_lstm import steps_within
from trivium.architectures.quasi_lstm import SHAPES, LSTMMixer, QuasiLSTM
from trivium.core.meter import count_flops
from trivium.models.skeleton import Context

VOCAB, TIME = 41, 23
EXACT = {"atol": 1e-9, "rtol": 0}
VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "languini_quasi_lstm_cell.npz"
FULL = QuasiLSTM(quasi=False)


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ids(batch=2, time=TIME, seed=0):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(seed))


def lively(recipe):
    model = recipe.build(VOCAB, seed=1).double().eval()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            if parameter.ndim > 1:
                parameter.mul_(6)
            else:
                parameter.add_(0.2 * rand(*parameter.shape, seed=number))
    return model


def ragged():
    mask = torch.ones(4, TIME, dtype=torch.bool)
    mask[0, :5] = mask[1, -6:] = mask[2, 8:12] = False
    return mask


def facts(time):
    return Context(None, torch.arange(time)[None], time)


# The authors' cell


@pytest.fixture
def authors():
    if not VECTORS.is_file():
        pytest.skip(f"the authors' outputs are not beside this checkout ({VECTORS.parent.name}/{VECTORS.name})")
    return {name: torch.from_numpy(array) for name, array in np.load(VECTORS).items() if array.ndim}


NAMES = {
    "forget_gate": "linear_Fx",
    "input_gate": "linear_Ix",
    "cell_input": "linear_Zx",
    "output_gate": "linear_Ox",
    "y_proj": "linear_post_head",
}


@pytest.mark.parametrize("block", [1, 4, 8, 16])
def test_outputs_states_and_gradients_agree_with_the_authors_cell(authors, block):
    mixer = LSTMMixer(QuasiLSTM(width=12, heads=3, head_width=5, block=block)).double()
    mine = {f"{name}.{part}": getattr(getattr(mixer, name), part) for name in NAMES for part in ("weight", "bias")}
    with torch.no_grad():
        for name, parameter in mine.items():
            module, part = name.split(".")
            parameter.copy_(authors[f"w__{NAMES[module]}.{part}"])
    x = authors["in_x"].clone().requires_grad_()
    y, state = mixer.forward_chunk(x, (authors["in_state_c"], authors["in_state_h"]), facts(16))
    close = {"atol": 1e-6, "rtol": 1e-6}  # of an epsilon within their logarithm
    torch.testing.assert_close(y, authors[f"out_block{block}"], **close)
    torch.testing.assert_close(state, (authors["out_state_c"], authors["out_state_h"]), **close)
    grads = torch.autograd.grad((y * authors["in_upstream_grad"]).sum(), [x, *mine.values()])
    torch.testing.assert_close(grads[0], authors["grad_x"], **close)
    for name, grad in zip(mine, grads[1:], strict=True):
        module, part = name.split(".")
        torch.testing.assert_close(grad, authors[f"grad_w__{NAMES[module]}.{part}"], **close)


# One law for all forms, of the cell that is not quasi; the other is held to it by the contract


def fed(model, tokens, size, mask=None):
    logits, state = [], None
    for start in range(0, TIME, size):
        span = slice(start, start + size)
        out = model(tokens[:, span], mask=None if mask is None else mask[:, span], state=state, keep_state=True)
        logits.append(out.logits)
        state = out.state
    return torch.cat(logits, 1), state


@pytest.mark.parametrize("size", [1, 3, 7, TIME])
def test_the_full_cell_obeys_the_law_with_padding_anywhere(size):
    model, tokens, mask = lively(FULL), ids(4), ragged()
    logits, state = fed(model, tokens, size)
    torch.testing.assert_close(logits, model(tokens).logits, **EXACT)
    logits, state = fed(model, tokens, size, mask)
    torch.testing.assert_close(logits[mask], model(tokens, mask=mask).logits[mask], **EXACT)
    assert state.lengths.tolist() == mask.sum(1).tolist()
    for row in range(4):
        alone = model(tokens[row : row + 1, mask[row]], keep_state=True)
        torch.testing.assert_close(logits[row][mask[row]], alone.logits[0], **EXACT)
        for mine, theirs in zip(state.memories, alone.state.memories, strict=True):
            torch.testing.assert_close([x[row] for x in mine], [x[0] for x in theirs], **EXACT)


def test_the_full_cell_starts_anew_with_each_document():
    model, tokens, mask = lively(FULL), ids(2), torch.ones(2, TIME, dtype=torch.bool)
    segments = torch.tensor([[0] * 6 + [1] * 10 + [2] * 7, [5] * 9 + [2] * 1 + [5] * 13])
    mask[0, 4:8] = mask[1, -2:] = False
    logits = model(tokens, segments=segments, mask=mask).logits
    for row, spans in enumerate([[(0, 6), (6, 16), (16, 23)], [(0, 9), (9, 10), (10, 23)]]):
        for start, stop in spans:
            keep = mask[row, start:stop]
            alone = model(tokens[row : row + 1, start:stop][:, keep]).logits[0]
            torch.testing.assert_close(logits[row, start:stop][keep], alone, **EXACT)


def test_the_full_cell_sees_nothing_ahead_and_all_of_the_past():
    model, tokens = lively(FULL), ids()
    changed = tokens.clone()
    changed[:, 12] = (changed[:, 12] + 1) % VOCAB
    difference = (model(changed).logits - model(tokens).logits).abs().amax(-1)
    assert difference[:, :12].max() < 1e-10
    assert difference[:, 12:].min() > 1e-6


def test_gradients_of_the_full_cell_are_those_of_finite_differences():
    model = lively(QuasiLSTM(width=4, heads=2, depth=2, hidden=4, quasi=False))
    embeds = model.embed(ids(1, 4)).detach().requires_grad_()
    weight = rand(1, 4, VOCAB, seed=3)

    def through(*_):
        return (model(embeds=embeds).logits * weight).sum()

    assert torch.autograd.gradcheck(through, embeds, fast_mode=True)
    assert torch.autograd.gradcheck(through, tuple(model.parameters()), fast_mode=True)
    model(ids()).logits.square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("recipe", [FULL, QuasiLSTM(head_width=24, heads=2), QuasiLSTM(quasi=False, head_width=8)])
def test_what_is_declared_is_held_and_measured(recipe):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        model = recipe.build(VOCAB).to(dtype)
        for time in (3, TIME):
            held = model(ids(2, time), keep_state=True).state.bytes()
            assert held == 2 * model.state_bytes(time)
            assert held == 2 * 2 * 2 * recipe.heads * (recipe.head_width or 16) * (8 if dtype == torch.float64 else 4)
    model = recipe.build(VOCAB)
    assert count_flops(lambda: model(ids())) == 2 * model.flops(TIME)


# The switch, the limits, the equations


def test_the_full_cell_without_recurrent_weights_is_the_quasi_cell():
    quasi, full = lively(QuasiLSTM()), lively(FULL)
    assert (full(ids()).logits - quasi(ids()).logits).abs().max() > 1e-3
    held = dict(quasi.named_parameters())
    with torch.no_grad():
        for name, parameter in full.named_parameters():
            parameter.copy_(held[name] if name in held else torch.zeros_like(parameter))
    torch.testing.assert_close(full(ids()).logits, quasi(ids()).logits, **EXACT)


def test_both_cells_share_their_initial_values():
    quasi, full = QuasiLSTM().build(VOCAB, seed=3), FULL.build(VOCAB, seed=3)
    held = dict(full.named_parameters())
    for name, parameter in quasi.named_parameters():
        assert torch.equal(held.pop(name), parameter), name
    assert set(held) == {"blocks.0.mixer.recurrent", "blocks.1.mixer.recurrent"}


def test_with_shut_forget_gates_the_mixer_has_no_memory():
    mixer = lively(QuasiLSTM()).blocks[0].mixer
    with torch.no_grad():
        mixer.forget_gate.bias.fill_(-1e4)
    x = rand(2, 19, 64)
    i, z, o = (projection(x) for projection in (mixer.input_gate, mixer.cell_input, mixer.output_gate))
    expected = mixer.y_proj(o.sigmoid() * (i.sigmoid() * z.tanh()).tanh())
    torch.testing.assert_close(mixer.parallel(x, facts(19)), expected, **EXACT)


def test_the_mixer_is_the_equation_step_by_step():
    mixer = lively(FULL).blocks[1].mixer
    x = rand(2, 9, 64)
    c = h = torch.zeros(2, 4, 16, dtype=torch.float64)
    for t in range(9):
        gates = []
        for number, name in enumerate(("forget_gate", "input_gate", "cell_input", "output_gate")):
            heard = torch.stack([h[:, n] @ mixer.recurrent[n, :, 16 * number : 16 * number + 16] for n in range(4)], 1)
            gates.append(getattr(mixer, name)(x[:, t]).view(2, 4, 16) + heard)
        f, i, z, o = gates
        c = (f + 1).sigmoid() * c + i.sigmoid() * z.tanh()
        h = o.sigmoid() * c.tanh()
        torch.testing.assert_close(mixer.parallel(x, facts(9))[:, t], mixer.y_proj(h.flatten(1)), **EXACT)


def test_blocks_change_the_cost_and_not_the_result():
    expected = lively(QuasiLSTM(block=16))(ids()).logits
    for block in (1, 5, TIME):
        torch.testing.assert_close(lively(QuasiLSTM(block=block))(ids()).logits, expected, **EXACT)


def test_a_stream_in_pieces_is_one_long_text():
    model, tokens = lively(QuasiLSTM()), ids(1, 200)
    state, logits = None, []
    for part in tokens.split(64, 1):
        out = model(part, state=state, keep_state=True)
        logits.append(out.logits)
        state = out.state
    torch.testing.assert_close(torch.cat(logits, 1), model(tokens).logits, **EXACT)
    assert state.bytes() == model.state_bytes(1)


def test_nothing_but_order_tells_positions_apart():
    model = lively(QuasiLSTM())
    assert model.max_positions is None
    positions = torch.arange(TIME).flip(0).expand(2, -1)
    assert torch.equal(model(ids(), positions=positions).logits, model(ids()).logits)


def test_the_start_is_that_of_the_paper():
    model = QuasiLSTM(width=128, depth=8).build(500)
    block = model.blocks[3]
    assert block.mixer.y_proj.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.mixer.forget_gate.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert (block.mixer.forget_gate.bias == 0).all()
    assert block.channel.down_proj.weight.std().item() == pytest.approx(0.02 / 16**0.5, rel=0.05)
    torch.testing.assert_close(model.embed(ids()), 128**0.5 * model.embedding.weight[ids()])


def test_the_head_is_tied_where_asked():
    tied, free = QuasiLSTM(tied=True).build(VOCAB), QuasiLSTM().build(VOCAB)
    assert tied.head.weight is tied.embedding.weight
    assert free.head.weight is not free.embedding.weight


@pytest.mark.parametrize("quasi", [True, False])
def test_the_parameter_count_is_that_of_the_equations(quasi):
    width, inner, hidden, depth = 64, 2 * 24, 96, 3
    recipe = QuasiLSTM(heads=2, head_width=24, hidden=hidden, depth=depth, quasi=quasi, eps=1e-6)
    block = 4 * (width * inner + inner) + inner * width + width + 2 * width * hidden + hidden + width + 4 * width
    block += 0 if quasi else 4 * inner * 24
    count = sum(parameter.numel() for parameter in recipe.build(VOCAB).parameters())
    assert count == 2 * VOCAB * width + depth * block + 2 * width


def test_the_norms_take_their_epsilon():
    model = QuasiLSTM(eps=0.5).build(VOCAB)
    norms = [model.norm, *(norm for block in model.blocks for norm in (block.mixer_norm, block.channel_norm))]
    assert [norm.eps for norm in norms] == [0.5] * 5


def test_the_models_of_the_authors_have_the_shapes_they_give():
    given = {
        "mini": (4, 512, 2048, 32, 8),
        "tiny": (4, 768, 3072, 64, 12),
        "small": (12, 768, 3072, 64, 12),
        "medium": (24, 1024, 4096, 64, 16),
        "large": (24, 1536, 6144, 96, 16),
        "XL": (24, 2048, 8192, 128, 24),
    }
    assert SHAPES.keys() == given.keys()
    for name, (depth, width, hidden, head_width, heads) in given.items():
        with torch.device("meta"):
            model = SHAPES[name].build(16384)
        assert (model.depth, model.width) == (depth, width)
        assert model.blocks[0].channel.up_proj.out_features == hidden
        assert model.blocks[0].mixer.head_width == head_width
        assert model.blocks[0].mixer.y_proj.in_features == heads * head_width


def test_the_steps_of_a_compute_class_are_those_of_the_authors():
    assert steps_within(55_416, 6 * 3600, 128 * 512) == 18_265


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"heads": 5}, "multiple of the 5 heads"),
        ({"head_width": 0}, "head_width must be at least 1"),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"block": 0}, "block must be at least 1"),
        ({"eps": -1.0}, "eps must be positive"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        QuasiLSTM(**wrong)
    assert QuasiLSTM(heads=5, head_width=8).heads == 5
