from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from transformers import BertConfig, BertForMaskedLM

from trivium.architectures.flexibert import EncoderLayer, FlexiBERT, Space
from trivium.core.errors import NotOffered
from trivium.core.meter import count_flops
from trivium.core.nouns import Stop
from trivium.decoding.greedy import Greedy
from trivium.models.saving import restore, save
from trivium.models.skeleton import Context
from trivium.nn.graphs import dissimilarities
from trivium.nn.spectral import cosine_mix

VOCAB = 41
OPERATIONS = ("sdp", "wma", "dft", "dct", "conv")
EXACT = {"atol": 1e-9, "rtol": 0}


def ids(batch=2, time=13, seed=0):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(seed))


def lively(recipe, dtype=torch.float64):
    """A model in which every part shows, biases and gains too."""
    model = recipe.build(VOCAB, seed=1).to(dtype).eval()
    draws = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=draws, dtype=torch.float64).to(dtype)
            parameter.copy_(parameter * 6 if parameter.ndim > 1 else parameter + 0.3 * noise)
    return model


def of(operation, **changes):
    layer = EncoderLayer(operation, heads=2, kernel=5, hidden=(24,), **changes)
    return FlexiBERT(width=16, layers=(layer,), context=32)


def to_huggingface(model):
    """The same weights in the model of transformers."""
    recipe = model.recipe
    layer = recipe.stack[0]
    with torch.random.fork_rng():
        other = BertForMaskedLM(
            BertConfig(
                vocab_size=VOCAB,
                hidden_size=recipe.width,
                num_hidden_layers=model.depth,
                num_attention_heads=layer.heads,
                intermediate_size=(layer.hidden or (4 * recipe.width,))[0],
                max_position_embeddings=recipe.context,
                layer_norm_eps=recipe.eps,
                pad_token_id=None,
            )
        )
    own, told = dict(model.named_parameters()), {}
    at = "bert.embeddings."
    told[f"{at}word_embeddings.weight"] = own["embedding.weight"]
    told[f"{at}position_embeddings.weight"] = own["position.table.weight"]
    told[f"{at}token_type_embeddings.weight"] = torch.zeros(2, recipe.width)
    norms = {f"{at}LayerNorm": "position.norm", "cls.predictions.transform.LayerNorm": "norm.norm"}
    dense = {"cls.predictions.transform.dense": "norm.dense"}
    for number in range(model.depth):
        there, here = f"bert.encoder.layer.{number}.", f"blocks.{number}."
        norms |= {
            f"{there}attention.output.LayerNorm": f"{here}mixer_norm",
            f"{there}output.LayerNorm": f"{here}channel_norm",
        }
        dense |= {f"{there}attention.self.{name}": f"{here}mixer.{name[0]}_proj" for name in ("query", "key", "value")}
        dense |= {
            f"{there}attention.output.dense": f"{here}mixer.o_proj",
            f"{there}intermediate.dense": f"{here}channel.up_projs.0",
            f"{there}output.dense": f"{here}channel.down_proj",
        }
    for theirs, ours in norms.items():
        told |= {f"{theirs}.weight": own[f"{ours}.gain"], f"{theirs}.bias": own[f"{ours}.bias"]}
    for theirs, ours in dense.items():
        bias = own.get(f"{ours}.bias", torch.full((recipe.width,), 0.7))  # a bias of the keys changes nothing
        told |= {f"{theirs}.weight": own[f"{ours}.weight"], f"{theirs}.bias": bias}
    told |= {"cls.predictions.bias": own["head.bias"], "cls.predictions.decoder.bias": own["head.bias"]}
    told["cls.predictions.decoder.weight"] = own["embedding.weight"]
    other = other.to(model.dtype).eval()
    missing, unknown = other.load_state_dict({name: tensor.detach() for name, tensor in told.items()}, strict=False)
    assert not unknown
    assert all("position_ids" in name or "token_type_ids" in name for name in missing)
    return other


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_with_one_kind_of_layer_it_is_bert(dtype, tolerance):
    model = lively(FlexiBERT(width=16, depth=3, layers=(EncoderLayer("sdp", heads=2),), context=32), dtype)
    other = to_huggingface(model)
    mask = torch.ones(2, 13, dtype=torch.bool)
    mask[0, 9:] = False
    with torch.no_grad():
        torch.testing.assert_close(model(ids()).logits, other(ids()).logits, atol=tolerance, rtol=tolerance)
        theirs = other(ids(), attention_mask=mask.long()).logits
    torch.testing.assert_close(model(ids(), mask=mask).logits[mask], theirs[mask], atol=tolerance, rtol=tolerance)


def test_multiplicative_attention_with_no_matrix_is_scaled_dot_product():
    plain, other = lively(of("sdp")), lively(of("wma"))
    own = dict(plain.named_parameters())
    with torch.no_grad():
        for path, parameter in other.named_parameters():
            parameter.copy_(own[path] if path in own else torch.zeros_like(parameter))
    torch.testing.assert_close(other(ids()).logits, plain(ids()).logits, **EXACT)
    with torch.no_grad():
        mixer = other.blocks[0].mixer
        mixer.between.normal_(generator=torch.Generator().manual_seed(3))
    x = torch.randn(2, 13, 16, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    got = mixer.parallel(x, Context(None, torch.arange(13)[None], 13))
    q, k, v = (p(x).unflatten(-1, (2, 8)) for p in (mixer.q_proj, mixer.k_proj, mixer.v_proj))
    eye = torch.eye(8, dtype=torch.float64)
    scores = torch.einsum("bthi,hij,bshj->bhts", q, mixer.between + eye, k) / 8**0.5
    by_hand = mixer.o_proj(torch.einsum("bhts,bshd->bthd", scores.softmax(-1), v).flatten(2))
    torch.testing.assert_close(got, by_hand, **EXACT)


def test_a_transform_is_the_transform_and_nothing_else():
    model = lively(of("dft"))
    with model.capture("blocks.0.in", "blocks.0.attn.out") as seen, torch.no_grad():
        model(ids())
    expected = torch.fft.fft2(seen["blocks.0.in"]).real
    torch.testing.assert_close(seen["blocks.0.attn.out"], expected, **EXACT)
    assert not list(model.blocks[0].mixer.parameters())


def test_a_span_is_convolved_with_the_kernels_that_it_makes():
    """Against the equation, place by place."""
    mixer = lively(of("conv")).blocks[0].mixer
    x = torch.randn(1, 9, 16, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    with torch.no_grad():
        near = torch.stack(
            [sum(mixer.depthwise[:, 0, j] * x[0, t + j - 2] for j in range(5) if 0 <= t + j - 2 < 9) for t in range(9)]
        )
        made = mixer.kernels(mixer.q_proj(x[0]) * mixer.pointwise(near)).unflatten(-1, (2, 5)).softmax(-1)
        v = mixer.v_proj(x[0]).unflatten(-1, (2, 8))
        mixed = torch.stack(
            [
                torch.stack(
                    [sum(made[t, h, j] * v[t + j - 2, h] for j in range(5) if 0 <= t + j - 2 < 9) for h in range(2)]
                ).flatten()
                for t in range(9)
            ]
        )
        got = mixer.o_proj(mixer._mix(x))[0]
        torch.testing.assert_close(got, mixer.o_proj(mixed), **EXACT)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_row_and_a_document_give_what_they_give_alone(operation):
    model, tokens = lively(of(operation)), ids(4)
    mask = torch.ones(4, 13, dtype=torch.bool)
    mask[0, :3] = mask[1, -4:] = mask[2, 5:7] = False
    segments = torch.tensor([[0] * 6 + [1] * 7, [4] * 3 + [2] * 10, [0] * 13, [1] * 12 + [2]])
    with torch.no_grad():
        logits, packed = model(tokens, mask=mask).logits, model(tokens, mask=mask, segments=segments).logits
        for row in range(4):
            alone = model(tokens[row : row + 1, mask[row]]).logits[0]
            torch.testing.assert_close(logits[row][mask[row]], alone, **EXACT)
            for number in segments[row].unique():
                inside = mask[row] & (segments[row] == number)
                alone = model(tokens[row : row + 1, inside]).logits[0]
                torch.testing.assert_close(packed[row, inside], alone, **EXACT)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_sees_what_comes_later_and_learns(operation):
    model, tokens = lively(of(operation)), ids()
    changed = tokens.clone()
    changed[:, 7] = (changed[:, 7] + 1) % VOCAB
    moved = (model(tokens).logits - model(changed).logits).abs().amax(-1)
    assert moved[:, 5:10].min() > 1e-6  # a span of 5 reaches two places either way
    assert (moved[:, :5].max() > 1e-6) == (operation != "conv")
    model(tokens).logits.square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("operation", OPERATIONS)
def test_gradients_are_those_of_finite_differences(operation):
    layer = EncoderLayer(operation, heads=2, kernel=3, hidden=(3, 2))
    model = lively(FlexiBERT(width=4, layers=(layer, replace(layer, width=6)), context=8, eps=1e-6))
    embeds = model.embed(ids(1, 4)).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: model(embeds=given).logits, embeds, atol=1e-4)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_declared_operations_are_measured(operation):
    model = of(operation).build(VOCAB)
    tokens = ids(2, 31)
    with torch.no_grad():
        assert count_flops(lambda: model(tokens)) == pytest.approx(2 * model.flops(31), rel=0.01)


def test_layers_of_other_widths_are_joined_and_counted():
    recipe = FlexiBERT(
        width=16,
        layers=(
            EncoderLayer("sdp", heads=2, hidden=(24, 20)),
            EncoderLayer("dct", width=8, hidden=(12,)),
            EncoderLayer("conv", width=8, heads=4, kernel=3),
        ),
        context=32,
    )
    model = lively(recipe)
    attention = 4 * 16**2 + 3 * 16 + 16 * 24 + 24 + 24 * 20 + 20 + 20 * 16 + 16 + 4 * 16
    transform = 16 * 8 + 8 * 12 + 12 + 12 * 8 + 8 + 4 * 8
    span = 4 * (8 * 8 + 8) + 8 * 3 + 8 * 12 + 12 + 8 * 32 + 32 + 32 * 8 + 8 + 4 * 8
    around = VOCAB * 16 + 32 * 16 + 2 * 16 + 8 * 16 + 16 + 2 * 16 + VOCAB
    assert sum(p.numel() for p in model.parameters()) == around + attention + transform + span
    assert [block.join is None for block in model.blocks] == [True, False, True]
    out = model(ids())
    assert out.hidden.shape == (2, 13, 16)
    torch.testing.assert_close(out.logits, model.head(out.hidden))
    with model.capture("blocks.0.out", "blocks.1.in", "blocks.1.mid") as seen:
        model(ids())
    assert seen["blocks.1.in"].shape == (2, 13, 16)
    assert seen["blocks.1.mid"].shape == (2, 13, 8)
    joined = seen["blocks.0.out"] @ model.blocks[1].join.weight.T
    torch.testing.assert_close(seen["blocks.1.mid"], model.blocks[1].mixer_norm(joined + cosine_mix(joined)), **EXACT)


def test_the_feed_forward_is_a_chain():
    model = lively(of("sdp"))
    deep = lively(FlexiBERT(width=16, layers=(EncoderLayer("sdp", heads=2, hidden=(24, 20, 12)),), context=32))
    channel = deep.blocks[0].channel
    x = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    by_hand = x
    for up in channel.up_projs:
        by_hand = F.gelu(by_hand @ up.weight.T + up.bias)
    by_hand = by_hand @ channel.down_proj.weight.T + channel.down_proj.bias
    torch.testing.assert_close(channel(x, None), by_hand)
    assert [up.out_features for up in channel.up_projs] == [24, 20, 12]
    assert len(model.blocks[0].channel.up_projs) == 1


def test_layers_are_taken_in_turn():
    recipe = FlexiBERT(depth=5, layers=(EncoderLayer("sdp"), EncoderLayer("dft")))
    assert [layer.operation for layer in recipe.stack] == ["sdp", "dft", "sdp", "dft", "sdp"]
    assert [layer.operation for layer in FlexiBERT(depth=1).stack] == ["sdp"]
    assert len(FlexiBERT().stack) == 4


def test_a_recipe_with_layers_is_saved(tmp_path):
    model = lively(of("conv"), torch.float32)
    save(model, tmp_path)
    again = restore(tmp_path)
    assert again.recipe == model.recipe
    assert isinstance(again.recipe.layers[0], EncoderLayer)
    assert torch.equal(again(ids()).logits, model(ids()).logits)


def test_a_decoder_refuses_it():
    model = of("dft").build(VOCAB)
    assert "bidirectional" in model.offers
    with pytest.raises(NotOffered, match="causal"):
        Greedy()(model, ids(1, 3), limit=2, generator=torch.Generator(), stop=Stop())
    with pytest.raises(NotOffered, match="cannot go on from a memory"):
        model.blocks[0].mixer.forward_chunk(torch.zeros(1, 2, 16), (), None)


def test_a_position_that_was_not_learned_is_told():
    model = of("sdp").build(VOCAB)
    with pytest.raises(ValueError, match="more than the 32 positions"):
        model(ids(1, 33))
    with pytest.raises(ValueError, match="position 40 is beyond the 32"):
        model(ids(1, 3), positions=torch.tensor([[0, 1, 40]]))


# The design space


def test_graphs_of_equal_encoders_are_equal_and_of_others_are_not():
    layer = EncoderLayer("sdp", heads=4)
    recipes = [
        FlexiBERT(layers=(layer, layer)),
        FlexiBERT(depth=2, layers=(layer,)),  # the same, said otherwise
        FlexiBERT(layers=(layer, replace(layer, heads=2))),
        FlexiBERT(layers=(layer, replace(layer, operation="wma"))),
        FlexiBERT(layers=(layer, replace(layer, operation="dft"))),
        FlexiBERT(layers=(layer, replace(layer, hidden=(256, 256)))),
        FlexiBERT(layers=(layer, replace(layer, width=32))),
        FlexiBERT(layers=(replace(layer, width=32), layer)),
        FlexiBERT(layers=(layer, replace(layer, operation="conv", kernel=5))),
        FlexiBERT(layers=(layer, replace(layer, operation="conv", kernel=13))),
    ]
    distances = dissimilarities([recipe.graph() for recipe in recipes])
    assert float(distances[0, 1]) == 0.0
    others = distances[1:, 1:] + torch.eye(9)
    assert others.min() > 1e-3
    assert distances[0, 5] < distances[0, 3]  # another feed-forward is nearer than another operation
    assert distances[8, 9] < distances[0, 9]  # another kernel is nearer than attention with as many heads


def test_heads_are_blocks_of_their_own_and_a_transform_is_one():
    graph = FlexiBERT(layers=(EncoderLayer("sdp", heads=4), EncoderLayer("dft", width=32))).graph()
    assert graph.labels.count("attention/sdp/16") == 4
    assert graph.labels.count("transform/dft/32") == 1
    assert graph.labels.count("join/32") == 1
    assert graph.labels.count("add and norm") == 4
    assert (graph.labels[0], graph.labels[-1]) == ("input", "output")
    fed = {b for _, b in graph.edges}
    feeds = {a for a, _ in graph.edges}
    assert fed == set(range(1, len(graph.labels)))
    assert feeds == set(range(len(graph.labels) - 1))


def test_a_space_lists_stacks_and_what_is_around_an_encoder():
    layers = (EncoderLayer("sdp"), EncoderLayer("dft"), EncoderLayer("conv"))
    space = Space(layers, depths=(2, 4), base=FlexiBERT(context=64))
    stacks = list(space.stacks())
    assert len(stacks) == len(set(stacks)) == 3 + 9
    assert all(recipe.stack[0] == recipe.stack[1] for recipe in stacks)
    assert all(recipe.context == 64 for recipe in stacks)
    around = list(space.around(stacks[-1]))
    assert len(around) == len(set(around)) == 4 * 2
    for recipe in around:
        assert sum(a != b for a, b in zip(recipe.stack, stacks[-1].stack, strict=True)) == 1
    assert len(list(space.stacks(1))) == 9 + 81
    with pytest.raises(ValueError, match="no whole number of stacks"):
        list(space.stacks(3))
    with pytest.raises(ValueError, match="needs layers"):
        Space(())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"operation": "fft"}, "operation must be one of"),
        ({"kernel": 4}, "kernel must be odd"),
        ({"heads": 0}, "heads must be at least 1"),
        ({"width": 0}, "width must be at least 1"),
        ({"hidden": ()}, "hidden must be one or more"),
        ({"hidden": (8, 0)}, "hidden must be one or more"),
    ],
)
def test_impossible_layers_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        EncoderLayer(**wrong)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"layers": ()}, "one layer at least"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"width": 30}, "layer 0: width 30 must be a multiple of the 4 heads"),
        ({"layers": (EncoderLayer("dft", width=30), EncoderLayer("conv", width=30))}, "layer 1: width 30"),
        ({"eps": 0.0}, "eps must be positive"),
        ({"context": 0}, "context must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        FlexiBERT(**wrong)


def test_eps_and_width_are_used():
    one, two = (lively(replace(of("sdp"), eps=eps))(ids()).logits for eps in (1e-12, 1e-2))
    assert (one - two).abs().max() > 1e-6
    assert FlexiBERT(width=32).build(VOCAB).embedding.weight.shape == (VOCAB, 32)
