import math

import pytest
import torch
import torch.nn.functional as F

from trivium.architectures.llama import Llama
from trivium.architectures.softplus_attention import SoftplusAttention
from trivium.nn.rotary import rotate_reference

VOCAB = 41
SOFTMAX = {"kernel": "exp", "qk_norm": False, "length_scale": False, "power": None}


def ids(batch=2, time=19):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(0))


def lively(recipe):
    model = recipe.build(VOCAB, seed=1).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return model


@pytest.mark.parametrize("rest", [{}, {"kv_heads": 2, "layout": "half", "tied": False, "base": 500.0, "hidden": 24}])
@pytest.mark.parametrize("weighted", [{}, {"power": 1.0, "offset_rows": 100}])
def test_switched_off_it_is_the_baseline(rest, weighted):
    model, base = lively(SoftplusAttention(**SOFTMAX | weighted, **rest)), lively(Llama(**rest))
    assert [path for path, _ in model.named_parameters()] == [path for path, _ in base.named_parameters()]
    mask = torch.ones(2, 19, dtype=torch.bool)
    mask[0, :6] = False
    torch.testing.assert_close(model(ids()).logits, base(ids()).logits, atol=1e-10, rtol=0)
    got, expected = model(ids(), mask=mask).logits, base(ids(), mask=mask).logits
    torch.testing.assert_close(got[mask], expected[mask], atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"power": None},
        {"power": 3.0},
        {"offset_rows": 8},
        {"qk_norm": False},
        {"length_scale": False},
        {"kernel": "exp"},
    ],
)
def test_one_head_by_hand(change):
    recipe = SoftplusAttention(width=8, heads=1, layout="half", **change)
    model = lively(recipe)
    mixer, x = model.blocks[0].mixer, torch.randn(1, 12, 8, generator=torch.Generator().manual_seed(3)).double()
    with model.capture("blocks.0.attn.norm", "blocks.0.attn.out") as seen:
        model(embeds=x)
    h = seen["blocks.0.attn.norm"]
    positions = torch.arange(12)[None]
    q, k = (
        rotate_reference((h @ projection.weight.T)[:, None], positions)[0, 0]
        for projection in (mixer.q_proj, mixer.k_proj)
    )
    if recipe.qk_norm:
        q, k = q / q.norm(dim=-1, keepdim=True), k / k.norm(dim=-1, keepdim=True)
    v, rows = (h @ mixer.v_proj.weight.T)[0], []
    for i in range(12):
        n = i + 1
        s = k[:n] @ q[i]
        if not recipe.qk_norm:
            s = s / math.sqrt(8)
        if recipe.length_scale:
            s = s * math.log(8) * math.log(n)
        a = F.softplus(s) if recipe.kernel == "softplus" else s.exp()
        a = a / a.sum()
        if recipe.power is not None:
            a = F.relu(n * a - (0 if n <= recipe.offset_rows else 1)) ** recipe.power
            a = a / a.sum()
        rows.append(a @ v[:n])
    expected = torch.stack(rows) @ mixer.o_proj.weight.T
    torch.testing.assert_close(seen["blocks.0.attn.out"][0], expected, atol=1e-10, rtol=1e-10)


def test_every_setting_changes_the_logits():
    settings = [
        {},
        {"power": None},
        {"power": 3.0},
        {"offset_rows": 8},
        {"qk_norm": False},
        {"length_scale": False},
        {"kernel": "exp"},
    ]
    logits = [lively(SoftplusAttention(**change))(ids()).logits for change in settings]
    for index, one in enumerate(logits):
        assert all((one - other).abs().max() > 1e-4 for other in logits[:index])


def test_with_norms_the_size_of_queries_and_keys_does_not_matter():
    model = lively(SoftplusAttention())
    before = model(ids()).logits
    with torch.no_grad():
        for block in model.blocks:
            block.mixer.q_proj.weight.mul_(5)
            block.mixer.k_proj.weight.mul_(0.3)
    torch.testing.assert_close(model(ids()).logits, before, atol=1e-9, rtol=0)


def test_shifting_every_position_changes_nothing():
    model = lively(SoftplusAttention())
    positions = torch.arange(19).expand(2, 19)
    shifted = model(ids(), positions=positions + 1000).logits
    torch.testing.assert_close(shifted, model(ids(), positions=positions).logits, atol=1e-8, rtol=0)


def test_no_parameter_is_added():
    count = [sum(p.numel() for p in recipe.build(VOCAB).parameters()) for recipe in (SoftplusAttention(), Llama())]
    assert count[0] == count[1]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"power": 0.5}, "power must be at least 1"),
        ({"offset_rows": -1}, "offset_rows must not be negative"),
        ({"kernel": "relu"}, "kernel must be one of softplus, exp"),
        ({"heads": 5}, "even number"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        SoftplusAttention(**wrong)
