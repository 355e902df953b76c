"""Longer contexts: where nothing changes, what a factor and a base do to the angles, and what is refused."""

import math

import pytest
import torch

from tests.families import wrapped
from trivium.architectures.llama import Llama
from trivium.architectures.softplus_attention import SoftplusAttention
from trivium.architectures.transnormer import TransNormer
from trivium.core.errors import NotOffered
from trivium.models.huggingface import wrap
from trivium.models.lengthening import bits_by_position, lengthen, octaves
from trivium.models.saving import restore, save

VOCAB = 41
ROTARY = ("llama", "qwen", "gemma", "gpt_neox")


def ids(batch=2, time=9, vocab=VOCAB, seed=0):
    return torch.randint(3, vocab, (batch, time), generator=torch.Generator().manual_seed(seed))


def native(**changes):
    model = Llama(**{"width": 16, "heads": 2, "hidden": 24, "context": 16} | changes).build(VOCAB, seed=1).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return model.eval()


def made(family):
    if family is None:
        return native()
    return wrapped(family, **{"rotary_pct": 1.0} if family == "gpt_neox" else {})  # of one pair no base says anything


@pytest.mark.parametrize("family", [None, *ROTARY])
def test_its_own_base_and_factor_1_change_nothing(family):
    model = made(family)
    base = model.recipe.base if family is None else None
    longer = lengthen(model, 4 * model.max_positions, base=base)
    assert longer.max_positions == 4 * model.max_positions
    with torch.no_grad():
        assert torch.equal(longer(ids()).logits, model(ids()).logits)
    assert model.max_positions == longer.max_positions // 4  # the one given is left as it was


@pytest.mark.parametrize("changes", [{"base": 5e6}, {"factor": 4.0}, {"base": 5e6, "factor": 4.0}])
@pytest.mark.parametrize("family", [None, *ROTARY])
def test_position_0_does_not_turn_and_others_do(family, changes):
    model = made(family)
    longer = lengthen(model, 4 * model.max_positions, **changes)
    with torch.no_grad():
        torch.testing.assert_close(longer(ids(time=1)).logits, model(ids(time=1)).logits, atol=1e-12, rtol=0)
        assert (longer(ids()).logits - model(ids()).logits)[:, 1:].abs().max() > 1e-4
        tokens = ids(1, model.max_positions + 9)
        assert longer(tokens).logits.isfinite().all()
    with pytest.raises(ValueError, match="more than the"):
        model(tokens)


@pytest.mark.parametrize("family", [None, "llama", "qwen", "gpt_neox"])
def test_positions_divided_by_4_are_those_of_a_text_a_quarter_as_long(family):
    """At 0, 4, 8, ... the longer model turns as the model did at 0, 1, 2, ..."""
    model = made(family)
    longer = lengthen(model, 4 * model.max_positions, factor=4.0)
    positions = torch.arange(9)[None]
    with torch.no_grad():
        expected = model(ids(1), positions=positions).logits
        # transformers rounds its angles to float32
        torch.testing.assert_close(longer(ids(1), positions=4 * positions).logits, expected, atol=1e-5, rtol=0)
    twice = lengthen(longer, 8 * model.max_positions, factor=2.0)
    with torch.no_grad():
        torch.testing.assert_close(twice(ids(1), positions=8 * positions).logits, expected, atol=1e-5, rtol=0)


def test_a_base_slows_the_slow_pairs_most():
    model = native(width=32)
    longer = lengthen(model, 64, base=1e6)
    turned = longer.position.base ** (-torch.arange(0, 16, 2) / 16) / model.position.base ** (
        -torch.arange(0, 16, 2) / 16
    )
    torch.testing.assert_close(turned[0], torch.tensor(1.0))
    assert (turned.diff() < 0).all()
    assert longer.recipe == Llama(width=32, heads=2, hidden=24, context=64, base=1e6)


def test_the_angles_of_transformers_are_those_of_the_equation():
    longer = lengthen(wrapped("llama"), 512, base=5e6, factor=4.0)
    table = longer.inner.model.rotary_emb
    expected = 5e6 ** (-torch.arange(0, 8, 2) / 8) / 4
    torch.testing.assert_close(table.inv_freq, expected)
    assert longer.config.rope_parameters == {"rope_type": "linear", "rope_theta": 5e6, "factor": 4.0}


def test_layers_with_a_window_keep_their_angles():
    model = wrapped("gemma")
    longer = lengthen(model, 512, base=5e6)
    before, after = model.inner.model.rotary_emb, longer.inner.model.rotary_emb
    torch.testing.assert_close(after.sliding_attention_inv_freq, before.sliding_attention_inv_freq.float())
    expected = 5e6 ** (-torch.arange(0, 8, 2) / 8)
    torch.testing.assert_close(after.full_attention_inv_freq, expected)


@pytest.mark.parametrize("family", [None, "llama", "gemma"])
def test_what_is_saved_is_opened_as_it_was(family, tmp_path):
    model = made(family)
    longer = lengthen(model, 4 * model.max_positions, base=3e5, factor=2.0 if family != "gemma" else 1.0)
    tokens = ids(1, 2 * model.max_positions)
    if family is None:
        save(longer, tmp_path)
        opened = restore(tmp_path)
    else:
        longer.inner.save_pretrained(tmp_path)
        opened = wrap(type(longer.inner).from_pretrained(tmp_path, dtype=torch.float64))
    assert opened.max_positions == longer.max_positions
    with torch.no_grad():
        torch.testing.assert_close(opened(tokens).logits, longer(tokens).logits, atol=1e-5, rtol=0)


def test_documents_packed_into_a_long_row_do_not_see_each_other():
    longer = lengthen(native(), 64, base=5e5, factor=2.0)
    tokens, segments = ids(1, 60), torch.tensor([[0] * 13 + [1] * 30 + [2] * 17])
    logits = longer(tokens, segments=segments).logits
    for start, stop in ((0, 13), (13, 43), (43, 60)):
        alone = longer(tokens[:, start:stop]).logits
        torch.testing.assert_close(logits[:, start:stop], alone, atol=1e-9, rtol=0)


def test_weights_are_the_same_and_apart():
    for model in (native(), wrapped("llama")):
        longer = lengthen(model, 512, base=5e6)
        for a, b in zip(model.parameters(), longer.parameters(), strict=True):
            assert torch.equal(a, b)
            assert a.data_ptr() != b.data_ptr()


def test_what_has_no_such_positions_is_refused():
    with pytest.raises(NotOffered, match="cannot be slowed down"):
        lengthen(wrapped("gpt2"), 512, base=5e6)
    with pytest.raises(NotOffered, match="no rotary positions with a base"):
        lengthen(TransNormer(width=16, heads=2).build(VOCAB), 512, base=5e6)
    other = SoftplusAttention(width=16, heads=2, context=16).build(VOCAB)
    assert lengthen(other, 32, base=5e6).position.base == 5e6
    with pytest.raises(NotOffered, match="change the base instead"):
        lengthen(other, 32, factor=2.0)
    scaled = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    with pytest.raises(NotOffered, match="scaled as 'dynamic' already"):
        lengthen(wrapped("llama", rope_parameters=scaled), 512, factor=2.0)
    for wrong, told in (({"base": 0.0}, "base must be positive"), ({"factor": 0.5}, "at least 1; got 0.5")):
        with pytest.raises(ValueError, match=told):
            lengthen(native(), 32, **wrong)
    with pytest.raises(ValueError, match="at least the 16 tokens"):
        lengthen(native(), 8, base=5e6)


def test_bits_by_position_are_the_mean_over_rows():
    model, rows = native(), ids(5, 12)
    got = bits_by_position(model, rows, batch_size=2)
    logp = model(rows).logits.log_softmax(-1)
    for place in (0, 7, 10):
        by_hand = [-logp[row, place, rows[row, place + 1]].item() / math.log(2) for row in range(5)]
        assert float(got[place]) == pytest.approx(sum(by_hand) / 5)
    assert got.shape == (11,)
    with pytest.raises(ValueError, match="at least 2 tokens"):
        bits_by_position(model, rows[:, :1])


def test_octaves_cover_every_position_once():
    assert octaves(torch.tensor([1.0, 2, 4, 8, 8, 8, 8, 5])) == {"1": 1.0, "2-3": 3.0, "4-7": 8.0, "8": 5.0}
    assert octaves(torch.tensor([1.0, 2, 3, 5, 7])) == {"1": 1.0, "2-3": 2.5, "4-5": 6.0}
