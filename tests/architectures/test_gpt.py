import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoConfig, GPTNeoForCausalLM

from trivium.architectures.gpt import GPT, GRID
from trivium.core.meter import count_flops
from trivium.models.skeleton import Context

VOCAB, TIME = 41, 23
EXACT = {"atol": 1e-10, "rtol": 0}


def ids(batch=2, time=TIME, seed=0):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(seed))


def lively(recipe, dtype=torch.float64):
    """Weights large enough that every part shows in the logits, biases and gains too."""
    model = recipe.build(VOCAB, seed=1).to(dtype).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
            else:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator).to(dtype))
    return model


def ragged():
    mask = torch.ones(4, TIME, dtype=torch.bool)
    mask[0, :5] = mask[1, -6:] = mask[2, 8:12] = False
    return mask


# The same numbers as other code


def filled(other, model, at, names):
    """A model of transformers with our weights; ``names``: their module within a block -> our modules and, where their
    matrices are input by output, True."""
    held = {"transformer.wte.weight": model.embedding.weight, "transformer.wpe.weight": model.position.table.weight}
    held |= {"transformer.ln_f.weight": model.norm.gain, "transformer.ln_f.bias": model.norm.bias}
    held["lm_head.weight"] = model.head.weight
    for layer, block in enumerate(model.blocks):
        for theirs, (modules, flipped) in names(block).items():
            weight = torch.cat([module.weight if hasattr(module, "weight") else module.gain for module in modules])
            held[at.format(layer, theirs) + ".weight"] = weight.T if flipped else weight
            if modules[0].bias is not None:
                held[at.format(layer, theirs) + ".bias"] = torch.cat([module.bias for module in modules])
    other = other.to(model.dtype).eval()
    known = other.state_dict().keys()
    other.load_state_dict({name: tensor.detach() for name, tensor in held.items() if name in known}, strict=True)
    return other


def gpt2(model):
    recipe = model.recipe
    config = GPT2Config(
        vocab_size=VOCAB,
        n_positions=recipe.context,
        n_embd=recipe.width,
        n_layer=recipe.depth,
        n_head=recipe.heads,
        n_inner=recipe.hidden,
        layer_norm_epsilon=recipe.eps,
        tie_word_embeddings=recipe.tied,
    )
    with torch.random.fork_rng():
        other = GPT2LMHeadModel(config)

    def names(block):
        mixer = block.mixer
        return {
            "ln_1": ([block.mixer_norm], False),
            "ln_2": ([block.channel_norm], False),
            "attn.c_attn": ([mixer.q_proj, mixer.k_proj, mixer.v_proj], True),
            "attn.c_proj": ([mixer.o_proj], True),
            "mlp.c_fc": ([block.channel.up_proj], True),
            "mlp.c_proj": ([block.channel.down_proj], True),
        }

    return filled(other, model, "transformer.h.{}.{}", names)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize(
    "recipe", [GPT(window=None, context=64), GPT(window=None, tied=False, hidden=96, eps=1e-2, depth=3, context=32)]
)
def test_logits_agree_with_gpt2_where_all_layers_are_dense(recipe, dtype, tolerance):
    model = lively(recipe, dtype)
    other = gpt2(model)
    torch.testing.assert_close(model(ids()).logits, other(ids()).logits, atol=tolerance, rtol=tolerance)
    mask = torch.ones(2, TIME, dtype=torch.bool)
    mask[0, :6] = False
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    theirs = other(ids(), attention_mask=mask.long(), position_ids=positions).logits
    torch.testing.assert_close(model(ids(), mask=mask).logits[mask], theirs[mask], atol=tolerance, rtol=tolerance)


def test_logits_agree_with_gpt_neo_where_every_second_layer_is_banded():
    model = lively(GPT(window=5, depth=4, context=64))
    config = GPTNeoConfig(
        vocab_size=VOCAB,
        max_position_embeddings=64,
        hidden_size=64,
        num_layers=4,
        num_heads=4,
        attention_types=[[["global", "local"], 2]],
        window_size=5,
        resid_dropout=0.0,
    )
    with torch.random.fork_rng():
        other = GPTNeoForCausalLM(config)
    with torch.no_grad():
        for block in model.blocks:  # it has no such biases
            for projection in (block.mixer.q_proj, block.mixer.k_proj, block.mixer.v_proj):
                projection.bias = None

    def names(block):
        mixer, at = block.mixer, "attn.attention."
        return {
            "ln_1": ([block.mixer_norm], False),
            "ln_2": ([block.channel_norm], False),
            **{f"{at}{x}_proj": ([getattr(mixer, f"{x}_proj")], False) for x in "qkv"},
            f"{at}out_proj": ([mixer.o_proj], False),
            "mlp.c_fc": ([block.channel.up_proj], False),
            "mlp.c_proj": ([block.channel.down_proj], False),
        }

    other = filled(other, model, "transformer.h.{}.{}", names)
    with torch.no_grad():
        for block in other.transformer.h:
            block.attn.attention.q_proj.weight.div_(4.0)  # it does not divide scores by the root of the head width
    # it computes scores in float32
    torch.testing.assert_close(model(ids()).logits, other(ids()).logits, atol=1e-4, rtol=1e-4)


# The band


@pytest.mark.parametrize("size", [1, 3, 7, TIME])
def test_a_narrow_band_obeys_the_law_with_padding_anywhere(size):
    model, tokens = lively(GPT(window=5, depth=4)), ids(4)
    for mask in (None, ragged()):
        whole, logits, state = model(tokens, mask=mask).logits, [], None
        for start in range(0, TIME, size):
            span = slice(start, start + size)
            out = model(tokens[:, span], mask=None if mask is None else mask[:, span], state=state, keep_state=True)
            logits.append(out.logits)
            state = out.state
        seen = slice(None) if mask is None else mask
        torch.testing.assert_close(torch.cat(logits, 1)[seen], whole[seen], **EXACT)


def test_a_narrow_band_counts_tokens_and_not_padding():
    model, tokens, mask = lively(GPT(window=5, depth=4)), ids(4), ragged()
    logits = model(tokens, mask=mask).logits
    for row in range(4):
        alone = model(tokens[row : row + 1, mask[row]]).logits
        torch.testing.assert_close(logits[row][mask[row]], alone[0], **EXACT)


@pytest.mark.parametrize("padded", [False, True])
def test_a_narrow_band_ends_where_a_document_begins(padded):
    model, tokens = lively(GPT(window=5, depth=4)), ids(2)
    segments = torch.tensor([[0] * 6 + [1] * 10 + [2] * 7, [5] * 9 + [2] * 1 + [5] * 13])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    if padded:
        mask[0, 4:8] = mask[1, -2:] = False
    logits = model(tokens, segments=segments, mask=mask).logits
    for row, spans in enumerate([[(0, 6), (6, 16), (16, 23)], [(0, 9), (9, 10), (10, 23)]]):
        for start, stop in spans:
            keep = mask[row, start:stop]
            alone = model(tokens[row : row + 1, start:stop][:, keep]).logits[0]
            torch.testing.assert_close(logits[row, start:stop][keep], alone, **EXACT)


def test_a_narrow_band_reads_a_tree_in_one_pass():
    model, tokens, prefix = lively(GPT(window=3, depth=4)), ids(1), 8
    state = model(tokens[:, :prefix], keep_state=True).state
    a, b = ids(1, 3, seed=7), ids(1, 2, seed=8)
    visible = torch.zeros(1, 1, 5, prefix + 5, dtype=torch.bool)
    visible[..., :prefix] = True
    visible[0, 0, :3, prefix : prefix + 3] = torch.ones(3, 3).tril().bool()
    visible[0, 0, 3:, prefix + 3 :] = torch.ones(2, 2).tril().bool()
    positions = torch.tensor([[8, 9, 10, 8, 9]])
    out = model(torch.cat((a, b), 1), mask=visible, positions=positions, state=state, keep_state=True)
    expected = [model(torch.cat((tokens[:, :prefix], line), 1)).logits[:, prefix:] for line in (a, b)]
    torch.testing.assert_close(out.logits, torch.cat(expected, 1), **EXACT)
    kept = out.state.gather(torch.tensor([[False, False, False, True, True]]))
    new = ids(1, 4, seed=9)
    whole = torch.cat((tokens[:, :prefix], b, new), 1)
    torch.testing.assert_close(model(new, state=kept).logits, model(whole).logits[:, -4:], **EXACT)


def test_a_narrow_band_goes_on_in_stretches_of_layers():
    model, tokens = lively(GPT(window=3, depth=4)), ids()
    whole = model(tokens).logits
    stream, state = model.go_on(0, 2, ids=tokens[:, :9])
    stream, state = model.go_on(2, 4, hidden=stream, state=state)
    torch.testing.assert_close(model.read_out(stream), whole[:, :9], **EXACT)
    stream, state = model.go_on(0, 2, ids=tokens[:, 9:], state=state)
    stream, state = model.go_on(2, 4, hidden=stream, state=state)
    torch.testing.assert_close(model.read_out(stream), whole[:, 9:], **EXACT)


def test_a_banded_layer_sees_its_window_and_a_dense_one_everything():
    model = lively(GPT(window=3))
    x = torch.randn(1, 9, 64, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    seen = []
    for block in model.blocks:
        given = x.clone().requires_grad_()
        y = block.mixer.parallel(given, Context(None, torch.arange(9)[None], 9))
        (grad,) = torch.autograd.grad(y[0, 7].sum(), given)
        seen.append((grad[0].abs().amax(-1) > 0).nonzero()[:, 0].tolist())
    assert seen == [[0, 1, 2, 3, 4, 5, 6, 7], [5, 6, 7]]


def test_a_band_as_long_as_the_text_is_none():
    dense = lively(GPT(window=None))(ids()).logits
    assert torch.equal(lively(GPT(window=TIME))(ids()).logits, dense)
    assert (lively(GPT(window=TIME - 1))(ids()).logits - dense).abs().max() > 1e-6
    assert (lively(GPT(window=5))(ids()).logits - dense).abs().max() > 1e-3


@pytest.mark.parametrize("window", [1, 5, 16, 100])
@pytest.mark.parametrize("time", [1, 5, TIME, 48])
def test_declared_flops_are_measured_whatever_the_band(window, time):
    model = GPT(window=window).build(VOCAB)
    assert count_flops(lambda: model(ids(2, time))) == 2 * model.flops(time)


def test_the_band_makes_the_cost_grow_with_the_length_alone():
    model = GPT(window=16, depth=2).build(VOCAB)
    mixer = model.blocks[1].mixer
    assert mixer.flops(2048) / 2048 == pytest.approx(mixer.flops(512) / 512, rel=0.02)
    packed = torch.arange(512).expand(2, -1) // 100  # no more with documents
    facts = [Context(None, torch.arange(512)[None], 512, segments=segments) for segments in (None, packed)]
    plain, cut = (count_flops(lambda ctx=ctx: mixer.parallel(torch.zeros(2, 512, 64), ctx)) for ctx in facts)
    assert plain <= cut < 1.05 * plain


# Positions


def test_positions_are_rows_of_a_table_added_once():
    model = lively(GPT(context=64))
    order = torch.randperm(TIME, generator=torch.Generator().manual_seed(3)) + 20
    expected = model(ids(), positions=order.expand(2, -1)).logits
    with torch.no_grad():
        model.position.table.weight[:TIME] = model.position.table.weight[order].clone()
    torch.testing.assert_close(model(ids()).logits, expected, **EXACT)
    with model.capture("embed", "blocks.0.in") as seen:
        model(ids())
    added = seen["blocks.0.in"] - seen["embed"]
    torch.testing.assert_close(added, model.position.table.weight[:TIME].expand(2, -1, -1), **EXACT)


def test_the_context_is_a_limit_to_positions_and_not_to_padding():
    model = GPT(context=8).build(VOCAB)
    mask = torch.ones(1, 10, dtype=torch.bool)
    mask[0, :2] = False
    model(ids(1, 8))
    model(ids(1, 10), mask=mask)
    with pytest.raises(ValueError, match="more than the 8 positions"):
        model(ids(1, 9))
    with pytest.raises(ValueError, match=r"position 8 is not among the 8 that were learned \(0 to 7\)"):
        model(ids(1, 9), mask=torch.ones(1, 9, dtype=torch.bool))
    with pytest.raises(ValueError, match="position -1 is not among"):
        model(ids(1, 2), positions=torch.tensor([[-1, 0]]))


# What stands in the caveats, and the rest


def test_the_bias_of_the_keys_changes_nothing_and_the_others_do():
    model = lively(GPT())
    plain = model(ids()).logits
    more = torch.linspace(-1.0, 1.0, 64, dtype=torch.float64)
    for name in "qkvo":
        bias = getattr(model.blocks[1].mixer, f"{name}_proj").bias
        with torch.no_grad():
            bias.add_(more)
            change = (model(ids()).logits - plain).abs().max()
            bias.sub_(more)
        assert (change < 1e-9) == (name == "k"), name


def test_a_tied_head_reads_the_embedding_and_a_free_one_does_not():
    tied, free = GPT().build(VOCAB), GPT(tied=False).build(VOCAB)
    assert tied.head.weight is tied.embedding.weight
    assert free.head.weight is not free.embedding.weight
    assert sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in tied.parameters()) == VOCAB * 64


def test_the_parameter_count_is_that_of_the_equations():
    width, hidden, depth, context = 64, 96, 3, 50
    model = GPT(hidden=hidden, depth=depth, context=context).build(VOCAB)
    block = 4 * (width**2 + width) + 2 * width * hidden + hidden + width + 2 * 2 * width
    assert sum(p.numel() for p in model.parameters()) == (VOCAB + context) * width + depth * block + 2 * width
    assert GPT().build(VOCAB).blocks[0].channel.up_proj.out_features == 4 * 64


@pytest.mark.parametrize("name", GRID)
def test_the_models_of_the_paper_have_as_many_parameters_as_their_names_say(name):
    recipe, rate = GRID[name]
    with torch.device("meta"):
        model = recipe.build(50257)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == pytest.approx(float(name[:-1]) * {"M": 1e6, "B": 1e9}[name[-1]], rel=0.025)
    assert recipe.context == 2048
    assert 0.6e-4 <= rate <= 6e-4


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"heads": 5}, "multiple of the 5 heads"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"context": 0}, "context must be at least 1"),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"window": 0}, "None makes all layers dense"),
        ({"eps": 0.0}, "eps must be positive"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        GPT(**wrong)
