"""What a model takes from a neighbour, and what it keeps."""

from dataclasses import replace

import pytest
import torch

from trivium.architectures.flexibert import EncoderLayer, FlexiBERT
from trivium.models.inheriting import inherit

VOCAB = 23
LAYER = EncoderLayer("sdp", heads=2, hidden=(24,))
WIDE = FlexiBERT(width=16, layers=(LAYER, replace(LAYER, operation="conv", kernel=3)), context=16)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def test_an_equal_model_takes_everything():
    donor, model = WIDE.build(VOCAB, seed=1), WIDE.build(VOCAB, seed=2)
    filled = inherit(model, donor, generator=draws())
    assert set(filled) == set(dict(model.named_parameters(remove_duplicate=False)))
    ids = torch.arange(9)[None]
    assert torch.equal(model(ids).logits, donor(ids).logits)
    with torch.no_grad():
        model.embedding.weight.add_(1.0)
    assert not torch.equal(model.embedding.weight, donor.embedding.weight)


def test_a_narrower_model_takes_the_first_rows_and_columns():
    donor = WIDE.build(VOCAB, seed=1)
    model = replace(WIDE, width=8, layers=(replace(LAYER, hidden=(12,)),)).build(VOCAB, seed=2)
    inherit(model, donor, generator=draws())
    assert torch.equal(model.embedding.weight, donor.embedding.weight[:, :8])
    up, wide = (one.blocks[0].channel.up_projs[0].weight for one in (model, donor))
    assert torch.equal(up, wide[:12, :8])


def test_a_draw_is_the_same_wherever_a_width_becomes_another():
    donor = WIDE.build(VOCAB, seed=1)
    model = replace(WIDE, width=8, layers=(replace(LAYER, hidden=(12,)),)).build(VOCAB, seed=2)
    inherit(model, donor, "random", generator=draws(5))
    kept = [
        next(at for at in range(16) if torch.equal(donor.embedding.weight[:, at], model.embedding.weight[:, column]))
        for column in range(8)
    ]
    assert kept == sorted(kept) != list(range(8))
    mixer, wide = model.blocks[0].mixer, donor.blocks[0].mixer
    assert torch.equal(mixer.q_proj.weight, wide.q_proj.weight[kept][:, kept])
    assert torch.equal(model.position.table.weight, donor.position.table.weight[:, kept])
    other = replace(WIDE, width=8, layers=(replace(LAYER, hidden=(12,)),)).build(VOCAB, seed=2)
    inherit(other, donor, "random", generator=draws(6))
    assert not torch.equal(other.embedding.weight, model.embedding.weight)


def test_a_wider_model_keeps_what_is_beyond():
    donor = replace(WIDE, width=8, layers=(replace(LAYER, hidden=(12,)),)).build(VOCAB, seed=1)
    model, fresh = WIDE.build(VOCAB, seed=2), WIDE.build(VOCAB, seed=2)
    inherit(model, donor, generator=draws())
    assert torch.equal(model.embedding.weight[:, :8], donor.embedding.weight)
    assert torch.equal(model.embedding.weight[:, 8:], fresh.embedding.weight[:, 8:])


def test_another_operation_gives_nothing_to_a_mixer():
    donor, model = WIDE.build(VOCAB, seed=1), replace(WIDE, layers=(LAYER, LAYER)).build(VOCAB, seed=2)
    before = model.blocks[1].mixer.q_proj.weight.clone()
    filled = inherit(model, donor, generator=draws())
    assert torch.equal(model.blocks[1].mixer.q_proj.weight, before)
    assert not any(path.startswith("blocks.1.mixer.") for path in filled)
    assert torch.equal(model.blocks[1].channel.down_proj.weight, donor.blocks[1].channel.down_proj.weight)
    assert torch.equal(model.blocks[0].mixer.q_proj.weight, donor.blocks[0].mixer.q_proj.weight)


def test_a_way_that_is_none_is_told():
    model = WIDE.build(VOCAB)
    with pytest.raises(ValueError, match="how must be one of ordered, random"):
        inherit(model, model, "best", generator=draws())
