import math

import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM

from trivium.architectures.llama import Llama
from trivium.architectures.mixture_of_experts import MixtureOfExperts, RoutedMLP, active_parameters
from trivium.core.errors import NotOffered
from trivium.core.meter import count_flops
from trivium.core.nouns import Batch
from trivium.models.skeleton import Context
from trivium.models.slots import GatedMLP
from trivium.nn.experts import grouped_experts_reference, seated_experts_reference, top_experts_reference
from trivium.objectives.causal import Causal
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

VOCAB, TIME = 41, 19
EXACT = {"atol": 1e-10, "rtol": 0}
SMALL = {"width": 16, "heads": 2, "hidden": 12}
BY_EXPERTS = {"routing": "experts", "gate_norm": "none"}


def ids(batch=2, time=TIME, seed=0):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(seed))


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def lively(recipe, dtype=torch.float64):
    model = recipe.build(VOCAB, seed=1).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return model


def layer(**changes):
    """One layer of experts in float64, with weights of about 1/2."""
    recipe = MixtureOfExperts(**SMALL | changes)
    part = RoutedMLP(recipe, recipe.hidden).double().eval()
    with torch.no_grad():
        for seed, parameter in enumerate(part.parameters()):
            parameter.copy_(rand(*parameter.shape, seed=seed) / 2)
    return part


def facts(time=TIME, real=None):
    return Context(None, torch.arange(time)[None], time, real=real)


def ragged():
    mask = torch.ones(2, TIME, dtype=torch.bool)
    mask[0, :5] = mask[1, -4:] = False
    return mask


# Off


@pytest.mark.parametrize(
    "settings", [{}, {"kv_heads": 2, "layout": "half", "base": 500.0, "tied": False, "hidden": 24}]
)
def test_one_expert_is_the_dense_decoder_exactly(settings):
    one, dense = lively(MixtureOfExperts(experts=1, top_k=1, **settings)), lively(Llama(**settings))
    assert torch.equal(one(ids()).logits, dense(ids()).logits)
    assert one.auxiliary == {}
    assert one.flops(TIME) == dense.flops(TIME)
    shared = lively(MixtureOfExperts(experts=1, top_k=1, shared=2, hidden=24))
    assert torch.equal(shared(ids()).logits, lively(Llama(hidden=72))(ids()).logits)


def dense_like(part, expert=0):
    """The dense feed-forward with the weights of one expert."""
    dense = GatedMLP(16, 12).double()
    with torch.no_grad():
        for name in ("gate_proj", "up_proj", "down_proj"):
            getattr(dense, name).weight.copy_(getattr(part, name)[expert])
    return dense


@pytest.mark.parametrize("norm", ["topk", "none"])
def test_routed_to_one_expert_alone_is_the_dense_layer_too(norm):
    """Its only probability is 1, by either norm."""
    part, x = layer(experts=1, top_k=1, gate_norm=norm), rand(2, TIME, 16, seed=9)
    torch.testing.assert_close(part(x, facts()), dense_like(part)(x, facts()), atol=1e-13, rtol=0)


def test_experts_that_are_all_alike_are_the_dense_layer():
    part, x = layer(), rand(2, TIME, 16, seed=9)
    with torch.no_grad():
        for weight in part.experts:
            weight.copy_(weight[:1].clone().expand_as(weight))
    torch.testing.assert_close(part(x, facts()), dense_like(part)(x, facts()), atol=1e-12, rtol=0)


def test_nothing_but_the_feed_forward_differs_from_the_baseline():
    settings = {"kv_heads": 2, "layout": "half", "base": 500.0, "eps": 1e-3}
    model, base = lively(MixtureOfExperts(**settings)), lively(Llama(**settings))
    with torch.no_grad():
        for routed, dense in zip(model.blocks, base.blocks, strict=True):
            routed.channel.down_proj.zero_()
            dense.channel.down_proj.weight.zero_()
    assert torch.equal(model(ids()).logits, base(ids()).logits)


# On


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"top_k": 3, "gate_norm": "none"},
        {"top_k": 1, "gate_norm": "none", "experts": 4},
        {"shared": 2, "top_k": 8},
    ],
)
def test_the_layer_equals_the_loop_over_tokens(settings):
    part, x = layer(**settings), rand(2, TIME, 16, seed=9)
    rows = x.flatten(0, 1)
    gates, chosen = top_experts_reference(
        rows @ part.router.weight.T, part.k, normalised=part.recipe.gate_norm == "topk"
    )
    expected = grouped_experts_reference(rows, gates, chosen, *part.experts).view_as(x)
    if settings.get("shared"):
        gate, up, down = (getattr(part.shared, f"{name}_proj").weight for name in ("gate", "up", "down"))
        assert gate.shape == (24, 16)  # two of 12
        expected = expected + (torch.nn.functional.silu(x @ gate.T) * (x @ up.T)) @ down.T
    torch.testing.assert_close(part(x, facts()), expected, **EXACT)


def test_experts_can_change_places_with_their_columns_of_the_router():
    part, other, x = layer(), layer(), rand(2, TIME, 16, seed=9)
    order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    with torch.no_grad():
        other.router.weight.copy_(part.router.weight[order])
        for a, b in zip(other.experts, part.experts, strict=True):
            a.copy_(b[order])
    torch.testing.assert_close(other(x, facts()), part(x, facts()), **EXACT)


def test_the_first_layers_stay_dense_where_asked():
    model = MixtureOfExperts(depth=3, dense=2, shared=1).build(VOCAB)
    assert [type(block.channel) for block in model.blocks] == [GatedMLP, GatedMLP, RoutedMLP]
    assert model.blocks[0].channel.down_proj.in_features == 3 * 64  # as wide as the three that a token passes
    assert set(model.eval()(ids()).aux) == {"load.2"}


@pytest.mark.parametrize("passed", [{"top_k": 2}, {"top_k": 3, "shared": 1}, {"top_k": 4}])
def test_a_token_passes_as_much_as_in_the_dense_decoder(passed):
    model, base = MixtureOfExperts(**passed).build(VOCAB), Llama().build(VOCAB)
    routers = sum(block.channel.router.weight.numel() for block in model.blocks)
    dense = sum(parameter.numel() for parameter in base.parameters())
    assert active_parameters(model) == dense + routers
    assert active_parameters(base) == dense
    whole = sum(parameter.numel() for parameter in model.parameters())
    matrices = 3 * 64 * model.blocks[0].channel.gate_proj.shape[1]
    assert whole - active_parameters(model) == 2 * (8 - passed["top_k"]) * matrices


def test_the_router_learns_through_the_gates():
    for settings in ({"top_k": 1, "gate_norm": "none"}, {"top_k": 2}, BY_EXPERTS):
        part = layer(**settings)
        part(rand(2, TIME, 16, seed=9), facts()).square().sum().backward()
        assert part.router.weight.grad.abs().max() > 1e-6, settings


def test_the_router_scores_in_float32_whatever_the_model():
    model = MixtureOfExperts().build(VOCAB).bfloat16()
    with model.capture("blocks.0.mlp.router", "blocks.0.mlp.norm") as seen:
        assert model(ids()).logits.dtype == torch.bfloat16
    wide = seen["blocks.0.mlp.norm"].float() @ model.blocks[0].channel.router.weight.float().T
    assert torch.equal(seen["blocks.0.mlp.router"], wide)
    exact = MixtureOfExperts().build(VOCAB)
    with torch.autocast("cpu", torch.bfloat16), exact.capture("blocks.0.mlp.router") as seen:
        exact(ids())
    assert seen["blocks.0.mlp.router"].dtype == torch.float32


# What is declared


@pytest.mark.parametrize(
    "settings",
    [{}, {"top_k": 1, "gate_norm": "none"}, {"top_k": 5, "shared": 2, "dense": 1}, {"experts": 3}, BY_EXPERTS],
)
@pytest.mark.parametrize("time", [TIME, 64])
def test_flops_of_active_experts_are_exact(settings, time):
    model = MixtureOfExperts(**settings).build(VOCAB).eval()
    assert count_flops(lambda: model(ids(1, time))) == model.flops(time)


def test_flops_do_not_depend_on_where_tokens_go():
    """Or a count that is made once per shape would not hold for the next batch."""
    model = lively(MixtureOfExperts())
    counts = {count_flops(lambda seed=seed: model(ids(3, seed=seed))) for seed in range(3)}
    assert counts == {3 * model.flops(TIME)}
    assert len({model(ids(3, seed=seed)).aux["load.0"].tolist()[0] for seed in range(3)}) > 1


# Who depends on whom


@pytest.mark.parametrize("settings", [{"top_k": 1, "gate_norm": "none"}, {"top_k": 3, "shared": 1, "capacity": 0.5}])
def test_served_all_a_row_hangs_neither_on_padding_nor_on_other_rows(settings):
    model, tokens, mask = lively(MixtureOfExperts(**settings)), ids(), ragged()
    assert {"causal", "state", "tree"} <= model.offers
    logits = model(tokens, mask=mask).logits
    for row in range(2):
        alone = model(tokens[row : row + 1, mask[row]]).logits[0]
        torch.testing.assert_close(logits[row, mask[row]], alone, **EXACT)


def test_with_a_seat_for_everyone_capacity_changes_nothing():
    free, full = lively(MixtureOfExperts()).train(), lively(MixtureOfExperts(capacity=4.0)).train()
    for mask in (None, ragged()):
        got, expected = full(ids(), mask=mask), free(ids(), mask=mask)
        real = torch.ones(2, TIME, dtype=torch.bool) if mask is None else mask
        torch.testing.assert_close(got.logits[real], expected.logits[real], **EXACT)
        assert got.aux["dropped.0"] == 0


def test_capacity_lets_the_rest_pass_by():
    """One token and one expert's seat: of three like tokens the first is served, the others give zeros."""
    part = layer(experts=4, top_k=1, gate_norm="none", capacity=1.0).train()
    x = rand(1, 1, 16, seed=9).expand(1, 3, 16).contiguous()
    y = part(x, facts(3))
    torch.testing.assert_close(y[:, :1], part.eval()(x[:, :1], facts(1)), **EXACT)
    assert y[:, 1:].abs().max() == 0


def test_capacity_in_training_hangs_on_other_tokens_and_evaluation_does_not():
    """What the caveats say: later tokens, other rows and the length decide who is served."""
    part, x = layer(capacity=0.5), rand(2, TIME, 16, seed=9)
    other_rows, later = x.clone(), x.clone()
    other_rows[0] = rand(TIME, 16, seed=10)
    later[1, 10:] = rand(TIME - 10, 16, seed=11)
    for training in (True, False):
        part.train(training)
        plain = part(x, facts())[1]
        for changed, hidden in ((part(other_rows, facts())[1], plain), (part(later, facts())[1, :10], plain[:10])):
            assert bool((changed - hidden).abs().max() > 1e-6) == training
        assert bool((part(x[1:], facts())[0] - plain).abs().max() > 1e-6) == training


def test_padding_takes_no_seat():
    """The two rows' real tokens, with and without padding around them, are served alike."""
    part, mask = layer(capacity=0.75).train(), ragged()
    x = rand(2, TIME, 16, seed=9)
    padded = facts(real=mask)
    y = part(x, padded)
    packed = facts(int(mask.sum()))
    torch.testing.assert_close(y[mask], part(x[mask][None], packed)[0], **EXACT)
    assert padded.aux["dropped.0"] == packed.aux["dropped.0"] > 0


def test_experts_that_choose_are_busy_evenly_and_look_ahead():
    part, x = layer(**BY_EXPERTS, top_k=2, experts=4), rand(2, TIME, 16, seed=9)
    rows = x.flatten(0, 1)
    p = (rows @ part.router.weight.T).softmax(-1)
    seats = math.ceil(2 * 2 * TIME / 4)
    held, token = p.topk(seats, 0)
    expected = seated_experts_reference(rows, token.T, held.T, *part.experts).view_as(x)
    torch.testing.assert_close(part(x, facts()), expected, **EXACT)
    later = x.clone()
    later[:, 12:] = rand(2, TIME - 12, 16, seed=10)
    assert (part(later, facts()) - expected)[:, :12].abs().max() > 1e-3
    mask = ragged()
    alone = part(x[mask][None], facts(int(mask.sum())))[0]
    torch.testing.assert_close(part(x, facts(real=mask))[mask], alone, **EXACT)  # padding is not chosen


def test_experts_that_choose_make_a_model_that_says_it_is_not_causal():
    model = lively(MixtureOfExperts(**BY_EXPERTS))
    assert not {"causal", "state", "tree", "truncate", "gather"} & model.offers
    changed = ids()
    changed[:, 12:] = (changed[:, 12:] + 1) % VOCAB
    assert (model(ids()).logits - model(changed).logits)[:, :12].abs().max() > 1e-3
    with pytest.raises(NotOffered, match="needs 'state'"):
        model(ids(), keep_state=True)
    with pytest.raises(NotOffered, match="needs 'causal'"):
        train(model, Causal(), None, TrainingSettings(steps=1))


# Losses beside the objective


def test_what_a_layer_reports_is_what_the_equations_say():
    part, x, mask = layer(), rand(2, TIME, 16, seed=9), ragged()
    ctx = facts(real=mask)
    part(x, ctx)
    assert set(ctx.aux) == {"load.0"}
    part.train()(x, ctx)
    scores = x @ part.router.weight.T
    p, chosen = scores.softmax(-1), scores.topk(2, -1).indices
    counts = torch.bincount(chosen[mask].flatten(), minlength=8)
    torch.testing.assert_close(ctx.aux["load.0"], (counts / counts.sum()).float())
    torch.testing.assert_close(ctx.aux["z.0"], scores.logsumexp(-1).square(), **EXACT)
    for row in range(2):
        real = mask[row]
        f = torch.bincount(chosen[row, real].flatten(), minlength=8).double() / (2 * real.sum())
        expected = 8 * (f * p[row, real].mean(0)).sum()
        torch.testing.assert_close(ctx.aux["balance.0"][row, real].mean(), expected, **EXACT)


def test_the_balance_can_be_over_the_whole_pass():
    part, x, mask = layer(balance_over="pass").train(), rand(2, TIME, 16, seed=9), ragged()
    ctx = facts(real=mask)
    part(x, ctx)
    scores = x @ part.router.weight.T
    f = torch.bincount(scores.topk(2, -1).indices[mask].flatten(), minlength=8).double() / (2 * mask.sum())
    expected = 8 * (f * scores.softmax(-1)[mask].mean(0)).sum()
    torch.testing.assert_close(ctx.aux["balance.0"][mask].mean(), expected, **EXACT)
    by_rows = facts(real=mask)
    layer().train()(x, by_rows)
    assert (by_rows.aux["balance.0"][mask].mean() - expected).abs() > 1e-3


def test_weights_of_the_losses_are_the_recipes():
    assert MixtureOfExperts(balance=0.5, z_loss=0.25).build(VOCAB).auxiliary == {"balance": 0.5, "z": 0.25}
    assert MixtureOfExperts(**BY_EXPERTS).auxiliary == {"z": 1e-3}


def test_training_with_the_balance_loss_spreads_the_load():
    """The router starts with all tokens on two experts, by a direction that all have in common; its loss alone
    spreads them again."""
    loads = {}
    for weight in (0.0, 1.0):
        model = MixtureOfExperts(**SMALL, depth=1, balance=weight, z_loss=0.0).build(VOCAB)
        with torch.no_grad():
            model.embedding.weight.add_(0.05)
            model.blocks[0].channel.router.weight[:2] += 0.1
        start = model.eval()(ids(8)).aux["load.0"]
        assert start[:2].sum() > 0.95

        class Same:
            def batch(self, step):
                return Batch(ids(8))

        train(model, Causal(), Same(), TrainingSettings(steps=30, learning_rate=1e-2))
        loads[weight] = model.eval()(ids(8)).aux["load.0"]
    entropy = {weight: torch.special.entr(load).sum() for weight, load in loads.items()}
    assert entropy[0.0] < math.log(4)
    assert entropy[1.0] > math.log(6)


# A peer


def to_huggingface(model):
    """The same weights in the model of transformers."""
    recipe = model.recipe
    config = MixtralConfig(
        vocab_size=VOCAB,
        hidden_size=recipe.width,
        intermediate_size=recipe.hidden,
        num_hidden_layers=recipe.depth,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        num_local_experts=recipe.experts,
        num_experts_per_tok=recipe.top_k,
        rms_norm_eps=recipe.eps,
        rope_parameters={"rope_type": "default", "rope_theta": recipe.base},
        tie_word_embeddings=recipe.tied,
        max_position_embeddings=recipe.context,
        output_router_logits=True,
    )
    with torch.random.fork_rng():
        other = MixtralForCausalLM(config).to(model.dtype).eval()
    renamed = {"model.embed_tokens.weight": model.embedding.weight, "model.norm.weight": model.norm.gain}
    renamed["lm_head.weight"] = model.head.weight
    for layer, block in enumerate(model.blocks):
        at = f"model.layers.{layer}."
        renamed |= {f"{at}self_attn.{x}_proj.weight": getattr(block.mixer, f"{x}_proj").weight for x in "qkvo"}
        renamed |= {f"{at}input_layernorm.weight": block.mixer_norm.gain}
        renamed |= {f"{at}post_attention_layernorm.weight": block.channel_norm.gain}
        gate, up, down = block.channel.experts
        renamed |= {f"{at}mlp.gate.weight": block.channel.router.weight, f"{at}mlp.experts.down_proj": down}
        renamed |= {f"{at}mlp.experts.gate_up_proj": torch.cat((gate, up), 1)}
    other.load_state_dict({name: tensor.detach() for name, tensor in renamed.items()})
    return other


@pytest.mark.parametrize("top_k", [2, 3])
def test_logits_agree_with_the_mixtral_of_transformers(top_k):
    recipe = MixtureOfExperts(layout="half", kv_heads=2, top_k=top_k, hidden=24, tied=False, base=500.0)
    model = lively(recipe, torch.float32)
    other, mask = to_huggingface(model), ragged()
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        theirs = other(ids(), attention_mask=mask.long(), position_ids=positions)
    torch.testing.assert_close(model(ids(), mask=mask).logits[mask], theirs.logits[mask], atol=1e-5, rtol=1e-5)
    with model.capture("blocks.0.mlp.router") as seen:
        model(ids(), mask=mask)
    scores = seen["blocks.0.mlp.router"]
    torch.testing.assert_close(scores[mask], theirs.router_logits[0].view_as(scores)[mask], atol=1e-5, rtol=1e-5)


# Misuse


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"heads": 5}, "even number"),
        ({"routing": "token"}, "routing must be one of tokens, experts"),
        ({"gate_norm": "softmax"}, "gate_norm must be one of"),
        ({"balance_over": "batch"}, "balance_over must be one of"),
        ({"top_k": 9}, "top_k must be 1 to the 8 experts"),
        ({"top_k": 0}, "top_k must be"),
        ({"top_k": 1}, "set gate_norm='none'"),
        ({"routing": "experts"}, "set gate_norm='none' beside"),
        ({**BY_EXPERTS, "capacity": 1.0}, "leave capacity None"),
        ({"shared": -1}, "shared must not be negative"),
        ({"dense": 2}, "dense must leave one of the 2 layers"),
        ({"capacity": 0.0}, "None serves every choice"),
        ({"balance": -0.1}, "balance must be at least 0"),
        ({"z_loss": math.inf}, "z_loss must be at least 0"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        MixtureOfExperts(**wrong)
