"""What every architecture must hold, whatever its layers: written against the protocol, run over the folder."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from trivium.core.errors import NotOffered
from trivium.core.meter import count_flops
from trivium.core.method import find, names
from trivium.core.seeds import generator
from trivium.models.saving import restore, save
from trivium.models.skeleton import PostNorm

VOCAB, TIME = 41, 23
EXACT = {"atol": 1e-9, "rtol": 0}
ALL = names("architectures")


def ids(batch=2, time=TIME, seed=0, vocab=VOCAB):
    return torch.randint(vocab, (batch, time), generator=torch.Generator().manual_seed(seed))


def sized(name, **fields):
    """The recipe with these settings, as far as it has such."""
    cls = find("architectures", name)
    own = {field.name for field in dataclasses.fields(cls)}
    return cls(**{field: value for field, value in fields.items() if field in own})


def lively(name, **changes):
    """A float64 model whose weights are large enough that every part of it shows in the logits."""
    recipe = sized(name, **changes)
    model = recipe.build(VOCAB, seed=1).double().eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if parameter.ndim > 1 and parameter.any():
                parameter.mul_(6)
            elif parameter.ndim > 1:  # a part that starts as nothing
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator(1, path)))
    return model


def drawn(model):
    """The tensors whose initial values are random, by name."""
    roles = {
        f"{prefix}.{name}".lstrip("."): role
        for prefix, module in model.named_modules()
        for name, role in getattr(module, "roles", {}).items()
    }
    return {path: x for path, x in model.named_parameters() if roles[path] in ("in", "out", "embed", "drawn")}


@pytest.fixture(params=ALL)
def model(request):
    return lively(request.param)


@pytest.fixture
def onward(model):
    """For tests that go on from a state: of models that have none, that they say so."""
    if "state" not in model.offers:
        with pytest.raises(NotOffered, match="state"):
            model(ids(), keep_state=True)
        pytest.skip("this model has no state")


def fed(model, tokens, sizes, mask=None):
    """Logits of the tokens fed in pieces, and the last state."""
    logits, state, start = [], None, 0
    for size in sizes:
        span = slice(start, start + size)
        out = model(tokens[:, span], mask=None if mask is None else mask[:, span], state=state, keep_state=True)
        logits.append(out.logits)
        state, start = out.state, start + size
    return torch.cat(logits, 1), state


def pieces(size, time=TIME):
    return [size] * (time // size) + ([time % size] if time % size else [])


def ragged():
    """Padding on the left, on the right, in the middle, and none."""
    mask = torch.ones(4, TIME, dtype=torch.bool)
    mask[0, :5] = mask[1, -6:] = mask[2, 8:12] = False
    return mask


# C1: causality


def test_a_later_token_changes_nothing_before_it(model):
    if "causal" not in model.offers:
        pytest.skip("this model reads both ways")
    tokens = ids()
    changed = tokens.clone()
    changed[:, 12] = (changed[:, 12] + 1) % VOCAB
    a, b = model(tokens).logits, model(changed).logits
    torch.testing.assert_close(a[:, :12], b[:, :12], atol=1e-10, rtol=0)
    assert (a[:, 12:] - b[:, 12:]).abs().amax(-1).min() > 1e-6


def test_information_flows_both_ways_where_that_is_offered(model):
    """Asked for by a mask; under one that hides what is ahead it is the causal pass."""
    if not model.offers >= {"bidirectional", "causal"}:
        pytest.skip("this model has no choice")
    tokens, everything = ids(), torch.ones(2, 1, TIME, TIME, dtype=torch.bool)
    changed = tokens.clone()
    changed[:, 12] = (changed[:, 12] + 1) % VOCAB
    a, b = (model(given, mask=everything).logits for given in (tokens, changed))
    assert (a - b).abs().amax(-1).min() > 1e-6
    torch.testing.assert_close(model(tokens, mask=everything.tril()).logits, model(tokens).logits, **EXACT)


def test_both_ways_a_row_and_a_document_give_what_they_give_alone(model):
    if not model.offers >= {"bidirectional", "causal"}:
        pytest.skip("this model has no choice")
    tokens, mask = ids(4), ragged()
    sees = mask[:, None, :, None] & mask[:, None, None, :]
    logits = model(tokens, mask=sees, positions=(mask.cumsum(1) - 1).clamp(min=0)).logits
    for row in range(4):
        some = tokens[row : row + 1, mask[row]]
        alone = model(some, mask=torch.ones(1, 1, *2 * some.shape[1:], dtype=torch.bool)).logits
        torch.testing.assert_close(logits[row][mask[row]], alone[0], **EXACT)


# C2 to C4: one law for all forms


@pytest.mark.parametrize("size", [1, 3, 7, 16, TIME])
@pytest.mark.usefixtures("onward")
def test_chunks_and_steps_equal_the_whole(model, size):
    logits, state = fed(model, ids(), pieces(size))
    torch.testing.assert_close(logits, model(ids()).logits, **EXACT)
    assert state.lengths.tolist() == [TIME, TIME]
    assert state.slots == TIME


@pytest.mark.parametrize("size", [1, 3, 7, 16, TIME])
@pytest.mark.usefixtures("onward")
def test_chunks_and_steps_equal_the_whole_with_padding_anywhere(model, size):
    tokens, mask = ids(4), ragged()
    logits, state = fed(model, tokens, pieces(size), mask)
    torch.testing.assert_close(logits[mask], model(tokens, mask=mask).logits[mask], **EXACT)
    assert state.lengths.tolist() == mask.sum(1).tolist()


@pytest.mark.parametrize("split", [1, 2, 11, TIME - 1])
@pytest.mark.usefixtures("onward")
def test_a_sequence_can_be_split_anywhere(model, split):
    logits, _ = fed(model, ids(), [split, TIME - split])
    torch.testing.assert_close(logits, model(ids()).logits, **EXACT)


@pytest.mark.usefixtures("onward")
def test_float32_obeys_the_law_to_its_own_precision(model):
    model = model.float()
    logits, _ = fed(model, ids(), pieces(7))
    torch.testing.assert_close(logits, model(ids()).logits, atol=1e-4, rtol=1e-4)


# C5: rows, padding, documents


def test_a_row_gives_what_it_gives_alone_whatever_its_padding(model):
    tokens, mask = ids(4), ragged()
    logits = model(tokens, mask=mask).logits
    for row in range(4):
        alone = model(tokens[row : row + 1, mask[row]]).logits
        torch.testing.assert_close(logits[row][mask[row]], alone[0], **EXACT)


def test_what_stands_in_the_padding_does_not_matter(model):
    tokens, mask = ids(4), ragged()
    other = torch.where(mask, tokens, (tokens + 3) % VOCAB)
    torch.testing.assert_close(
        model(other, mask=mask).logits[mask], model(tokens, mask=mask).logits[mask], atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("padded", [False, True])
def test_packed_documents_give_what_each_gives_alone(model, padded):
    tokens = ids(2)
    segments = torch.tensor([[0] * 6 + [1] * 10 + [2] * 7, [5] * 9 + [2] * 1 + [5] * 13])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    if padded:
        mask[0, 4:8] = mask[1, -2:] = False
    logits = model(tokens, segments=segments, mask=mask).logits
    for row, spans in enumerate([(0, 6, 16, 23), (0, 9, 10, 23)]):
        for start, stop in zip(spans, spans[1:]):  # noqa: B905, RUF007
            keep = mask[row, start:stop]
            alone = model(tokens[row : row + 1, start:stop][:, keep]).logits[0]
            torch.testing.assert_close(logits[row, start:stop][keep], alone, **EXACT)


# C6: gradients


def given(model, tokens):
    """What a span of tokens is fed as, and what gradients are asked for: embeddings, or, of a model that takes none,
    the parameters."""
    if "embeds" not in model.offers:
        return lambda span: {"ids": tokens[:, span]}, tuple(model.parameters())
    embeds = model.embed(tokens).detach().requires_grad_()
    return lambda span: {"embeds": embeds[:, span]}, (embeds,)


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_finite_differences(name):
    model = lively(name, width=4, heads=2, depth=2, hidden=4)
    fed, inputs = given(model, ids(1, 2).repeat(1, 2))  # some layers look for what comes back
    weight = torch.randn(1, 4, VOCAB, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def through(*_):
        return (model(**fed(slice(None))).logits * weight).sum()

    if "embeds" in model.offers:
        assert torch.autograd.gradcheck(through, inputs)
    assert torch.autograd.gradcheck(through, tuple(model.parameters()), fast_mode=True)


def test_every_parameter_gets_a_gradient(model):
    model(ids(2, 6).repeat(1, 4)).logits.square().sum().backward()  # some layers look for what comes back
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:  # a part that is never trained
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.usefixtures("onward")
def test_gradients_flow_through_a_state(model):
    fed, inputs = given(model, ids())
    whole = torch.autograd.grad(model(**fed(slice(None))).logits[:, -1].square().sum(), inputs)
    state = model(**fed(slice(9)), keep_state=True).state
    state = model(**fed(slice(9, 15)), state=state, keep_state=True).state
    parts = torch.autograd.grad(model(**fed(slice(15, None)), state=state).logits[:, -1].square().sum(), inputs)
    for part, one in zip(parts, whole, strict=True):
        torch.testing.assert_close(part, one, **EXACT)


# C8 to C10: what is declared, and how it starts


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.usefixtures("onward")
def test_declared_state_bytes_are_held(model, dtype):
    model = model.to(dtype)
    for time in (3, TIME):
        held = model(ids(2, time), keep_state=True).state.bytes()
        assert held == model.state_bytes_for(ids(2, time))


@pytest.mark.parametrize("time", [TIME, 150])
def test_declared_flops_are_measured(model, time):
    tokens = ids(1, time)  # what rows share, such as the transform of a kernel, is declared as of a row alone
    with torch.no_grad():
        assert count_flops(lambda: model(tokens)) == pytest.approx(model.flops_for(tokens), rel=0.01)


@pytest.mark.parametrize("name", ALL)
def test_the_first_loss_is_that_of_knowing_nothing(name):
    model = find("architectures", name)().build(256)
    tokens = ids(8, 64, vocab=256)
    loss = F.cross_entropy(model(tokens).logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(256), rel=0.05)


@pytest.mark.parametrize("name", ALL)
def test_it_memorises_one_batch(name):
    model = find("architectures", name)().build(VOCAB)
    if not any(VOCAB in parameter.shape for parameter in model.parameters()):
        return  # nothing in it knows one token from another, so that it cannot know which come first
    tokens = ids(2, 16)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(150):
        loss = F.cross_entropy(model(tokens).logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if loss < 0.04:
            break
    assert loss.item() < 0.05


# States are values


@pytest.mark.usefixtures("onward")
def test_a_state_can_be_continued_twice(model):
    tokens = ids()
    state = model(tokens[:, :10], keep_state=True).state
    first = model(tokens[:, 10:], state=state, keep_state=True)
    other = model(tokens[:, 10:].flip(0), state=state, keep_state=True)
    again = model(tokens[:, 10:], state=state).logits
    assert torch.equal(first.logits, again)
    assert not torch.equal(first.logits, other.logits)
    tail = model(tokens[:, :1], state=first.state).logits  # the branch has not disturbed the first line
    torch.testing.assert_close(tail, model(torch.cat((tokens, tokens[:, :1]), 1)).logits[:, -1:], **EXACT)


@pytest.mark.usefixtures("onward")
def test_rows_of_a_state_can_be_selected_and_repeated(model):
    tokens, mask = ids(4), ragged()
    state = model(tokens, mask=mask, keep_state=True).state
    rows = torch.tensor([2, 0, 2])
    new = ids(3, 4, seed=5)
    got = model(new, state=state.select(rows)).logits
    for index, row in enumerate(rows.tolist()):
        whole = torch.cat((tokens[row, mask[row]], new[index]))[None]
        torch.testing.assert_close(got[index], model(whole).logits[0, -4:], **EXACT)


@pytest.mark.usefixtures("onward")
def test_a_state_is_truncated_where_that_is_offered(model):
    tokens, mask = ids(4), ragged()
    state = model(tokens, mask=mask, keep_state=True).state
    if "truncate" not in model.offers:
        with pytest.raises(NotOffered, match="truncate"):
            state.truncate(3)
        return
    new = ids(4, 3, seed=5)
    got = model(new, state=state.truncate(torch.tensor([2, 9, 11, 4]))).logits
    for row, length in enumerate([2, 9, 11, 4]):
        whole = torch.cat((tokens[row, mask[row]][:length], new[row]))[None]
        torch.testing.assert_close(got[row], model(whole).logits[0, -3:], **EXACT)


@pytest.mark.usefixtures("onward")
def test_a_tree_is_read_in_one_pass_where_that_is_offered(model):
    """Two continuations of one prefix, laid out in one row: each sees the prefix and itself only."""
    tokens, prefix = ids(1), 8
    state = model(tokens[:, :prefix], keep_state=True).state
    a, b = ids(1, 3, seed=7), ids(1, 2, seed=8)
    visible = torch.zeros(1, 1, 5, prefix + 5, dtype=torch.bool)
    visible[..., :prefix] = True
    visible[0, 0, :3, prefix : prefix + 3] = torch.ones(3, 3).tril().bool()
    visible[0, 0, 3:, prefix + 3 :] = torch.ones(2, 2).tril().bool()
    positions = torch.tensor([[8, 9, 10, 8, 9]])
    both = torch.cat((a, b), 1)
    if "tree" not in model.offers:
        with pytest.raises(NotOffered, match="tree"):
            model(both, mask=visible, positions=positions, state=state)
        return
    out = model(both, mask=visible, positions=positions, state=state, keep_state=True)
    expected = [model(torch.cat((tokens[:, :prefix], line), 1)).logits[:, prefix:] for line in (a, b)]
    torch.testing.assert_close(out.logits, torch.cat(expected, 1), **EXACT)
    kept = out.state.gather(torch.tensor([[False, False, False, True, True]]))
    new = ids(1, 2, seed=9)
    whole = torch.cat((tokens[:, :prefix], b, new), 1)
    torch.testing.assert_close(model(new, state=kept).logits, model(whole).logits[:, -2:], **EXACT)
    everything = torch.ones(1, 1, 2, kept.slots + 2, dtype=torch.bool).tril(kept.slots)  # names dropped drafts too
    told = model(new, mask=everything, positions=torch.tensor([[10, 11]]), state=kept).logits
    torch.testing.assert_close(told, model(whole).logits[:, -2:], **EXACT)


# The rest of the protocol


def test_embeddings_equal_ids_and_nothing_given_is_changed(model):
    tokens, mask = ids(4), ragged()
    before, plain = (tokens.clone(), mask.clone()), model(tokens, mask=mask).logits
    if "embeds" in model.offers:
        torch.testing.assert_close(model(embeds=model.embed(tokens), mask=mask).logits, plain, atol=0, rtol=0)
    else:
        with pytest.raises(NotOffered, match="embeds"):
            model(embeds=model.embed(tokens), mask=mask)
    assert torch.equal(tokens, before[0])
    assert torch.equal(mask, before[1])


def test_a_full_mask_and_one_segment_change_nothing(model):
    tokens = ids()
    plain = model(tokens).logits
    assert torch.equal(model(tokens, mask=torch.ones_like(tokens, dtype=torch.bool)).logits, plain)
    assert torch.equal(model(tokens, segments=torch.full_like(tokens, 3)).logits, plain)


def test_only_the_last_logits_are_made_where_asked(model):
    out = model(ids(), logits_to_keep=2)
    torch.testing.assert_close(out.logits, model(ids()).logits[:, -2:], atol=1e-12, rtol=0)
    assert out.hidden.shape == (2, 2, model.width)


def test_ranges_of_layers_compose_to_the_whole_where_that_is_offered(model):
    if "layers" not in model.offers:
        with pytest.raises(NotOffered, match="layers"):
            model.layers(0, 1, torch.zeros(2, TIME, model.width).double())
        return
    tokens, mask = ids(4), ragged()
    with model.capture("blocks.0.in", "final.norm") as seen:
        model(tokens, mask=mask)
    hidden = seen["blocks.0.in"]
    if "layers" not in model.offers:
        with pytest.raises(NotOffered, match="layers"):
            model.layers(0, 1, hidden, mask=mask)
        return
    for layer in range(model.depth):
        hidden = model.layers(layer, layer + 1, hidden, mask=mask)
    torch.testing.assert_close(model.norm(hidden)[mask], seen["final.norm"][mask], **EXACT)
    with pytest.raises(ValueError, match="do not all lie"):
        model.layers(0, model.depth + 1, hidden)


def test_every_site_is_seen_and_an_edit_there_changes_the_logits(model):
    tokens = ids()
    plain = model(tokens).logits
    with model.capture(*model.sites()) as seen:
        torch.testing.assert_close(model(tokens).logits, plain, **EXACT)  # attention that is shown is another kernel
    assert set(seen) == set(model.sites())
    torch.testing.assert_close(seen["logits"], plain, **EXACT)
    for layer in range(model.depth):
        if isinstance(model.blocks[layer].mixer_residual, PostNorm):  # a norm stands between the sum and the stream
            continue
        at = {name: seen.get(f"blocks.{layer}.{name}", 0.0) for name in ("in", "attn.out", "mid", "mlp.out", "out")}
        shortcut = seen.get(f"blocks.{layer}.attn.shortcut", 0.0)
        join = model.blocks[layer].join  # a stream of another width is brought to this one first
        entered = at["in"] if join is None else join(at["in"])
        torch.testing.assert_close(entered + at["attn.out"] + shortcut, at["mid"], **EXACT)
        torch.testing.assert_close(at["mid"] + at["mlp.out"], at["out"], **EXACT)
    for name in model.sites():
        with model.edit({name: lambda x: x * 1.5 + 0.1}):
            edited = model(tokens).logits
        assert (edited - plain).abs().max() > 1e-9, name
    assert torch.equal(model(tokens).logits, plain)


@pytest.mark.parametrize("name", ALL)
def test_the_seed_alone_decides_the_initial_weights(name):
    build = find("architectures", name)().build
    a, b, c = build(VOCAB, seed=1), build(VOCAB, seed=1), build(VOCAB, seed=2)
    for (path, x), y, z in zip(a.named_parameters(), b.parameters(), c.parameters(), strict=True):
        assert torch.equal(x, y), path
        assert torch.equal(x, z) != (path in drawn(a)), path
    tensors = list(drawn(a).values())
    for index, x in enumerate(tensors):  # no two tensors are drawn alike
        assert not any(torch.equal(x, y) for y in tensors[:index])


def test_two_architectures_share_the_values_of_tensors_they_share():
    made = {name: dict(sized(name, width=64, depth=2).build(VOCAB, seed=4).named_parameters()) for name in ALL}
    base = made["llama"]
    for name, tensors in made.items():
        shared = [path for path in base.keys() & tensors.keys() if base[path].shape == tensors[path].shape]
        table = tensors.get("embedding.weight")
        if table is not None and len(table) == VOCAB:  # a table of tokens, and not of what they are made of
            assert "embedding.weight" in shared, name
            assert shared, name
        assert all(torch.equal(base[path], tensors[path]) for path in shared), name


@pytest.mark.parametrize("name", ALL)
def test_save_and_load_round_trip(name, tmp_path):
    model = find("architectures", name)().build(VOCAB, seed=3).eval()
    save(model, tmp_path)
    again = restore(tmp_path)
    assert again.recipe == model.recipe
    assert torch.equal(again(ids()).logits, model(ids()).logits)


def test_a_model_that_reads_later_tokens_says_so_and_goes_on_from_no_state(model):
    tokens = ids()
    if "state" in model.offers:
        assert "causal" in model.offers
        return
    changed = tokens.clone()
    changed[:, 12] = (changed[:, 12] + 1) % VOCAB
    assert (model(tokens).logits - model(changed).logits)[:, :12].abs().amax(-1).min() > 1e-6
    assert "causal" not in model.offers
    with pytest.raises(NotOffered, match="'state'"):
        model(tokens, keep_state=True)


def test_misuse_is_told(model):
    tokens = ids()
    if "state" in model.offers:
        state = model(tokens, keep_state=True).state
        with pytest.raises(ValueError, match="the state has 2 rows, the input 1"):
            model(tokens[:1], state=state)
        with pytest.raises(ValueError, match="leave them out"):
            model(tokens, segments=torch.zeros_like(tokens), state=state)
    with pytest.raises(TypeError, match="a mask is bool"):
        model(tokens, mask=torch.ones_like(tokens))
    with pytest.raises(ValueError, match="a mask must be"):
        model(tokens, mask=torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="segments must be"):
        model(tokens, segments=torch.zeros(2, 3))
    with pytest.raises(ValueError, match="positions must be"):
        model(tokens, positions=torch.zeros(2, 3, dtype=torch.int64))
