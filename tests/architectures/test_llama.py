import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding

from trivium.architectures.llama import Llama
from trivium.nn.rotary import half_from_interleaved

VOCAB = 41


def ids(batch=2, time=19):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(0))


def lively(recipe, dtype=torch.float64):
    model = recipe.build(VOCAB, seed=1).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return model


def to_huggingface(model):
    """The same weights in the model of transformers."""
    recipe = model.recipe
    with torch.random.fork_rng():
        other = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCAB,
                hidden_size=recipe.width,
                num_hidden_layers=recipe.depth,
                num_attention_heads=recipe.heads,
                num_key_value_heads=recipe.kv_heads or recipe.heads,
                intermediate_size=model.blocks[0].channel.down_proj.in_features,
                rms_norm_eps=recipe.eps,
                rope_theta=recipe.base,
                tie_word_embeddings=recipe.tied,
                max_position_embeddings=recipe.context,
            )
        )
    renamed = {"model.embed_tokens.weight": model.embedding.weight, "model.norm.weight": model.norm.gain}
    renamed["lm_head.weight"] = model.head.weight
    for layer, block in enumerate(model.blocks):
        at = f"model.layers.{layer}."
        renamed |= {f"{at}self_attn.{x}_proj.weight": getattr(block.mixer, f"{x}_proj").weight for x in "qkvo"}
        renamed |= {
            f"{at}mlp.{x}_proj.weight": getattr(block.channel, f"{x}_proj").weight for x in ("gate", "up", "down")
        }
        renamed |= {f"{at}input_layernorm.weight": block.mixer_norm.gain}
        renamed |= {f"{at}post_attention_layernorm.weight": block.channel_norm.gain}
    other = other.to(model.dtype).eval()
    other.load_state_dict({name: tensor.detach() for name, tensor in renamed.items()})
    return other


def widen(monkeypatch):
    """Let transformers compute norms and angles in float64; it rounds both to float32 in a model of any dtype."""

    def norm(self, x):
        return self.weight * x / (x.square().mean(-1, keepdim=True) + self.variance_epsilon).sqrt()

    def angles(self, x, position_ids):
        width = 2 * self.inv_freq.numel()
        rates = self.config.rope_parameters["rope_theta"] ** (-torch.arange(0, width, 2, dtype=x.dtype) / width)
        angle = (position_ids[..., None].to(x.dtype) * rates).repeat(1, 1, 2)
        return angle.cos(), angle.sin()

    monkeypatch.setattr(LlamaRMSNorm, "forward", norm)
    monkeypatch.setattr(LlamaRotaryEmbedding, "forward", angles)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("recipe", [Llama(layout="half", kv_heads=2, base=500.0), Llama(layout="half", tied=False)])
def test_logits_agree_with_transformers(recipe, dtype, tolerance, monkeypatch):
    if dtype == torch.float64:
        widen(monkeypatch)
    model = lively(recipe, dtype)
    other = to_huggingface(model)
    torch.testing.assert_close(model(ids()).logits, other(ids()).logits, atol=tolerance, rtol=tolerance)
    mask = torch.ones(2, 19, dtype=torch.bool)
    mask[0, :6] = False
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    theirs = other(ids(), attention_mask=mask.long(), position_ids=positions).logits
    torch.testing.assert_close(model(ids(), mask=mask).logits[mask], theirs[mask], atol=tolerance, rtol=tolerance)


def test_the_layouts_are_one_model_after_the_permutation():
    neighbours, halves = lively(Llama(kv_heads=2)), lively(Llama(kv_heads=2, layout="half"))
    index = half_from_interleaved(16)
    with torch.no_grad():
        for block in halves.blocks:
            for projection in (block.mixer.q_proj, block.mixer.k_proj):
                rows = projection.weight.unflatten(0, (-1, 16))
                projection.weight.copy_(rows[:, index].flatten(0, 1))
    torch.testing.assert_close(halves(ids()).logits, neighbours(ids()).logits, atol=1e-10, rtol=0)
    assert (lively(Llama(layout="half"))(ids()).logits - lively(Llama())(ids()).logits).abs().max() > 1e-3


def test_shifting_every_position_changes_nothing():
    model = lively(Llama())
    positions = torch.arange(19).expand(2, 19)
    shifted = model(ids(), positions=positions + 1000).logits
    torch.testing.assert_close(shifted, model(ids(), positions=positions).logits, atol=1e-9, rtol=0)
    assert (model(ids(), positions=positions * 2).logits - shifted).abs().max() > 1e-3


def test_stretched_positions_are_those_of_a_shorter_text():
    plain, stretched = lively(Llama()), lively(Llama(stretch=4.0))
    positions = torch.arange(19).expand(2, 19)
    expected = plain(ids(), positions=positions).logits
    torch.testing.assert_close(stretched(ids(), positions=4 * positions).logits, expected, atol=1e-10, rtol=0)
    assert (stretched(ids()).logits - expected).abs().max() > 1e-3


def test_groups_equal_heads_with_their_keys_and_values_repeated():
    grouped, full = lively(Llama(kv_heads=2)), lively(Llama())
    with torch.no_grad():
        for (path, target), (_, source) in zip(full.named_parameters(), grouped.named_parameters(), strict=True):
            repeated = "k_proj" in path or "v_proj" in path
            target.copy_(source.unflatten(0, (2, 16)).repeat_interleave(2, 0).flatten(0, 1) if repeated else source)
    torch.testing.assert_close(grouped(ids()).logits, full(ids()).logits, atol=1e-10, rtol=0)


def test_a_tied_head_reads_the_embedding_and_a_free_one_does_not():
    tied, free = Llama().build(VOCAB), Llama(tied=False).build(VOCAB)
    assert tied.head.weight.data_ptr() == tied.embedding.weight.data_ptr()
    assert free.head.weight.data_ptr() != free.embedding.weight.data_ptr()
    assert sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in tied.parameters()) == VOCAB * 64


def test_the_parameter_count_is_that_of_the_equations():
    width, hidden, depth, groups = 64, 192, 2, 2
    model = Llama(kv_heads=groups).build(VOCAB)
    block = 2 * width * width + 2 * width * groups * 16 + 3 * width * hidden + 2 * width
    assert sum(p.numel() for p in model.parameters()) == VOCAB * width + depth * block + width


def test_the_context_is_a_limit():
    model = Llama(context=8).build(VOCAB)
    model(ids(1, 8))
    with pytest.raises(ValueError, match="more than the 8 positions"):
        model(ids(1, 9))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"heads": 5}, "even number"),
        ({"width": 12, "heads": 4}, "even number"),
        ({"kv_heads": 3}, "divide the 4 heads"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"layout": "halves"}, "layout must be"),
        ({"base": 0.0}, "must be positive"),
        ({"stretch": 0.0}, "must be positive"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        Llama(**wrong)
