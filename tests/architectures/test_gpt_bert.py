import math

import pytest
import torch
import torch.nn.functional as F

from trivium.architectures.gpt_bert import DepthWeights, GptBert, RelativePosition
from trivium.core.errors import NotOffered
from trivium.models.export import TriviumForCausalLM
from trivium.models.skeleton import Context
from trivium.models.unembedding import read_off, unembedding
from trivium.nn.relative_attention import log_buckets

VOCAB, TIME = 41, 19
EXACT = {"atol": 1e-9, "rtol": 0}


def ids(batch=2, time=TIME, seed=0):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(seed))


def lively(recipe, seed=1):
    """Every parameter shows: matrices are large, gains, biases and depth weights have left their start."""
    model = recipe.build(VOCAB, seed=seed).double().eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
            else:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64))
    return model


def everything(batch=2, time=TIME):
    return torch.ones(batch, 1, time, time, dtype=torch.bool)


def norm(x, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()


def by_hand(model, tokens, both_ways):
    """The equations, pair by pair, for one row: (time, vocab)."""
    recipe, time = model.recipe, len(tokens)
    width, heads = recipe.width, recipe.heads
    d, top = width // heads, recipe.buckets - 1
    table = norm(model.position.table.weight, recipe.eps) * model.position.gain + model.position.bias
    y = norm(model.embedding.weight[tokens], recipe.eps)
    streams = [y]

    def settle(new, weights):
        streams.append(new)
        return new if weights is None else sum(a * x for a, x in zip(weights.weight, streams, strict=True))

    for block in model.blocks:
        first, second = block.averages or (None, None)
        x, mixer = norm(y, recipe.eps), block.mixer
        q, k = (x @ mixer.qk_proj.weight.T).chunk(2, -1)
        qp, kp = (table @ mixer.qk_proj.weight.T).chunk(2, -1)
        v, g = (x @ mixer.vg_proj.weight.T).chunk(2, -1)
        z = torch.zeros(time, width, dtype=torch.float64)
        for head in range(heads):
            at = slice(head * d, (head + 1) * d)
            for t in range(time):
                seen = range(time) if both_ways else range(t + 1)
                i = [int(log_buckets(torch.tensor(t - s), recipe.buckets, recipe.reach)) + top for s in seen]
                scores = torch.stack(
                    [q[t, at] @ k[s, at] + q[t, at] @ kp[i[s], at] + qp[i[s], at] @ k[s, at] for s in seen]
                )
                z[t, at] = (scores / math.sqrt(3 * d)).softmax(0) @ v[: len(scores), at]
        y = settle(y + norm(z * F.gelu(g), recipe.eps) @ mixer.out_proj.weight.T, first)
        u, g = (norm(y, recipe.eps) @ block.channel.in_proj.weight.T).chunk(2, -1)
        curve = 0.5 * g * (1 + (math.sqrt(2 / math.pi) * (g + 0.044715 * g**3)).tanh())
        y = settle(y + norm(u * curve, recipe.eps) @ block.channel.out_proj.weight.T, second)
    h = norm(F.gelu(norm(y, recipe.eps) @ model.norm.proj.weight.T), recipe.eps)
    return h @ model.embedding.weight.T + model.head.bias


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize(
    "recipe",
    [
        GptBert(width=12, heads=3, hidden=8),
        GptBert(width=12, heads=2, depth=3, buckets=8, reach=9, eps=1e-2),
        GptBert(width=12, heads=1, depth_weights=False),
    ],
)
def test_the_equations_by_hand(recipe, both_ways):
    model, tokens = lively(recipe), ids(1, 14)
    got = model(tokens, mask=everything(1, 14) if both_ways else None).logits[0]
    torch.testing.assert_close(got, by_hand(model, tokens[0], both_ways), atol=1e-9, rtol=1e-9)


def test_every_setting_changes_the_logits():
    recipes = [GptBert(), GptBert(buckets=8), GptBert(buckets=8, reach=12), GptBert(eps=1e-2), GptBert(hidden=40)]
    logits = [lively(recipe)(ids()).logits for recipe in (*recipes, GptBert(depth_weights=False))]
    for index, one in enumerate(logits):
        assert all((one - other).abs().max() > 1e-4 for other in logits[:index])


# Causal and both ways ---------------------------------------------------------------------------------------------


def test_each_row_may_look_its_own_way():
    model, tokens = lively(GptBert()), ids()
    mask = everything()
    mask[0] = mask[0].tril()
    mixed = model(tokens, mask=mask).logits
    torch.testing.assert_close(mixed[0], model(tokens).logits[0], **EXACT)
    torch.testing.assert_close(mixed[1], model(tokens, mask=everything()).logits[1], **EXACT)
    assert (mixed[0] - model(tokens, mask=everything()).logits[0]).abs().max() > 1e-3


def test_what_is_ahead_and_what_is_behind_are_told_apart():
    """A row read backwards gives other logits than the logits backwards: distances have a sign."""
    model, tokens = lively(GptBert()), ids()
    there, back = (model(given, mask=everything()).logits for given in (tokens, tokens.flip(1)))
    assert (there - back.flip(1)).abs().max() > 1e-3
    with torch.no_grad():  # until both signs have one vector
        table = model.position.table.weight
        table.copy_((table + table.flip(0)) / 2)
    there, back = (model(given, mask=everything()).logits for given in (tokens, tokens.flip(1)))
    torch.testing.assert_close(there, back.flip(1), **EXACT)


def test_shifting_every_position_changes_nothing():
    model, positions = lively(GptBert()), torch.arange(TIME).expand(2, TIME)
    plain = model(ids(), positions=positions).logits
    torch.testing.assert_close(model(ids(), positions=positions + 1000).logits, plain, **EXACT)
    assert (model(ids(), positions=positions * 2).logits - plain).abs().max() > 1e-3


def test_beyond_their_reach_distances_are_alike():
    """Tokens at 0, 20 and 40 or 0, 30 and 400, with a reach of 12."""
    model = lively(GptBert(buckets=8, reach=12))
    near, far, middle = (
        model(ids(1, 3), positions=torch.tensor([at])).logits for at in ([0, 20, 40], [0, 30, 400], [0, 20, 25])
    )
    torch.testing.assert_close(near, far, **EXACT)
    assert (near - middle).abs().max() > 1e-4


# States -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 7])
def test_with_depth_weights_that_have_moved_chunks_and_steps_equal_the_whole(size):
    """The contract's models average nothing yet."""
    model, tokens = lively(GptBert(depth=3)), ids(3)
    mask = torch.ones(3, TIME, dtype=torch.bool)
    mask[0, :5] = mask[1, 8:10] = False
    logits, state = [], None
    for start in range(0, TIME, size):
        span = slice(start, start + size)
        out = model(tokens[:, span], mask=mask[:, span], state=state, keep_state=True)
        logits.append(out.logits)
        state = out.state
    torch.testing.assert_close(torch.cat(logits, 1)[mask], model(tokens, mask=mask).logits[mask], **EXACT)


def test_where_the_tokens_of_a_state_stand_is_remembered():
    """A tree two levels deep, of which nothing is dropped between the levels: siblings share a position."""
    model, prefix = lively(GptBert()), ids(1, 8)
    a, b = ids(1, 2, seed=7), ids(1, 2, seed=8)
    state = model(prefix, keep_state=True).state
    for level in range(2):
        new = torch.stack((a[0, level], b[0, level]))[None]
        mask = torch.ones(1, 1, 2, 8 + 2 * (level + 1), dtype=torch.bool)
        mask[0, 0, 0, 9::2] = mask[0, 0, 1, 8::2] = False  # a and b take turns and do not see each other
        out = model(new, mask=mask, positions=torch.full((1, 2), 8 + level), state=state, keep_state=True)
        state = out.state
        for place, line in enumerate((a, b)):
            whole = torch.cat((prefix, line[:, : level + 1]), 1)
            torch.testing.assert_close(out.logits[:, place], model(whole).logits[:, -1], **EXACT)
    assert state.next_position.tolist() == [10]
    kept = state.gather(torch.tensor([[False, True, False, True]]))
    more = ids(1, 3, seed=9)
    expected = model(torch.cat((prefix, b, more), 1)).logits[:, -3:]
    torch.testing.assert_close(model(more, state=kept).logits, expected, **EXACT)


# Depth weights ----------------------------------------------------------------------------------------------------


def test_at_first_depth_weights_are_the_plain_residual_network():
    weighted, plain = (GptBert(depth_weights=flag).build(VOCAB, seed=1).double() for flag in (True, False))
    shared = dict(plain.named_parameters())
    own = dict(weighted.named_parameters())
    assert all(torch.equal(own[path], tensor) for path, tensor in shared.items())
    assert sum(own[path].numel() for path in own.keys() - shared.keys()) == 2 + 3 + 4 + 5
    assert torch.equal(weighted(ids()).logits, plain(ids()).logits)
    assert torch.equal(weighted(ids(), mask=everything()).logits, plain(ids(), mask=everything()).logits)


def test_depth_weights_are_no_matrices_that_decay():
    assert all(
        parameter.ndim == 1 for path, parameter in GptBert().build(VOCAB).named_parameters() if "averages" in path
    )


def test_ranges_of_layers_are_offered_without_depth_weights_only():
    plain, weighted = lively(GptBert(depth_weights=False)), lively(GptBert())
    with plain.capture("blocks.0.in", "final.norm") as seen:
        plain(ids())
    hidden = plain.layers(1, 2, plain.layers(0, 1, seen["blocks.0.in"]))
    torch.testing.assert_close(plain.norm(hidden), seen["final.norm"], **EXACT)
    assert "layers" not in weighted.offers
    with pytest.raises(NotOffered, match="no range of layers"):
        weighted.layers(0, 1, hidden)
    with pytest.raises(NotOffered, match="layers"), weighted.skipping([0]):
        pass


def test_a_layer_that_was_left_out_is_noticed():
    weights, ctx = DepthWeights(3), Context(None, torch.arange(2)[None], 2)
    ctx.streams.append(torch.zeros(1, 2, 4))
    with pytest.raises(ValueError, match="weights for 3 streams met 2"):
        weights(torch.zeros(1, 2, 4), ctx)


# The ends ---------------------------------------------------------------------------------------------------------


def test_the_head_is_a_matrix_that_others_can_read():
    model = lively(GptBert())
    out = model(ids())
    torch.testing.assert_close(read_off(out.hidden, unembedding(model, "the test")), out.logits, **EXACT)
    assert model.head.weight is model.embedding.weight
    assert model.head.bias.shape == (VOCAB,)


def test_transformers_get_the_same_logits():
    model = lively(GptBert())
    theirs = TriviumForCausalLM.wrap(model)
    torch.testing.assert_close(theirs(ids(), use_cache=False).logits, model(ids()).logits, atol=0, rtol=0)
    both = theirs(ids(), attention_mask=everything(), use_cache=False).logits
    torch.testing.assert_close(both, model(ids(), mask=everything()).logits, atol=0, rtol=0)


def test_padding_under_autocast_and_half_precision_stays_finite():
    model, mask = GptBert().build(VOCAB), torch.ones(2, TIME, dtype=torch.bool)
    mask[0, :4] = False
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(ids(), mask=mask, keep_state=True)
        out.logits.float().square().sum().backward()
        again = model(ids(2, 1), state=out.state).logits
    assert out.logits.isfinite().all()
    assert again.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    half = GptBert().build(VOCAB).bfloat16()(ids(), mask=mask).logits
    assert half.dtype == torch.bfloat16
    assert half.isfinite().all()


def test_the_size_of_embeddings_does_not_matter_below_the_head():
    model = lively(GptBert(eps=1e-12))
    embeds = model.embed(ids())
    torch.testing.assert_close(model(embeds=7 * embeds).logits, model(embeds=embeds).logits, atol=1e-8, rtol=0)


def test_initial_values_are_those_of_the_authors():
    """Deviations within four standard errors, but for what the cut takes: at two deviations it leaves 0.8796."""
    width, hidden = 192, 320
    model = GptBert(width=width, hidden=hidden, depth=3).build(VOCAB)
    spread = math.sqrt(2 / (5 * width))
    factors = {"mixer": [1.0] * 3, "channel": [math.sqrt(1 / (2 * (1 + layer))) for layer in range(3)]}
    seen = [(model.norm.proj.weight, 1.0)]
    for part, scale in factors.items():
        for layer, block in enumerate(model.blocks):
            seen += [(weight, scale[layer]) for weight in getattr(block, part).parameters()]
    assert len(seen) == 1 + 3 * 3 + 3 * 2
    for weight, factor in seen:
        assert weight.abs().max() <= 2 * spread * factor * (1 + 1e-6)
        assert weight.std().item() == pytest.approx(0.8796 * spread * factor, rel=4 / math.sqrt(2 * weight.numel()))
        assert abs(weight.mean().item()) < 4 * spread * factor / math.sqrt(weight.numel())


def test_the_parameter_count_is_that_of_the_equations():
    width, hidden, depth, buckets = 64, 256, 2, 32
    model = GptBert().build(VOCAB)
    block = 5 * width * width + 3 * width * hidden
    ends = VOCAB * width + VOCAB + width * width
    positions = (2 * buckets - 1) * width + 2 * width
    averages = sum(range(2, 2 * depth + 2))
    assert sum(p.numel() for p in model.parameters()) == depth * block + ends + positions + averages


def test_a_mixer_without_positions_says_so():
    model = GptBert().build(VOCAB)
    assert isinstance(model.position, RelativePosition)
    model.position = None
    with pytest.raises(ValueError, match="put RelativePosition in the position slot"):
        model(ids())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"heads": 5}, "width 64 must be a multiple of the 5 heads"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"width": 0}, "width must be at least 1"),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"buckets": 1}, "buckets must be at least 2"),
        ({"reach": 17}, "reach more than half of them plus 1, got 32 and 17"),
        ({"eps": 0.0}, "eps must be positive"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        GptBert(**wrong)
