"""SUMA: what is never trained, cycles of one block, switches, and units."""

import pytest
import torch
import torch.nn.functional as F

from trivium.architectures.suma import SUMA
from trivium.models.saving import restore, save
from trivium.models.slots import SimpleRMSNorm
from trivium.models.system import System
from trivium.models.units import responses
from trivium.nn.attention import attention_reference
from trivium.nn.rotary import rotary_table, rotate
from trivium.tokenization.byte import ByteTokenizer

VOCAB = 41
SMALL = dict(width=16, heads=2, depth=1, shallow_width=24, shallow_heads=6)


def ids(batch=2, time=9, seed=0):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(seed))


def lively(**settings):
    model = SUMA(**SMALL | settings).build(VOCAB).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return model


def by_hand(model, recipe, tokens):
    """The untrained part, one cycle after another by the same four matrices."""
    first = model.blocks[0].mixer.inner
    s = model.embedding.table[tokens]
    for _ in range(recipe.cycles):
        x = SimpleRMSNorm(recipe.eps)(s) if recipe.norm else s
        q, k, v = (
            (x @ proj.weight.mT).unflatten(-1, (recipe.shallow_heads, -1)).transpose(1, 2)
            for proj in (first.q_proj, first.k_proj, first.v_proj)
        )
        if recipe.positions:
            table = rotary_table(torch.arange(tokens.shape[1])[None], q.shape[-1], recipe.base, q.dtype)
            q, k = rotate(q, *table, "interleaved"), rotate(k, *table, "interleaved")
        out = attention_reference(q, k, v).transpose(1, 2).flatten(2) @ first.o_proj.weight.mT
        s = s + out if recipe.residual else out
    return s


@pytest.mark.parametrize(
    "settings", [{}, {"cycles": 3}, {"norm": False}, {"residual": False}, {"positions": True}, {"cycles": 1}]
)
def test_the_untrained_part_is_one_block_over_and_over(settings):
    model = lively(**settings)
    recipe = model.recipe
    top = f"blocks.{recipe.cycles}"
    with torch.no_grad(), model.capture(f"blocks.{recipe.cycles - 1}.out", f"{top}.mid", f"{top}.attn.out") as seen:
        model(ids())
        expected = by_hand(model, recipe, ids())
    torch.testing.assert_close(seen[f"blocks.{recipe.cycles - 1}.out"], expected)
    join = model.blocks[recipe.cycles].join
    joined = F.rms_norm(expected, (24,), join.norm.gain, recipe.eps) @ join.proj.weight.mT
    torch.testing.assert_close(seen[f"{top}.mid"] - seen[f"{top}.attn.out"], joined)
    assert model.depth == recipe.cycles + 1
    plain = lively()(ids()).logits
    assert torch.equal(model(ids()).logits, plain) == (settings == {})


def test_only_the_decoder_is_trained_and_the_seed_does_not_touch_the_rest():
    a, b = SUMA(**SMALL).build(VOCAB, seed=0), SUMA(**SMALL).build(VOCAB, seed=1)
    c = SUMA(**SMALL, shallow_seed=1).build(VOCAB, seed=0)
    fixed = {name for name, parameter in a.named_parameters() if not parameter.requires_grad}
    assert fixed == {"embedding.table", *(f"blocks.0.mixer.inner.{x}_proj.weight" for x in "qkvo")}
    theirs, others = dict(b.named_parameters()), dict(c.named_parameters())
    for name, parameter in a.named_parameters():
        if parameter.ndim > 1:
            assert torch.equal(parameter, theirs[name]) == (name in fixed)
            assert torch.equal(parameter, others[name]) == (name not in fixed)
    assert a.embedding.table.std().item() == pytest.approx(0.02, rel=0.1)
    assert a.blocks[1].mixer.inner.q_proj.weight is a.blocks[0].mixer.inner.q_proj.weight
    assert "layers" not in a.offers


def test_the_decoder_reads_the_chosen_units_alone():
    model = lively(units=(3, 20))
    assert model.blocks[2].join.proj.weight.shape == (16, 2)
    plain = model(ids()).logits

    def noisy(units):
        def edit(hidden):
            changed = hidden.clone()
            changed[..., units] += 1
            return changed

        return edit

    with model.edit({"blocks.1.out": noisy([one for one in range(24) if one not in (3, 20)])}):
        assert torch.equal(model(ids()).logits, plain)
    with model.edit({"blocks.1.out": noisy([3])}):
        assert (model(ids()).logits - plain).abs().max() > 1e-6


def test_localised_units_are_those_of_largest_t_and_are_saved(tmp_path):
    recipe = SUMA(**SMALL).localised(ByteTokenizer(), 5, stimuli=12)
    assert len(recipe.units) == 5
    assert recipe.localised(ByteTokenizer(), 5, stimuli=12) == recipe
    assert SUMA(**SMALL, shallow_seed=1).localised(ByteTokenizer(), 5, stimuli=12).units != recipe.units
    from trivium.data.localiser import localiser

    system = System(SUMA(**SMALL).build(259, seed=7).eval(), ByteTokenizer(), "x")  # whatever the decoder's seed
    contrast = localiser(12)
    states = responses(system, contrast.texts, sites=["blocks.1.out"])["blocks.1.out"].double()
    a, b = states[contrast.labels], states[~contrast.labels]
    t = (a.mean(0) - b.mean(0)) / (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
    assert sorted(t.topk(5).indices.tolist()) == list(recipe.units)
    model = recipe.build(259, seed=3).eval()
    save(model, tmp_path)
    again = restore(tmp_path)
    assert again.recipe == recipe
    assert torch.equal(again(ids()).logits, model(ids()).logits)
    assert again.embedding.table.requires_grad is False


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"cycles": 0}, "cycles must be at least 1"),
        ({"width": 6, "heads": 2}, "even number of coordinates"),
        ({"shallow_width": 100}, "multiple of 32 heads"),
        ({"shallow_width": 96, "positions": True}, "give them an even number"),
        ({"units": (1, 1)}, "units are different numbers of 0 to 127"),
        ({"units": (128,)}, "units are different numbers"),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"eps": 0.0}, "base and eps must be positive"),
    ],
)
def test_settings_out_of_range(wrong, told):
    with pytest.raises(ValueError, match=told):
        SUMA(**wrong)
