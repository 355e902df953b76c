import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from trivium.architectures.llama import Llama
from trivium.architectures.transnormer import TransNormer
from trivium.core.errors import NotOffered
from trivium.models.export import StateCache, TriviumForCausalLM, register
from trivium.models.saving import restore, save

VOCAB = 31
RECIPES = {
    "llama": Llama(width=32, kv_heads=2),
    "llama, free head": Llama(width=32, tied=False),
    "transnormer": TransNormer(width=32),
}


def ids(batch=2, time=9):
    return torch.randint(1, VOCAB, (batch, time), generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=RECIPES.values(), ids=RECIPES.keys(), scope="module")
def native(request):
    model = request.param.build(VOCAB, seed=3).eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if parameter.ndim > 1 and "theta" not in path:
                parameter.mul_(6)
    return model


@pytest.fixture
def folder(native, tmp_path):
    save(native, tmp_path)
    return tmp_path


@pytest.fixture
def exported(folder):
    register()
    register()
    with torch.random.fork_rng():
        model = AutoModelForCausalLM.from_pretrained(folder)
    return model


def generate(model, tokens, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return model.generate(tokens, pad_token_id=0, **({"max_new_tokens": 12, "do_sample": False} | options))


def test_it_is_the_native_model(native, exported, folder):
    assert isinstance(exported, TriviumForCausalLM)
    assert AutoConfig.from_pretrained(folder).recipe["method"].startswith("architectures/")
    assert torch.equal(exported(ids()).logits, native(ids()).logits)
    assert (exported.model.head.weight is exported.model.embedding.weight) == native.recipe.tied


def test_nothing_is_missing_and_what_is_missing_gets_its_initial_values(folder, native):
    register()
    with torch.random.fork_rng():
        _, told = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["blocks.1.mixer.q_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with torch.random.fork_rng():
        model = AutoModelForCausalLM.from_pretrained(folder).model
    fresh = native.recipe.build(VOCAB, seed=0)
    assert torch.equal(model.blocks[1].mixer.q_proj.weight, fresh.blocks[1].mixer.q_proj.weight)
    assert torch.equal(model.blocks[1].mixer.k_proj.weight, native.blocks[1].mixer.k_proj.weight)


def test_save_pretrained_and_back_into_both_worlds(native, exported, tmp_path):
    exported.save_pretrained(tmp_path / "again")
    with torch.random.fork_rng():
        other = AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    assert torch.equal(other(ids()).logits, native(ids()).logits)
    assert torch.equal(restore(tmp_path / "again")(ids()).logits, native(ids()).logits)


def test_greedy_generation_is_that_of_the_native_model_with_and_without_a_cache(native, exported):
    tokens = ids()
    for _ in range(12):
        tokens = torch.cat((tokens, native(tokens).logits[:, -1:].argmax(-1)), 1)
    assert torch.equal(generate(exported, ids(), use_cache=True), tokens)
    assert torch.equal(generate(exported, ids(), use_cache=False), tokens)


def test_the_cache_is_used(exported):
    fed = []
    exported.model.embedding.register_forward_pre_hook(lambda module, given: fed.append(given[0].shape[1]))
    generate(exported, ids(), use_cache=True)
    assert fed == [9] + [1] * 11


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("options", [{}, {"do_sample": True, "top_p": 0.9}, {"num_beams": 3}])
def test_left_padded_rows_generate_what_they_generate_alone(exported, use_cache, options):
    tokens, mask = ids(), torch.ones(2, 9, dtype=torch.int64)
    tokens[0, :4] = mask[0, :4] = 0
    made = generate(exported, tokens, attention_mask=mask, use_cache=use_cache, **options)
    assert torch.equal(made, generate(exported, tokens, attention_mask=mask, use_cache=not use_cache, **options))
    if "do_sample" not in options:  # the rows of a batch draw one after another
        assert torch.equal(made[0, 9:], generate(exported, tokens[:1, 4:], use_cache=use_cache, **options)[0, 5:])


def test_sampling_several_sequences_and_embeddings_in(exported):
    made = generate(exported, ids(), do_sample=True, num_return_sequences=3)
    assert made.shape == (6, 21)
    embeds = exported.get_input_embeddings()(ids())
    assert torch.equal(generate(exported, None, inputs_embeds=embeds), generate(exported, ids())[:, 9:])


def test_a_cache_can_be_continued_cropped_and_copied(native, exported):
    tokens = ids()
    with torch.no_grad():
        cache = exported(tokens[:, :6], use_cache=True).past_key_values
    assert isinstance(cache, StateCache)
    assert (cache.get_seq_length(), cache.batch_size) == (6, 2)
    copied = copy.deepcopy(cache)
    rest = exported(tokens[:, 6:], past_key_values=cache).logits
    torch.testing.assert_close(rest, native(tokens).logits[:, 6:], atol=1e-4, rtol=1e-4)
    assert (cache.get_seq_length(), copied.get_seq_length()) == (9, 6)
    if "truncate" in native.offers:
        cache.crop(-4)
        again = exported(tokens[:, 5:], past_key_values=cache).logits
        torch.testing.assert_close(again, native(tokens).logits[:, 5:], atol=1e-4, rtol=1e-4)
    else:
        assert not cache.is_croppable
        with pytest.raises(NotOffered, match="truncate"):
            cache.crop(-4)


def test_a_filled_cache_of_another_model_is_refused(exported):
    foreign = DynamicCache()
    foreign.update(torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 3, 4), 0)
    with pytest.raises(TypeError, match="keys and values of another model"):
        exported(ids(), past_key_values=foreign)


def test_the_loss_is_that_of_the_next_token(native, exported):
    tokens = ids()
    labels = tokens.clone()
    labels[0, :5] = -100
    expected = torch.nn.functional.cross_entropy(native(tokens).logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(exported(tokens, labels=labels).loss, expected)


def test_peft_adapts_every_linear_layer_trains_and_merges(native, exported):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        adapted = get_peft_model(exported, LoraConfig(target_modules="all-linear", r=2, task_type="CAUSAL_LM"))
    layers = sum("lora_A" in name for name, _ in adapted.named_parameters())
    assert layers == sum(isinstance(m, torch.nn.Linear) for m in native.blocks.modules())
    torch.testing.assert_close(adapted(ids()).logits, native(ids()).logits)  # adapters start as nothing
    optimiser = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=1.0)
    before = adapted(input_ids=ids(), labels=ids()).loss
    before.backward()
    optimiser.step()
    after = adapted(input_ids=ids(), labels=ids()).loss
    assert after < before
    trained = adapted(ids()).logits
    merged = adapted.merge_and_unload()
    assert isinstance(merged, TriviumForCausalLM)
    torch.testing.assert_close(merged(ids()).logits, trained, atol=1e-4, rtol=1e-4)
    assert (merged(ids()).logits - native(ids()).logits).abs().max() > 1e-3


def test_a_model_in_memory_is_wrapped_without_a_copy(native):
    wrapped = TriviumForCausalLM.wrap(native)
    assert wrapped.model is native
    assert torch.equal(wrapped(ids()).logits, native(ids()).logits)
    assert generate(wrapped, ids()).shape == (2, 21)
