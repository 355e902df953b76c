import pytest
import torch
import torch.nn.functional as F

from trivium.architectures.llama import Llama
from trivium.architectures.pangu import PanGu, SeriesActivation
from trivium.core.seeds import generator
from trivium.training.optimizers import decayed

VOCAB = 41


def ids(batch=2, time=19):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(0))


def lively(recipe):
    """Weights that are large enough to show, and none of them at nothing."""
    model = recipe.build(VOCAB, seed=1).double().eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(6).add_(0.1 * torch.randn(parameter.shape, generator=generator(1, path)))
    return model


@pytest.mark.parametrize("rest", [{}, {"kv_heads": 2, "layout": "half", "tied": False, "base": 500.0, "hidden": 24}])
@pytest.mark.parametrize("parts", [{"terms": 1, "shortcuts": 0}, {}, {"shortcuts": 3, "shortcut_input": "normed"}])
def test_switched_off_and_fresh_it_is_the_baseline_bit_by_bit(rest, parts):
    model, base = PanGu(**rest, **parts).build(VOCAB, seed=3), Llama(**rest).build(VOCAB, seed=3)
    assert torch.equal(model(ids()).logits, base(ids()).logits)
    state = model(ids()[:, :7], keep_state=True).state
    assert torch.equal(
        model(ids()[:, 7:], state=state).logits,
        base(ids()[:, 7:], state=base(ids()[:, :7], keep_state=True).state).logits,
    )


def test_switched_off_nothing_is_added():
    model, base = PanGu(terms=1, shortcuts=0).build(VOCAB), Llama().build(VOCAB)
    assert [path for path, _ in model.named_parameters()] == [path for path, _ in base.named_parameters()]
    assert model.sites() == base.sites()


@pytest.mark.parametrize("terms", [2, 3])
@pytest.mark.parametrize("shortcut_input", ["raw", "normed"])
def test_a_block_is_what_the_equations_say(terms, shortcut_input):
    recipe = PanGu(terms=terms, shortcuts=2, reduction=16, shortcut_input=shortcut_input, hidden=24)
    model = lively(recipe)
    names = ("in", "attn.norm", "attn.out", "attn.shortcut", "mid", "mlp.norm", "mlp.out")
    with model.capture(*(f"blocks.1.{name}" for name in names)) as seen:
        model(ids())
    z, normed, attended, shortcut, mid, x, out = (seen[f"blocks.1.{name}"] for name in names)
    block = model.blocks[1]
    path, channel = block.mixer_residual.shortcut, block.channel
    read = z if shortcut_input == "raw" else normed
    expected = sum(F.gelu(read @ path.down[i].weight.T) @ path.up[i].weight.T for i in range(2))
    torch.testing.assert_close(shortcut, expected, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(mid, z + attended + shortcut, atol=1e-12, rtol=0)
    gate, act = x @ channel.gate_proj.weight.T, channel.activation
    series = sum(F.silu(gate * act.scale[i] + act.bias[i]) for i in range(terms))
    expected = (series * (x @ channel.up_proj.weight.T)) @ channel.down_proj.weight.T
    torch.testing.assert_close(out, expected, atol=1e-10, rtol=1e-10)
    assert path.down[0].weight.shape == (4, 64)


def test_the_start_is_the_plain_activation_and_terms_that_can_grow_apart():
    activation = PanGu(terms=4, hidden=3, depth=1).build(VOCAB).blocks[0].channel.activation
    torch.testing.assert_close(activation.scale, torch.tensor([1.0, 0.0, 0.1, 0.2])[:, None].expand(4, 3))
    assert not activation.bias.any()
    path = PanGu().build(VOCAB).blocks[0].mixer_residual.shortcut
    assert not path.up[0].weight.any()
    assert path.down[0].weight.std().item() == pytest.approx(0.02, rel=0.3)


@pytest.mark.parametrize("terms", [2, 3, 4])
def test_from_the_first_update_on_every_part_learns_and_no_two_terms_alike(terms):
    model = PanGu(terms=terms).build(VOCAB)
    for _ in range(3):  # steps of one size, as those of Adam are at first
        model.zero_grad()
        F.cross_entropy(model(ids()).logits[:, :-1].flatten(0, 1), ids()[:, 1:].flatten()).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(1e-2 * parameter.grad.sign())
    for block in model.blocks:
        scale = block.channel.activation.scale
        assert len({tuple(row) for row in scale.tolist()}) == terms
        assert scale[1].abs().min() > 0
        for parameter in block.mixer_residual.parameters():
            assert parameter.grad.abs().max() > 0


def test_every_setting_changes_the_logits():
    settings = [
        {},
        {"terms": 1},
        {"terms": 3},
        {"shortcuts": 0},
        {"shortcuts": 2},
        {"reduction": 8},
        {"shortcut_input": "normed"},
    ]
    logits = [lively(PanGu(**change))(ids()).logits for change in settings]
    for index, one in enumerate(logits):
        assert all((one - other).abs().max() > 1e-4 for other in logits[:index])


def test_the_added_parameters_are_those_of_the_equations():
    def count(**change):
        return sum(p.numel() for p in PanGu(hidden=192, depth=3, **change).build(VOCAB).parameters())

    plain = count(terms=1, shortcuts=0)
    assert count(terms=3, shortcuts=0) - plain == 3 * 2 * 3 * 192
    assert count(terms=1, shortcuts=2) - plain == 3 * 2 * 2 * 64**2 // 32
    assert count(terms=1, reduction=1000) - plain == 3 * 2 * 64  # one wide at least


def test_scales_and_biases_are_spared_from_weight_decay():
    model = PanGu().build(VOCAB)
    spared = {id(parameter) for parameter in decayed(model)[1]}
    activations = [part for part in model.modules() if isinstance(part, SeriesActivation)]
    assert len(activations) == 2
    assert all({id(part.scale), id(part.bias)} <= spared for part in activations)


def test_the_stream_is_read_as_it_is_or_at_one_size():
    """Ten times the stream: a normalised reading does not see it, a raw one does."""
    for reads, same in (("raw", False), ("normed", True)):
        residual = lively(PanGu(shortcut_input=reads, eps=1e-12)).blocks[0].mixer_residual
        norm, nothing = torch.nn.RMSNorm(64, eps=1e-12).double(), torch.zeros_like
        x = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        small, large = residual(x, norm, nothing) - x, residual(10 * x, norm, nothing) - 10 * x
        assert torch.allclose(small, large, atol=1e-9) == same


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"terms": 0}, "terms must be at least 1, which is the plain activation; got 0"),
        ({"shortcuts": -1}, "shortcuts must be at least 0, which leaves them out"),
        ({"reduction": 0}, "reduction must be at least 1"),
        ({"shortcut_input": "scaled"}, "shortcut_input must be 'raw' or 'normed'"),
        ({"heads": 5}, "even number"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        PanGu(**wrong)
