"""The skeleton with layers of different kinds in one model, and what only it knows."""

import dataclasses

import pytest
import torch
from torch import nn

from trivium.architectures.llama import Llama
from trivium.architectures.transnormer import GatedLinearAttention, TransNormer
from trivium.core.errors import NotOffered
from trivium.models.skeleton import Block, ChannelMixer, Context, Nothing, Residual, Skeleton, StackState, initialise
from trivium.models.slots import Attention, GatedMLP, Head, RMSNorm, RotaryPosition, TokenEmbedding
from trivium.models.state import KeyValueState

VOCAB, WIDTH, TIME = 31, 16, 13
EXACT = {"atol": 1e-9, "rtol": 0}


class Reporting(GatedMLP):
    """A channel mixer that tells how large its output is."""

    def forward(self, x, ctx):
        y = super().forward(x, ctx)
        ctx.aux[f"size.{ctx.layer}"] = y.abs().mean()
        return y


def hybrid(seed=0):
    """Softmax attention above linear attention above softmax attention."""
    linear = TransNormer(width=WIDTH, heads=2, depth=3)

    def block(mixer):
        return Block(RMSNorm(WIDTH), mixer, RMSNorm(WIDTH), Reporting(WIDTH, 24))

    embedding = TokenEmbedding(VOCAB, WIDTH)
    model = Skeleton(
        Llama(width=WIDTH, heads=2),
        vocab_size=VOCAB,
        embedding=embedding,
        position=RotaryPosition(WIDTH // 2, 100.0),
        blocks=[
            block(Attention(WIDTH, 2, 1)),
            block(GatedLinearAttention(linear, 0)),
            block(Attention(WIDTH, 2, 2)),
        ],
        norm=RMSNorm(WIDTH),
        head=Head(WIDTH, VOCAB, tied=embedding),
        seed=seed,
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return model.eval()


def ids(batch=3, time=TIME, seed=0):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(seed))


def padding():
    mask = torch.ones(3, TIME, dtype=torch.bool)
    mask[0, :4] = mask[1, 6:8] = False
    return mask


@pytest.mark.parametrize("size", [1, 3, 7, TIME])
def test_layers_of_both_sorts_obey_the_law_together(size):
    model, tokens, mask = hybrid(), ids(), padding()
    logits, state = [], None
    for start in range(0, TIME, size):
        span = slice(start, start + size)
        out = model(tokens[:, span], mask=mask[:, span], state=state, keep_state=True)
        logits.append(out.logits)
        state = out.state
    torch.testing.assert_close(torch.cat(logits, 1)[mask], model(tokens, mask=mask).logits[mask], **EXACT)
    assert isinstance(state, StackState)
    assert state.lengths.tolist() == mask.sum(1).tolist()
    assert state.bytes() == 3 * model.state_bytes(TIME)


def test_a_mixed_state_is_a_value_that_can_be_selected():
    model, tokens, mask = hybrid(), ids(), padding()
    state = model(tokens, mask=mask, keep_state=True).state
    new = ids(2, 3, seed=4)
    picked = state.select(torch.tensor([2, 0]))
    first, again = (model(new, state=picked, keep_state=True).logits for _ in range(2))
    assert torch.equal(first, again)
    for index, row in enumerate((2, 0)):
        alone = model(torch.cat((tokens[row, mask[row]], new[index]))[None]).logits[0, -3:]
        torch.testing.assert_close(first[index], alone, **EXACT)
    with pytest.raises(ValueError, match="do not all lie"):
        state.select(torch.tensor([3]))
    with pytest.raises(NotOffered, match="truncate"):
        state.truncate(2)


def test_a_model_offers_what_all_its_layers_offer():
    assert "tree" not in hybrid().offers
    assert {"causal", "state", "layers", "sites"} <= hybrid().offers
    assert "bidirectional" not in hybrid().offers
    assert {"tree", "truncate", "gather", "bidirectional"} <= Llama().build(VOCAB).offers
    assert isinstance(Llama().build(VOCAB)(ids(), keep_state=True).state, KeyValueState)


def test_a_channel_mixer_that_looks_ahead_takes_causality_and_states_away():
    model = hybrid()
    model.blocks[1].channel.causal = False
    model.offers = model._offers()
    assert model.offers == {"gradient", "embeds", "layers", "sites"}
    with pytest.raises(NotOffered, match="needs 'state'"):
        model(ids(), keep_state=True)


def test_what_layers_report_comes_out_with_the_output():
    out = hybrid()(ids())
    assert set(out.aux) == {"size.0", "size.1", "size.2"}
    assert all(value.requires_grad for value in out.aux.values())


def test_declared_flops_of_a_mixed_model_add_up():
    from trivium.core.meter import count_flops

    model = hybrid()
    assert count_flops(lambda: model(ids())) == pytest.approx(3 * model.flops(TIME), rel=0.01)


def test_another_residual_is_a_slot():
    class Skip(Residual):
        def forward(self, stream, norm, branch):
            return stream + 0 * branch(norm(stream))

    model = hybrid()
    for block in model.blocks:
        block.mixer_residual = Skip()
    assert not torch.equal(model(ids()).logits, model.head(model.norm(model.embed(ids()))))  # channels still add
    for block in model.blocks:
        block.channel_residual = Skip()
    embeds = model.embed(ids())
    torch.testing.assert_close(model(ids()).logits, model.head(model.norm(embeds)), **EXACT)


def test_a_position_slot_may_add_to_the_embeddings():
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(64, WIDTH, dtype=torch.float64))

        def forward(self, hidden, ctx):
            return hidden + self.weight[ctx.positions]

    model = hybrid()
    plain = model(ids()).logits
    model.position = Learned()
    assert (model(ids()).logits - plain).abs().max() > 1e-6  # no rotation any more
    still = model(ids()).logits
    with torch.no_grad():
        model.position.weight[TIME - 1] = 1.0
    moved = model(ids()).logits
    torch.testing.assert_close(moved[:, :-1], still[:, :-1], **EXACT)
    assert (moved[:, -1] - still[:, -1]).abs().max() > 1e-3
    hidden = model.layers(0, 3, model.embed(ids()))  # the stream given to layers already holds what position adds
    torch.testing.assert_close(model.head(model.norm(hidden)), still, **EXACT)


def test_positions_are_counted_from_real_tokens_documents_and_the_state():
    model, seen = Llama(width=WIDTH, heads=2).build(VOCAB), []
    model.position.register_forward_pre_hook(lambda module, given: seen.append(given[1].positions.tolist()))
    mask = torch.tensor([[False, True, True], [True, False, True]])
    state = model(ids(2, 3), mask=mask, keep_state=True).state
    model(ids(2, 2), state=state)
    model(ids(1, 5), segments=torch.tensor([[4, 4, 4, 2, 2]]))
    model(ids(2, 2), keep_state=True)
    assert seen == [[[0, 0, 1], [0, 0, 1]], [[2, 3]], [[0, 1, 2, 0, 1]], [[0, 1]]]


def test_a_step_without_a_kept_state_leaves_the_given_one_as_it_was():
    model, tokens = hybrid(), ids()
    state = model(tokens[:, :5], keep_state=True).state
    model(tokens[:, 5:9], state=state)
    torch.testing.assert_close(model(tokens[:, 5:], state=state).logits, model(tokens).logits[:, 5:], **EXACT)


def test_states_of_another_sort_of_model_are_refused():
    models = hybrid().float(), Llama().build(VOCAB), TransNormer().build(VOCAB)
    states = [model(ids(), keep_state=True).state for model in models]
    for model, state in (
        (models[0], states[1]),
        (models[1], states[2]),
        (models[2], states[1]),
        (models[1], states[0]),
    ):
        with pytest.raises(TypeError, match="goes on from states of its own"):
            model(ids(), state=state)


def test_a_parameter_without_a_role_is_refused():
    class Rogue(ChannelMixer):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(WIDTH))

        def forward(self, x, ctx):
            return x * self.weight

        def flops(self, length):
            return 0

    model = hybrid()
    model.blocks[1].channel = Rogue()
    with pytest.raises(TypeError, match=r"blocks\.1\.channel\.weight has no role"):
        initialise(model, 0)


def test_initial_values_follow_their_roles():
    model = Llama(width=64, depth=8, tied=False).build(500)
    mixer = model.blocks[3].mixer
    assert mixer.q_proj.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.embedding.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert mixer.o_proj.weight.std().item() == pytest.approx(0.02 / 16**0.5, rel=0.05)
    assert model.blocks[3].channel.down_proj.weight.std().item() == pytest.approx(0.02 / 16**0.5, rel=0.05)
    assert (model.norm.gain == 1).all()


def test_a_module_may_draw_its_own_initial_values():
    class Noisy(GatedMLP):
        def __init__(self):
            super().__init__(WIDTH, 24)
            self.noise = nn.Parameter(torch.empty(7))
            self.roles = {"noise": "drawn"}

        def draw(self, name, generator):
            return torch.rand(7, generator=generator) + 1

    model = hybrid()
    drawn = []
    for layer, seed in ((0, 0), (0, 0), (0, 1), (1, 0)):
        noisy = Noisy()
        model.blocks[layer].channel = noisy
        initialise(model, seed)
        drawn.append(noisy.noise.detach().clone())
    assert all(float(x.min()) >= 1 and float(x.max()) <= 2 for x in drawn)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[3])


def test_a_deeper_model_shares_the_embedding_of_a_shallower_one_and_nothing_depends_on_order():
    shallow, deep = Llama(depth=1).build(VOCAB, seed=5), Llama(depth=3).build(VOCAB, seed=5)
    assert torch.equal(shallow.embedding.weight, deep.embedding.weight)
    assert torch.equal(shallow.blocks[0].mixer.q_proj.weight, deep.blocks[0].mixer.q_proj.weight)


def test_padding_under_autocast_and_half_precision_stays_finite():
    for recipe in (Llama(), TransNormer()):
        model = recipe.build(VOCAB)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(ids(), mask=padding(), keep_state=True)
            out.logits.float().square().sum().backward()
            again = model(ids(3, 1), state=out.state).logits
        assert out.logits.isfinite().all()
        assert again.isfinite().all()
        assert all(p.grad.isfinite().all() for p in model.parameters())
        half = dataclasses.replace(recipe).build(VOCAB).bfloat16()
        assert half(ids(), mask=padding()).logits.dtype == torch.bfloat16


def test_the_context_builds_no_mask_where_none_is_needed():
    def facts(time, **known):
        return Context(None, torch.arange(time)[None], time, **known)

    assert facts(5).attention_mask is None
    assert facts(1, slots=4).attention_mask is None
    assert facts(2, slots=3).attention_mask.int().tolist() == [[[[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]]]
    seen = torch.tensor([[True, False, True]])
    assert facts(2, slots=3, seen=seen).attention_mask.int().tolist() == [[[[1, 0, 1, 1, 0], [1, 0, 1, 1, 1]]]]
    packed = facts(3, segments=torch.tensor([[1, 1, 2]]))
    assert packed.attention_mask.int().tolist() == [[[[1, 0, 0], [1, 1, 0], [0, 0, 1]]]]


def test_the_last_visible_columns_are_counted_along_each_row_of_the_mask():
    real = torch.tensor([[True, True, False, True, True]])
    ctx = Context(None, torch.arange(5)[None], 5, real=real)
    assert not ctx.unbroken
    expected = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 1, 1]]
    assert ctx.last_seen(2).int().tolist() == [[expected]]
    assert torch.equal(ctx.last_seen(5), ctx.attention_mask)
    assert ctx.last_seen(2) is ctx.last_seen(2)  # made once per pass
    plain = Context(None, torch.arange(5)[None], 5)
    assert plain.unbroken
    expected = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 1]]
    assert plain.last_seen(2).int().tolist() == [[expected]]


def test_a_block_may_have_no_channel_mixer():
    model = Skeleton(
        Llama(width=WIDTH, heads=2),
        vocab_size=VOCAB,
        embedding=TokenEmbedding(VOCAB, WIDTH),
        blocks=[Block(RMSNorm(WIDTH), Attention(WIDTH, 2, 2), nn.Identity(), Nothing())],
        norm=RMSNorm(WIDTH),
        head=Head(WIDTH, VOCAB),
    )
    assert not [site for site in model.sites() if "mlp" in site]
    with model.capture("blocks.0.mid", "blocks.0.out") as seen:
        model(ids())
    assert torch.equal(seen["blocks.0.mid"], seen["blocks.0.out"])
    assert model.flops(TIME) == model.blocks[0].mixer.flops(TIME) + 2 * TIME * WIDTH * VOCAB


def test_what_is_filled_already_can_be_kept():
    made = hybrid()
    before = {name: parameter.clone() for name, parameter in made.named_parameters()}
    kept = set(map(id, made.blocks[1].parameters()))
    again = Skeleton(
        made.recipe,
        vocab_size=VOCAB,
        embedding=made.embedding,
        blocks=list(made.blocks),
        norm=made.norm,
        head=made.head,
        seed=7,
        keep=lambda parameter: id(parameter) in kept,
    )
    for name, parameter in again.named_parameters():
        same = torch.equal(parameter, before[name])
        assert same == name.startswith("blocks.1.") or parameter.ndim == 1, name


def test_the_context_takes_rows_apart_only_where_they_are_no_sequences_yet():
    def facts(**known):
        return Context(None, torch.arange(3)[None], 3, **known)

    assert facts().sequences is None
    (padded,) = facts(real=torch.tensor([[False, True, True]])).sequences
    assert padded.columns.tolist() == [[1, 2]]
    packed = facts(segments=torch.tensor([[1, 1, 2]])).sequences
    assert [group.columns.tolist() for group in packed] == [[[2]], [[0, 1]]]
