"""Deeper models: what stands in them, that the control changes nothing, and what is refused."""

import dataclasses
from dataclasses import dataclass

import pytest
import torch

from tests.families import ATTENTION_FAMILIES, wrapped
from trivium.architectures.llama import Llama
from trivium.architectures.transnormer import TransNormer
from trivium.core.errors import NotOffered
from trivium.core.nouns import Batch
from trivium.models.huggingface import wrap
from trivium.models.saving import restore, save
from trivium.models.upscaling import most_alike, order, similarity, upscale

VOCAB = 41
EXACT = {"atol": 1e-9, "rtol": 0}


def ids(batch=2, time=11, vocab=VOCAB, seed=0):
    return torch.randint(3, vocab, (batch, time), generator=torch.Generator().manual_seed(seed))


def lively(recipe):
    model = recipe.build(VOCAB, seed=1).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return model


def llama(depth=4):
    return lively(Llama(width=16, depth=depth, heads=2, hidden=24))


def through(model, layers, tokens):
    """Logits of the model's own layers run in this order."""
    with model.capture("blocks.0.in") as seen:
        model(tokens)
    hidden = seen["blocks.0.in"]
    for layer in layers:
        hidden = model.layers(layer, layer + 1, hidden)
    return model.read_out(hidden)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_order_is_that_of_yi():
    assert order(32, 12, 28) == (*range(28), *range(12, 28), *range(28, 32))
    assert len(order(32, 12, 28)) == 48
    assert order(3, 0, 3) == (0, 1, 2, 0, 1, 2)
    for wrong in ((2, 2), (-1, 2), (1, 5), (3, 2)):
        with pytest.raises(ValueError, match="must name a range of the 4 layers"):
            order(4, *wrong)


def test_a_native_model_with_copies_is_its_own_layers_in_that_order():
    model, tokens = llama(), ids()
    before = {path: p.clone() for path, p in model.named_parameters()}
    deeper = upscale(model, 1, 3)
    assert deeper.depth == 6
    assert deeper.recipe == dataclasses.replace(model.recipe, depth=6)
    torch.testing.assert_close(deeper(tokens).logits, through(model, order(4, 1, 3), tokens), **EXACT)
    assert (deeper(tokens).logits - model(tokens).logits).abs().max() > 1e-3
    block = count(model.blocks[0])
    assert count(deeper) == count(model) + 2 * block
    assert all(torch.equal(p, before[path]) for path, p in model.named_parameters())


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_a_pretrained_model_with_copies_is_its_own_layers_in_that_order(family, tmp_path):
    model, tokens = wrapped(family), ids(1, vocab=64)
    first, last = (0, 2) if model.depth == 2 else (1, 3)
    deeper = upscale(model, first, last)
    layers = order(model.depth, first, last)
    with torch.no_grad():
        whole = deeper(tokens)
        torch.testing.assert_close(whole.logits, through(model, layers, tokens), **EXACT)
        # caches: each copy stores under its own number
        step = deeper(tokens[:, -1:], state=deeper(tokens[:, :-1], keep_state=True).state)
        torch.testing.assert_close(step.logits[:, 0], whole.logits[:, -1], **EXACT)
        deeper.inner.save_pretrained(tmp_path)
        opened = wrap(type(deeper.inner).from_pretrained(tmp_path, dtype=torch.float64))
        torch.testing.assert_close(opened(tokens).logits, whole.logits, atol=1e-5, rtol=0)  # gemma: a float32 scale
    assert deeper.config.num_hidden_layers == opened.depth == len(layers)
    assert count(deeper) == count(model) + sum(count(model.parts.blocks[at]) for at in range(first, last))
    assert deeper.offers == model.offers
    configs = [
        {id(part.config) for part in one.parts.blocks.modules() if hasattr(part, "config")} for one in (model, deeper)
    ]
    assert len(configs[0]) == len(configs[1])  # one for all: the adapter changes it for a pass


def test_the_layer_types_of_a_copy_are_those_of_its_layer():
    model = wrapped("gemma")  # sliding, full, sliding
    deeper = upscale(model, 0, 2)
    kinds = ["sliding_attention", "full_attention"]
    assert deeper.config.layer_types == [*kinds, *kinds, "sliding_attention"]


@pytest.mark.parametrize("model", [llama, *ATTENTION_FAMILIES])
def test_identity_copies_change_nothing(model):
    model = wrapped(model) if isinstance(model, str) else model()
    tokens = ids(vocab=min(model.vocab_size, VOCAB))
    deeper = upscale(model, 0, 2, "identity")
    assert deeper.depth == model.depth + 2
    with torch.no_grad():
        assert torch.equal(deeper(tokens).logits, model(tokens).logits)


@pytest.mark.parametrize("mode", ["duplicate", "identity"])
@pytest.mark.parametrize("model", [llama, "llama"])
def test_copies_own_their_weights_and_all_of_them_learn(model, mode):
    model = wrapped(model) if isinstance(model, str) else model()
    deeper = upscale(model, 0, 2, mode)
    held = [parameter.data_ptr() for parameter in (*model.parameters(), *deeper.parameters())]
    assert len(held) == len(set(held))
    deeper(ids(vocab=VOCAB)).logits.square().sum().backward()
    blocks = deeper.blocks if model.depth == 4 else deeper.parts.blocks
    ends = {id(parameter) for path, parameter in deeper.named_parameters() if "o_proj" in path or "down_proj" in path}
    for block in blocks[2:4]:
        for parameter in block.parameters():
            moved = parameter.grad is not None and parameter.grad.abs().max() > 0
            assert moved or (mode == "identity" and id(parameter) not in ends)
    with torch.no_grad():
        next(blocks[2].parameters()).add_(1.0)
    assert not torch.equal(next(blocks[2].parameters()), next(blocks[0].parameters()))


def test_a_native_copy_steps_as_it_runs_and_is_saved(tmp_path):
    deeper, tokens = upscale(llama(), 1, 3), ids()
    state = deeper(tokens[:, :5], keep_state=True).state
    assert state.bytes() == 2 * deeper.state_bytes(5)
    torch.testing.assert_close(deeper(tokens[:, 5:], state=state).logits, deeper(tokens).logits[:, 5:], **EXACT)
    save(deeper, tmp_path)
    assert torch.equal(restore(tmp_path)(tokens).logits, deeper(tokens).logits)


def test_layers_that_depend_on_their_place_are_found_out():
    with pytest.raises(NotOffered, match="works differently at place"):
        upscale(lively(TransNormer(width=16, depth=4, heads=2, lrpe_layers=())), 1, 3)
    with pytest.raises(NotOffered, match="differ by their place"):
        upscale(lively(TransNormer(width=16, depth=4, heads=2, decay="none", lrpe_layers=(3,))), 1, 3)
    plain = lively(TransNormer(width=16, depth=4, heads=2, decay="none", lrpe_layers=()))
    assert torch.equal(upscale(plain, 1, 3, "identity")(ids()).logits, plain(ids()).logits)
    scaled = wrapped("gpt2", n_layer=3, scale_attn_by_inverse_layer_idx=True)
    with pytest.raises(NotOffered, match="would work differently at its new place"):
        upscale(scaled, 1, 2)


def test_what_cannot_be_a_control_is_refused():
    after = wrapped("opt", do_layer_norm_before=False)  # the stream itself is normed, so that no copy passes it on
    assert upscale(after, 0, 1).depth == after.depth + 1
    with pytest.raises(NotOffered, match="use mode 'duplicate'"):
        upscale(after, 0, 1, "identity")
    with pytest.raises(ValueError, match="mode must be one of duplicate, identity"):
        upscale(llama(), 1, 2, "half")


def test_a_recipe_without_a_depth_is_refused():
    @dataclass(frozen=True)
    class Single:
        width: int = 16

    model = llama()
    model.recipe = Single()
    with pytest.raises(NotOffered, match="no field 'depth'"):
        upscale(model, 1, 2)


def test_the_similarity_is_the_mean_cosine_over_real_tokens():
    model, tokens = llama(), ids(8, 40)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[0, 30:] = mask[3, :7] = False
    got = similarity(model, Batch(tokens, mask).split(3))
    with model.capture("blocks.2.in", "blocks.2.out") as seen, torch.no_grad():
        model(tokens, mask=mask)
    by_hand = [
        float((a @ b) / (a.norm() * b.norm()))
        for a, b in zip(seen["blocks.2.in"][mask], seen["blocks.2.out"][mask], strict=True)
    ]
    assert got[2] == pytest.approx(sum(by_hand) / len(by_hand), abs=1e-9)
    assert len(got) == 4
    silent = upscale(model, 1, 2, "identity")
    assert similarity(silent, [Batch(tokens)])[2] == pytest.approx(1.0)
    assert most_alike(similarity(silent, [Batch(tokens)]), 1) == (2, 3)


def test_the_similarity_of_a_pretrained_model_and_too_few_tokens():
    assert len(similarity(wrapped("llama"), [Batch(ids(8, 40, 64))])) == 3
    with pytest.raises(ValueError, match="give at least 256"):
        similarity(llama(), [Batch(ids(5, 51))])


def test_the_most_alike_layers():
    assert most_alike([0.5, 0.9, 0.8, 0.7, 0.95], 2) == (1, 3)
    assert most_alike([0.5, 0.5, 0.5], 2) == (0, 2)
    assert most_alike([0.1, 0.2], 2) == (0, 2)
    with pytest.raises(ValueError, match="1 to the 2 layers"):
        most_alike([0.1, 0.2], 3)
