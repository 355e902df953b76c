"""The adapter against the plain Hugging Face model, in float64 over every family.

Tolerance 1e-6: norms and rotations run in float32 even in a float64 model, so two ways of computing the same thing may
round differently there; logits are of order 2.
"""

from functools import cache

import pytest
import torch
from torch import Tensor
from transformers import RobertaConfig, RobertaForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tests.families import ATTENTION_FAMILIES, CONTEXT, FAMILIES, VOCAB, build, wrapped
from trivium.core.errors import NotFinite, NotOffered
from trivium.core.tree import TokenTree
from trivium.models._attention import GROUPED
from trivium.models.huggingface import HuggingFaceModel, wrap

CLOSE = {"atol": 1e-6, "rtol": 0.0, "check_dtype": False}
CLOSER_TO_FLOAT32 = CLOSE | {"atol": 2e-5}
"""Where more than the norms runs in float32: Mamba's scan and logits, the softmax of eager attention."""


def close(family: str) -> dict:
    return CLOSER_TO_FLOAT32 if family == "mamba" else CLOSE


@cache
def model(family: str) -> HuggingFaceModel:
    return wrapped(family)


def tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(3, VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def pad(rows: list[Tensor], where: str) -> tuple[Tensor, Tensor]:
    """Rows of unequal length as (batch, time) with junk in the padding, and the mask of what is real."""
    time = max(len(row) for row in rows) + 2
    ids = tokens(len(rows), time, seed=99)
    mask = torch.zeros(len(rows), time, dtype=torch.bool)
    for index, row in enumerate(rows):
        if where == "left":
            columns = torch.arange(time - len(row), time)
        elif where == "right":
            columns = torch.arange(len(row))
        else:  # scattered: padding before, between and behind
            generator = torch.Generator().manual_seed(index)
            columns = torch.randperm(time, generator=generator)[: len(row)].sort().values
        ids[index, columns] = row
        mask[index, columns] = True
    return ids, mask


ROWS = [tokens(5, seed=1), tokens(9, seed=2), tokens(12, seed=3)]
"""Of 12 tokens the later ones lie outside Gemma's window of 6."""


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_plain_model(family):
    ids = tokens(2, 14)
    expected = model(family).inner(input_ids=ids).logits
    out = model(family)(ids)
    torch.testing.assert_close(out.logits, expected, **CLOSE)
    head = model(family).inner.get_output_embeddings()
    torch.testing.assert_close(head(out.hidden), expected, **CLOSE)
    assert out.state is None


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_offered(family):
    everything = {"causal", "state", "truncate", "gather", "tree", "gradient", "embeds", "layers", "attention", "sites"}
    if family == "mamba":
        assert model(family).offers == {"causal", "state", "gradient", "embeds", "sites"}
        assert model(family).max_positions is None
        assert "list of tokens" in model(family).refused["tree"]
    else:
        assert model(family).offers == everything
        assert model(family).refused == {}
        assert model(family).max_positions == CONTEXT
    assert model(family).vocab_size == VOCAB
    assert model(family).width == 32
    assert model(family).depth == model(family).inner.config.num_hidden_layers


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_equal_ids(family):
    ids = tokens(2, 9)
    torch.testing.assert_close(
        model(family)(embeds=model(family).embed(ids)).logits, model(family)(ids).logits, **CLOSE
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_later_tokens_change_nothing_before(family):
    ids = tokens(1, 12)
    other = ids.clone()
    other[:, 7:] = tokens(1, 5, seed=5)
    torch.testing.assert_close(model(family)(ids).logits[:, :7], model(family)(other).logits[:, :7], **CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pieces", [[1] * 14, [5, 9], [3, 1, 6, 4]])
def test_going_on_from_a_state_equals_the_whole(family, pieces):
    ids = tokens(2, 14)
    state, found = None, []
    for piece in ids.split(pieces, 1):
        out = model(family)(piece, state=state, keep_state=True)
        state = out.state
        found.append(out.logits)
    torch.testing.assert_close(torch.cat(found, 1), model(family)(ids).logits, **close(family))
    assert state is not None
    assert state.lengths.tolist() == [14, 14]
    assert state.slots == 14
    assert state.batch == 2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("where", ["left", "right", "scattered"])
def test_a_padded_row_gives_what_it_gives_alone(family, where):
    ids, mask = pad(ROWS, where)
    found = model(family)(ids, mask=mask).logits
    assert found.isfinite().all()
    for index, row in enumerate(ROWS):
        torch.testing.assert_close(found[index, mask[index]], model(family)(row[None]).logits[0], **close(family))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("where", ["left", "right", "scattered"])
def test_padded_rows_go_on_from_a_state(family, where):
    ids, mask = pad(ROWS, where)
    first = model(family)(ids, mask=mask, keep_state=True)
    assert first.state is not None
    assert first.state.lengths.tolist() == [5, 9, 12]
    more = [tokens(3, seed=11), tokens(1, seed=12), tokens(4, seed=13)]
    later, real = pad(more, where)
    second = model(family)(later, mask=real, state=first.state, keep_state=True)
    assert second.state is not None
    last = tokens(3, 1, seed=14)
    third = model(family)(last, state=second.state)
    for index in range(3):
        alone = model(family)(torch.cat([ROWS[index], more[index], last[index]])[None]).logits[0]
        torch.testing.assert_close(second.logits[index, real[index]], alone[len(ROWS[index]) : -1], **close(family))
        torch.testing.assert_close(third.logits[index, -1], alone[-1], **close(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_documents_equal_separate_rows(family):
    lengths = [[4, 7, 1], [9, 3]]
    ids = tokens(2, 12)
    segments = torch.stack([torch.repeat_interleave(torch.arange(len(row)), torch.tensor(row)) for row in lengths])
    found = model(family)(ids, segments=segments).logits
    for index, row in enumerate(lengths):
        expected = [model(family)(part[None]).logits[0] for part in ids[index].split(row)]
        torch.testing.assert_close(found[index], torch.cat(expected), **close(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_documents_with_padding_behind(family):
    ids = tokens(1, 10)
    segments = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 1, 1]])
    mask = torch.tensor([[True] * 8 + [False] * 2])
    found = model(family)(ids, segments=segments, mask=mask).logits
    expected = [model(family)(ids[:, :4]).logits, model(family)(ids[:, 4:8]).logits]
    torch.testing.assert_close(found[:, :8], torch.cat(expected, 1), **close(family))


def a_tree(nodes: int, seed: int) -> TokenTree:
    generator = torch.Generator().manual_seed(seed)
    parents = [-1, *(int(torch.randint(node, (), generator=generator)) for node in range(1, nodes))]
    return TokenTree(tokens(nodes, seed=seed), torch.tensor(parents))


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_every_path_of_a_tree_equals_its_chain(family):
    prompt = tokens(1, 7)
    before = model(family)(prompt, keep_state=True).state
    assert before is not None
    for seed in range(4):
        tree = a_tree(9, seed)
        mask = torch.cat([torch.ones(9, 7, dtype=torch.bool), tree.visible], 1)[None, None]
        out = model(family)(
            tree.tokens[None], mask=mask, positions=tree.positions(7)[None], state=before, keep_state=True
        )
        assert out.state is not None
        for path in tree.paths():
            chain = torch.cat([prompt, tree.tokens[path][None]], 1)
            expected = model(family)(chain).logits[0, 7:]
            torch.testing.assert_close(out.logits[0, path], expected, **CLOSE)
            keep = torch.zeros(1, 9, dtype=torch.bool)
            keep[0, path] = True
            kept = out.state.gather(keep)
            assert kept.lengths.tolist() == [7 + len(path)]
            last = tokens(1, 2, seed=77)
            onwards = model(family)(last, state=kept).logits[0]
            torch.testing.assert_close(onwards, model(family)(torch.cat([chain, last], 1)).logits[0, -2:], **CLOSE)


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_trees_of_ragged_rows(family):
    """Two rows of unequal prompts, each with its own tree, the smaller one filled up with nodes that see nothing."""
    rows = [tokens(4, seed=1), tokens(8, seed=2)]
    ids, real = pad(rows, "left")
    before = model(family)(ids, mask=real, keep_state=True).state
    assert before is not None
    trees = [a_tree(6, 3), a_tree(4, 4)]
    fed = torch.zeros(2, 6, dtype=torch.long)
    mask = torch.zeros(2, 1, 6, before.slots + 6, dtype=torch.bool)
    positions = torch.zeros(2, 6, dtype=torch.long)
    for index, tree in enumerate(trees):
        n = len(tree)
        fed[index, :n] = tree.tokens
        mask[index, 0, :n, : before.slots] = True  # invisible slots stay so whatever the mask says
        mask[index, 0, :n, before.slots : before.slots + n] = tree.visible
        positions[index, :n] = tree.positions(len(rows[index]))
    out = model(family)(fed, mask=mask, positions=positions, state=before, keep_state=True)
    assert out.logits.isfinite().all()
    keep = torch.zeros(2, 6, dtype=torch.bool)
    chosen = [tree.paths()[0] for tree in trees]
    for index, path in enumerate(chosen):
        keep[index, path] = True
    assert out.state is not None
    last = tokens(2, 1, seed=5)
    onwards = model(family)(last, state=out.state.gather(keep)).logits
    for index, tree in enumerate(trees):
        for path in tree.paths():
            chain = torch.cat([rows[index], tree.tokens[path]])
            expected = model(family)(chain[None]).logits[0, len(rows[index]) :]
            torch.testing.assert_close(out.logits[index, path], expected, **CLOSE)
        chain = torch.cat([rows[index], tree.tokens[chosen[index]], last[index]])
        torch.testing.assert_close(onwards[index, 0], model(family)(chain[None]).logits[0, -1], **CLOSE)


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_positions_are_taken_as_given(family):
    """Swapping two tokens together with their positions, each seeing what it saw, changes nothing but the order."""
    ids = tokens(1, 8)
    order = torch.tensor([0, 1, 2, 4, 3, 5, 6, 7])
    causal = torch.ones(8, 8, dtype=torch.bool).tril()
    found = model(family)(ids[:, order], positions=order[None], mask=causal[order][:, order][None, None]).logits
    torch.testing.assert_close(found, model(family)(ids).logits[:, order], **CLOSE)


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_learned_positions_move_the_logits(family):
    ids = tokens(1, 6)
    shifted = model(family)(ids, positions=torch.arange(3, 9)[None]).logits
    assert (shifted - model(family)(ids).logits).abs().max() > 0.1


def test_positions_that_begin_behind_the_padding_token():
    """RoBERTa's kin: position 0 is row padding + 1 of the table, and so many rows fewer can be used."""
    config = RobertaConfig(
        vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=40, pad_token_id=1, is_decoder=True,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = RobertaForCausalLM(config).double().eval()
    adapter = wrap(plain)
    ids = torch.randint(4, VOCAB, (2, 38), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(adapter(ids).logits, plain(ids).logits, **CLOSE)
    assert adapter.max_positions == 38
    assert {"causal", "state", "tree", "gradient"} <= adapter.offers


def test_given_positions_are_never_read_as_packing():
    """transformers takes positions that begin again for packed documents; given positions are only positions here."""
    ids = tokens(1, 6)
    positions = torch.tensor([[0, 1, 2, 0, 1, 2]])
    causal = torch.ones(6, 6, dtype=torch.bool).tril()[None, None]
    expected = model("llama")(ids, positions=positions, mask=causal).logits
    torch.testing.assert_close(model("llama")(ids, positions=positions).logits, expected, **CLOSE)


def test_windows_are_measured_in_positions():
    """Gemma's window of 6: a padded or branched row sees the same tokens as alone, and no more."""
    gemma = model("gemma")
    ids = tokens(1, 12)
    other = ids.clone()
    other[:, 0] = (ids[:, 0] + 1) % VOCAB
    # All three layers made local: token 0 can reach at most 3 * 5 positions on.
    local = wrap(build("gemma", layer_types=["sliding_attention"] * 3))
    long = torch.cat([ids, tokens(1, 12, seed=8)], 1)
    changed = long.clone()
    changed[:, 0] = other[:, 0]
    gap = (local(long).logits - local(changed).logits).abs().amax(-1)[0]
    assert gap[15] > 0
    assert (gap[16:] == 0).all()
    assert (gemma(ids).logits - gemma(other).logits).abs().amax(-1)[0, -1] > 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("keep", [1, 3])
def test_logits_to_keep(family, keep):
    ids = tokens(2, 8)
    whole, last = model(family)(ids), model(family)(ids, logits_to_keep=keep, keep_state=True)
    torch.testing.assert_close(last.logits, whole.logits[:, -keep:], **CLOSE)
    torch.testing.assert_close(last.hidden, whole.hidden[:, -keep:], **CLOSE)


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_the_head_is_not_computed_where_it_is_not_needed(family):
    fed = []
    head = model(family).inner.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda module, args: fed.append(args[0].shape[1]))
    model(family)(tokens(1, 8), logits_to_keep=1)
    hook.remove()
    assert fed == [1]


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_the_embeddings(family):
    ids = tokens(1, 5)
    with torch.enable_grad():
        embeds = model(family).embed(ids).detach().requires_grad_()
        total = model(family)(embeds=embeds).logits[0, -1].double().logsumexp(-1)
        (gradient,) = torch.autograd.grad(total, embeds)
    step = torch.zeros_like(embeds)
    step[0, 2, 7] = 1e-4
    at = lambda x: model(family)(embeds=x).logits[0, -1].double().logsumexp(-1)  # noqa: E731
    slope = (at(embeds + step) - at(embeds - step)) / 2e-4
    torch.testing.assert_close(gradient[0, 2, 7].double(), slope.detach(), atol=5e-3, rtol=0.02)  # float32 norms inside


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_gradients_flow_through_a_state(family):
    ids = tokens(1, 6)
    with torch.enable_grad():
        embeds = model(family).embed(ids).detach().requires_grad_()
        whole = torch.autograd.grad(model(family)(embeds=embeds).logits[0, -1].logsumexp(-1), embeds)[0]
        first = model(family)(embeds=embeds[:, :4], keep_state=True)
        second = model(family)(embeds=embeds[:, 4:5], state=first.state, keep_state=True)
        third = model(family)(embeds=embeds[:, 5:], state=second.state)
        parts = torch.autograd.grad(third.logits[0, -1].logsumexp(-1), embeds)[0]
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_ranges_of_layers_make_the_whole(family):
    adapter = model(family)
    ids, mask = pad(ROWS, "left")
    with adapter.capture("blocks.0.in", f"blocks.{adapter.depth - 1}.out", "blocks.1.in") as seen:
        adapter(ids, mask=mask)
    assert torch.equal(adapter.layers(1, 1, seen["blocks.1.in"]), seen["blocks.1.in"])
    middle = adapter.layers(0, 1, seen["blocks.0.in"], mask=mask)
    torch.testing.assert_close(middle[mask], seen["blocks.1.in"][mask], **CLOSE)
    end = adapter.layers(1, adapter.depth, middle, mask=mask)
    torch.testing.assert_close(end[mask], seen[f"blocks.{adapter.depth - 1}.out"][mask], **CLOSE)


def test_embed_layers_norm_head_is_the_model():
    llama = model("llama")
    ids = tokens(2, 7)
    hidden = llama.layers(0, llama.depth, llama.embed(ids))
    logits = llama.inner.lm_head(llama.inner.model.norm(hidden))
    torch.testing.assert_close(logits, llama(ids).logits, **CLOSE)


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_the_last_layer_read_out_is_the_model(family):
    adapter, ids = model(family), tokens(2, 7)
    with adapter.capture(f"blocks.{adapter.depth - 1}.in") as seen:
        logits = adapter(ids).logits
    last = adapter.layers(adapter.depth - 1, adapter.depth, seen[f"blocks.{adapter.depth - 1}.in"])
    torch.testing.assert_close(adapter.read_out(last), logits, **CLOSE)
    with pytest.raises(NotOffered, match="read out"):
        model("mamba").read_out(last)


def test_layers_leave_the_model_as_it_was():
    llama = model("llama")
    ids = tokens(1, 5)
    before = llama(ids).logits
    with pytest.raises(RuntimeError):
        llama.layers(0, 2, torch.zeros(1, 5, 3, dtype=torch.float64))
    assert torch.equal(llama(ids).logits, before)
    with pytest.raises(ValueError, match="layers 2 to 9 are no range of the 3 layers"):
        llama.layers(2, 9, llama.embed(ids))


@pytest.mark.parametrize("family", FAMILIES)
class TestBadInput:
    def test_ids_outside_the_vocabulary(self, family):
        with pytest.raises(ValueError, match=f"token id {VOCAB} is outside the vocabulary of {VOCAB}"):
            model(family)(torch.tensor([[1, VOCAB]]))
        with pytest.raises(ValueError, match="token id -1"):
            model(family)(torch.tensor([[1, -1]]))

    def test_empty(self, family):
        for shape in ((1, 0), (0, 4)):
            with pytest.raises(ValueError, match="the input is empty"):
                model(family)(torch.zeros(shape, dtype=torch.long))

    def test_ids_and_embeddings(self, family):
        ids = tokens(1, 3)
        with pytest.raises(ValueError, match="either ids or embeds"):
            model(family)(ids, embeds=model(family).embed(ids))
        with pytest.raises(ValueError, match="either ids or embeds"):
            model(family)()

    def test_beyond_the_context(self, family):
        if model(family).max_positions is None:
            assert model(family)(tokens(1, CONTEXT + 8)).logits.isfinite().all()
            return
        with pytest.raises(ValueError, match=f"{CONTEXT + 1} tokens are more than the {CONTEXT} positions"):
            model(family)(tokens(1, CONTEXT + 1))
        state = model(family)(tokens(1, CONTEXT), keep_state=True).state
        with pytest.raises(ValueError, match="more than the"):
            model(family)(tokens(1, 1), state=state)

    def test_shapes(self, family):
        ids = tokens(2, 4)
        with pytest.raises(ValueError, match=r"the mask must be \(2, 4\) like the input, got \(2, 5\)"):
            model(family)(ids, mask=torch.ones(2, 5, dtype=torch.bool))
        with pytest.raises(ValueError, match="a mask is bool"):
            model(family)(ids, mask=torch.ones(2, 4))
        with pytest.raises(ValueError, match=r"positions must be \(2, 4\)"):
            model(family)(ids, positions=torch.zeros(2, 3, dtype=torch.long))
        with pytest.raises(ValueError, match=r"segments must be \(2, 4\)"):
            model(family)(ids, segments=torch.zeros(2, 3, dtype=torch.long))
        state = model(family)(ids, keep_state=True).state
        with pytest.raises(ValueError, match="the input has 1 rows and the state 2"):
            model(family)(ids[:1], state=state)
        with pytest.raises(ValueError, match="cannot go on from a state"):
            model(family)(ids, state=state, segments=torch.zeros(2, 4, dtype=torch.long))

    def test_weights_that_are_no_numbers(self, family):
        damaged = build(family)
        damaged.get_output_embeddings().weight[5, 5] = float("nan")
        with pytest.raises(NotFinite, match="NaN or infinite"):
            wrap(damaged)


def test_a_state_of_another_model_is_refused():
    state = model("mamba")(tokens(1, 3), keep_state=True).state
    with pytest.raises(TypeError, match="KeyValueState, not from a RecurrentState"):
        model("llama")(tokens(1, 1), state=state)
    state = model("llama")(tokens(1, 3), keep_state=True).state
    with pytest.raises(TypeError, match="RecurrentState, not from a KeyValueState"):
        model("mamba")(tokens(1, 1), state=state)


class TestWhatAFixedMemoryCannot:
    def test_trees(self):
        with pytest.raises(NotOffered, match="'tree'"):
            model("mamba")(tokens(1, 3), mask=torch.ones(1, 1, 3, 3, dtype=torch.bool))

    def test_going_back(self):
        state = model("mamba")(tokens(1, 3), keep_state=True).state
        with pytest.raises(NotOffered, match="cannot truncate"):
            state.truncate(2)
        with pytest.raises(NotOffered, match="cannot gather"):
            state.gather(torch.ones(1, 1, dtype=torch.bool))

    def test_other_positions(self):
        ids = tokens(1, 3)
        model("mamba")(ids, positions=torch.arange(3)[None])  # the usual ones are no contradiction
        with pytest.raises(NotOffered, match="no positions"):
            model("mamba")(ids, positions=torch.tensor([[0, 2, 1]]))

    def test_layers(self):
        with pytest.raises(NotOffered, match="range of its layers"):
            model("mamba").layers(0, 1, model("mamba").embed(tokens(1, 3)))


class TestSelfCheck:
    """Models that break one promise each are found out."""

    def test_masks_ignored(self):
        broken = build("llama")
        for layer in broken.model.layers:
            layer.self_attn.register_forward_pre_hook(
                lambda module, args, kwargs: (args, kwargs | {"attention_mask": None}), with_kwargs=True
            )
        adapter = wrap(broken)
        assert {"padding", "tree", "gather", "truncate"} <= adapter.refused.keys()
        assert not {"tree", "gather", "truncate"} & adapter.offers
        assert "differ" in adapter.refused["tree"]
        ids, mask = pad(ROWS, "left")
        with pytest.raises(NotOffered, match="cannot take padded rows"):
            adapter(ids, mask=mask)
        with pytest.raises(NotOffered, match="'tree'"):
            adapter(ids[:, :3], mask=torch.ones(3, 1, 3, 3, dtype=torch.bool))

    def test_positions_ignored(self):
        broken = build("gpt2")
        inner = broken.transformer.wpe.forward
        broken.transformer.wpe.forward = lambda where: inner(torch.arange(where.shape[1])[None])
        assert {"padding", "tree", "state"} <= wrap(broken).refused.keys()

    def test_not_causal(self):
        broken = build("llama")
        for layer in broken.model.layers:
            layer.self_attn.is_causal = False
        adapter = wrap(broken)
        assert "causal" not in adapter.offers
        assert "later tokens" in adapter.refused["causal"]

    def test_hooks_that_change_the_result(self):
        broken = build("llama")
        inner = broken.model.forward
        broken.model.forward = lambda *args, inputs_embeds=None, **kwargs: inner(
            *args, inputs_embeds=None if inputs_embeds is None else inputs_embeds * 1.5, **kwargs
        )
        adapter = wrap(broken)
        assert {"embeds", "sites", "attention"} <= adapter.refused.keys()
        assert adapter.sites() == ()

    def test_no_gradient(self):
        broken = build("llama")
        inner = broken.lm_head.forward
        broken.lm_head.forward = lambda hidden: inner(hidden.detach())
        assert "gradient" not in wrap(broken).offers

    def test_a_scaled_residual_stream_has_no_plain_additions(self):
        broken = build("llama")
        layer = broken.model.layers[1]
        layer.mlp.register_forward_hook(lambda module, args, output: output * 0.5)
        adapter = wrap(broken)
        assert "blocks.1.mlp.act" in adapter.sites()
        assert "blocks.1.mlp.out" not in adapter.sites()
        assert adapter.refused["site mlp.out"].startswith("mid + mlp.out is not out")

    def test_wrapping_changes_nothing(self):
        plain = build("gemma")
        before = {name: weight.clone() for name, weight in plain.state_dict().items()}
        implementation = plain.config._attn_implementation
        expected = plain(input_ids=tokens(1, 9)).logits
        wrap(plain)
        assert torch.equal(plain(input_ids=tokens(1, 9)).logits, expected)
        assert plain.config._attn_implementation == implementation
        assert all(torch.equal(weight, before[name]) for name, weight in plain.state_dict().items())
        assert all(not module._forward_hooks and not module._forward_pre_hooks for module in plain.modules())


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_eager_attention_gives_the_same(family):
    """Under eager attention masks are numbers to add, and none may be left out."""
    eager = wrap(build(family, attn_implementation="eager"))
    ids, mask = pad(ROWS, "scattered")
    torch.testing.assert_close(
        eager(ids, mask=mask).logits[mask], model(family)(ids, mask=mask).logits[mask], **CLOSER_TO_FLOAT32
    )
    first = eager(ids, mask=mask, keep_state=True)
    torch.testing.assert_close(
        eager(tokens(3, 2), state=first.state).logits,
        model(family)(tokens(3, 2), state=model(family)(ids, mask=mask, keep_state=True).state).logits,
        **CLOSER_TO_FLOAT32,
    )
    assert "attention" in eager.offers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_other_number_formats_are_offered_the_same(family, dtype):
    assert wrapped(family, dtype).offers == model(family).offers


def test_a_model_without_a_head_is_refused():
    with pytest.raises(NotOffered, match="no language-model head"):
        wrap(build("llama").model)


@pytest.mark.parametrize("family", ["llama", "qwen", "gemma"])
@pytest.mark.parametrize("training", [False, True])
def test_masked_passes_over_a_state_group_the_queries_of_a_key(family, training, monkeypatch):
    """No key is repeated; with and without gradients the numbers are those of transformers' own attention."""
    adapter = wrapped(family)
    ids, mask = pad(ROWS, "left")
    new, real = tokens(3, 4, seed=5), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    grouped = ALL_ATTENTION_FUNCTIONS[GROUPED]
    layers = []
    monkeypatch.setitem(
        ALL_ATTENTION_FUNCTIONS,
        GROUPED,
        lambda module, *args, **more: (layers.append(module.layer_idx), grouped(module, *args, **more))[1],
    )
    made = []
    for shared in (True, False):
        adapter.shares_keys = shared
        state = adapter(ids, mask=mask, keep_state=True).state
        with torch.set_grad_enabled(training):
            embeds = adapter.embed(new).detach().requires_grad_(training)
            logits = adapter(embeds=embeds, mask=real, state=state).logits
            if training:
                logits[real].square().sum().backward()
        made += [logits.detach(), *([embeds.grad] if training else [])]
        assert adapter.config._attn_implementation == "sdpa"
        assert layers == list(range(adapter.depth)), "the second time it is not called"
    half = len(made) // 2
    for ours, theirs in zip(made[:half], made[half:], strict=True):
        torch.testing.assert_close(ours[real], theirs[real], **CLOSE)
    adapter.shares_keys = True
    with pytest.raises(RuntimeError, match="on purpose"), adapter.edit({"blocks.0.out": stumble}):
        adapter(new, mask=real, state=state)
    assert adapter.config._attn_implementation == "sdpa"


def stumble(stream: Tensor) -> Tensor:
    raise RuntimeError("on purpose")
